"""The hooks, rendered as cookiecutter renders them; and git in every state they may find it in."""
from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from cookiecutter.utils import create_env_with_context
from hypothesis import given, settings, strategies

from local_extensions import lab_slug
from tests.conftest import TEMPLATE, Bake, git

HOOKS = ("pre_gen_project", "post_gen_project")
ADD = "git add -A && git commit -m 'A new lab'\n"
COMMIT = f"  git init -b main && {ADD}"
INIT = "  python3 vendor/taglab init\n"
CODE = [
    "'''\nopen('owned', 'w').close()\n'''", "\"\"\"\nopen('owned', 'w').close()\n\"\"\"",
    "'; open('owned', 'w'); '", "\\'''); open('owned', 'w') #", "\\", "\\u0027" * 3, "'''",
]


def load_hook(name: str, folder: Path, **answers: str) -> ModuleType:
    """Render a hook as cookiecutter does, and import it."""
    context = generate_context(str(TEMPLATE / "cookiecutter.json"))
    context["cookiecutter"] = {**prompt_for_config(context, no_input=True), **answers}
    source = (TEMPLATE / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    file = folder / f"{name}.py"
    file.write_text(create_env_with_context(context).from_string(source).render(**context),
                    encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pre_gen(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Return the hook that checks the answers, with the default answers."""
    return load_hook("pre_gen_project", tmp_path_factory.mktemp("hooks"))


@pytest.fixture(scope="module")
def post_gen(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Return the hook that finishes a lab, with the default answers."""
    return load_hook("post_gen_project", tmp_path_factory.mktemp("hooks"))


@pytest.mark.parametrize("code", CODE, ids=ascii)
@pytest.mark.parametrize("hook", HOOKS)
def test_what_was_typed_is_never_run(hook: str, code: str, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answers = {"project_slug": code, "__slug_answer": code, "description": code}
    module = load_hook(hook, tmp_path, **answers)
    assert answers.items() <= json.loads(module.ANSWERS).items()
    if hook == "pre_gen_project":
        assert module.main() == 1
    assert not (tmp_path / "owned").exists()


def test_the_default_answers_are_accepted(pre_gen: ModuleType) -> None:
    assert pre_gen.main() == 0


@given(answer=strategies.text())
@settings(deadline=None)
def test_a_suggested_slug_is_accepted(pre_gen: ModuleType, answer: str) -> None:
    assert pre_gen.slug_problem(pre_gen.suggested_slug(answer)) is None


@given(name=strategies.text() | strategies.text("aé-_. 9", max_size=50))
@settings(deadline=None)
def test_the_slug_offered_for_a_name_is_accepted(pre_gen: ModuleType, name: str) -> None:
    slug = lab_slug(name)
    assert slug == "" or pre_gen.slug_problem(slug) is None


@given(text=strategies.text(alphabet="ab{%#} ", max_size=12))
@settings(deadline=None)
def test_a_suggested_text_is_accepted(pre_gen: ModuleType, text: str) -> None:
    assert pre_gen.text_problem("description", pre_gen.JINJA.sub("{ ", text)) is None


@pytest.mark.parametrize("image, named", [
    ("my-lab-runner", "my-lab-runner:abc"), ("registry:5000/lab", "registry:5000/lab:abc"),
    ("lab:1", "lab:1"), ("registry:5000/lab:1", "registry:5000/lab:1"),
    ("lab@sha256:00", "lab@sha256:00"), ("host.example/a/b", "host.example/a/b:abc"),
])
def test_an_image_gets_a_tag_where_it_has_none(post_gen: ModuleType, image: str, named: str,
                                               tmp_path: Path) -> None:
    other = (f'  image: &image "{image}-other"\n  image: &image "{image}" # mine\n'
             f'  image: {image}\n    repo: "{image}"\n# image: x\n')
    (tmp_path / ".drone.yml").write_text(
        f'x-image: &image "{image}"\n{other}  image: &image "{image}"\n')
    for _ in range(2):
        post_gen.name_the_image(tmp_path / ".drone.yml", image, "abc")
    assert (tmp_path / ".drone.yml").read_text() == (
        f'x-image: &image "{named}"\n{other}  image: &image "{named}"\n')


def test_what_was_not_chosen_is_removed_and_the_owners_files_stay(
        post_gen: ModuleType, tmp_path: Path) -> None:
    for name in ("ours", "shared"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").touch()
    (tmp_path / "shared" / ".mine").touch()
    for name in ("ours", "shared", "missing"):
        post_gen.leave_out(tmp_path / name, ("main.py",))
    assert not (tmp_path / "ours").exists()
    assert [file.name for file in (tmp_path / "shared").iterdir()] == [".mine"]


def test_without_git_installed(bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                               capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    lab = bake()
    shown = capfd.readouterr().out
    assert "git is not installed" in shown and COMMIT + INIT in shown
    assert (lab / "README.md").exists() and not (lab / ".git").exists()


@pytest.mark.parametrize("config", ["", "[user]\nname = Ann\n", "[user]\nemail = ann@lab.example\n",
                                    "[user]\nuseConfigOnly = true\n"])
def test_without_an_identity(config: str, bake: Bake, person: Path, tmp_path: Path,
                             capfd: pytest.CaptureFixture[str]) -> None:
    person.write_text(config)
    lab = bake()
    shown = capfd.readouterr().out
    assert "git does not know who you are" in shown
    commands = shown.partition("Type:\n")[2].partition(INIT)[0].replace("  cd my-lab\n", "")
    typed = subprocess.run(commands, shell=True, cwd=lab, text=True, capture_output=True)
    assert (typed.returncode, typed.stderr) == (0, ""), "a person sees a warning"
    assert git("log", "--format=%an %ae", cwd=lab) == "Your Name you@example.com\n"
    assert git("branch", "--show-current", cwd=lab) == "main\n"
    assert git("status", "--porcelain", cwd=lab) == ""


def test_an_identity_for_this_folder_or_shell_is_enough(
        bake: Bake, person: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person.with_name("work").write_text("[user]\nname = Bo\nemail = bo@lab.example\n")
    person.write_text(f'[includeIf "gitdir:{tmp_path}/labs/"]\npath = {person.with_name("work")}\n')
    assert git("log", "--format=%an", cwd=bake()) == "Bo\n"
    person.write_text("")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Cy")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "cy@lab.example")
    assert git("log", "--format=%an", cwd=bake(project_slug="other")) == "Cy\n"


@pytest.mark.parametrize("kind", ["repository", "worktree", "submodule"])
def test_inside_another_repository(kind: str, bake: Bake, tmp_path: Path,
                                   capfd: pytest.CaptureFixture[str]) -> None:
    around = tmp_path / "around"
    git("init", "--quiet", str(around), cwd=tmp_path)
    git("commit", "--quiet", "--allow-empty", "-m", "x", cwd=around)
    if kind == "worktree":
        git("worktree", "add", "--quiet", str(tmp_path / "tree"), cwd=around)
        around = tmp_path / "tree"
    elif kind == "submodule":
        git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(around), "sub",
            cwd=around)
        around = around / "sub"
    before = git("status", "--porcelain", cwd=around)
    lab = bake(around / "some" / "folder")
    shown = capfd.readouterr().out
    assert f"{around} is a git repository" in shown and COMMIT + INIT in shown
    assert not (lab / ".git").exists() and not (lab / ".lab").exists()
    assert git("status", "--porcelain", cwd=around) == before + "?? some/\n"


def test_inside_a_repository_that_ignores_the_folder(bake: Bake, tmp_path: Path) -> None:
    around = tmp_path / "around"
    git("init", "--quiet", str(around), cwd=tmp_path)
    (around / ".gitignore").write_text("demo/\n")
    lab = bake(around / "demo")
    assert git("log", "--format=%s", cwd=lab) == "A new lab\n"
    assert git("remote", cwd=lab) == "origin\n"


def test_a_path_that_the_terminal_cannot_show(
        bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    around = tmp_path / "gr\u00f6\u00dfe"
    git("init", "--quiet", str(around), cwd=tmp_path)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert (bake(around) / "README.md").exists()
    assert "gr\\xf6\\xdfe is a git repository" in capfd.readouterr().out


def test_a_remote_that_cannot_be_made(bake: Bake, tmp_path: Path,
                                      capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "labs" / "my-lab").mkdir(parents=True)
    (tmp_path / "labs" / "my-lab" / ".lab").write_text("mine")
    lab = bake(overwrite=True)
    assert "then type:\n  cd my-lab\n" + INIT in capfd.readouterr().out
    assert (lab / ".lab").read_text() == "mine"
    assert git("log", "--format=%s", cwd=lab) == "A new lab\n"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_existing_repository_is_left_alone(kind: str, bake: Bake, tmp_path: Path,
                                              capfd: pytest.CaptureFixture[str]) -> None:
    lab = tmp_path / "labs" / "my-lab"
    git("init", "--quiet", str(lab), cwd=tmp_path)
    if kind == "file":
        (lab / ".git").rename(tmp_path / "elsewhere")
        (lab / ".git").write_text(f"gitdir: {tmp_path}/elsewhere\n")
    bake(overwrite=True)
    assert "  git status\n" + INIT in capfd.readouterr().out
    assert "?? README.md" in git("status", "--porcelain", cwd=lab)
    assert git("remote", cwd=lab) == "" and not (lab / ".lab").exists()


def test_the_users_git_settings_do_not_break_the_first_commit(
        bake: Bake, person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = person.parent
    for hook in ("hooks", "template/hooks"):
        (home / hook).mkdir(parents=True)
        for name in ("pre-commit", "commit-msg", "post-commit", "post-checkout"):
            (home / hook / name).write_text("#!/bin/sh\ntouch ~/hook-ran\nexit 1\n")
            (home / hook / name).chmod(0o755)
    (home / "ignore").write_text("*.md\nlib/\n.drone.yml\n*.ipynb\n")
    (home / "sign").write_text("#!/bin/sh\ntouch ~/signed\nsleep 5\n")
    (home / "sign").chmod(0o755)
    with person.open("a") as config:
        config.write(f"[commit]\ngpgsign = true\ntemplate = {home}/missing\nverbose = true\n"
                     f"[gpg]\nprogram = {home}/sign\n[init]\ntemplateDir = {home}/template\n"
                     f"defaultBranch = trunk\n[core]\nhooksPath = {home}/hooks\nautocrlf = true\n"
                     f"safecrlf = true\nexcludesFile = {home}/ignore\neditor = false\n")
    monkeypatch.setenv("GIT_DIR", str(home / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(home / "index"))
    lab = bake()
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert git("status", "--porcelain", cwd=lab) == ""
    assert {"README.md", ".drone.yml", "lab/lib/viz.py", "vendor/taglab/config.py"} <= set(
        git("ls-files", cwd=lab).split())
    assert git("branch", "--show-current", cwd=lab) == "main\n"
    assert git("remote", cwd=lab) == "origin\n"
    assert not {"hook-ran", "signed", "nowhere", "index"} & {file.name for file in home.iterdir()}


def test_when_the_commit_fails_the_message_says_what_to_type(
        bake: Bake, person: Path, capfd: pytest.CaptureFixture[str]) -> None:
    attributes = person.with_name("attributes")
    attributes.write_text("*.md filter=broken\n")
    with person.open("a") as config:
        config.write(f'[core]\nattributesFile = {attributes}\n[filter "broken"]\nclean = false\n'
                     "required = true\n")
    lab = bake()
    shown = capfd.readouterr().out
    assert "filter 'broken' failed" in shown and f"  {ADD}{INIT}" in shown
    assert "git init" not in shown, "there is a repository already, and git would warn"
    assert (lab / "README.md").exists()
