import importlib.metadata
import os
import subprocess
from pathlib import Path

import pytest

from taglab.tag_parameters import Parameter, TagMessage, marked, write_message
from taglab.tracking.patch import LARGE, code_state, uncommitted_patch
from taglab.tracking.provenance import (
    config_hash, git_tags, parameter_tags, pinned, run_tags, versions)


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / ".gitignore").write_text("ignored\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clean_tree_is_not_dirty_and_names_its_commit(repository):
    commit = git(repository, "rev-parse", "HEAD")
    assert git_tags(repository) == {"dirty": "false", "commit": commit}
    (repository / "ignored").touch()
    assert git_tags(repository)["dirty"] == "false"


def test_the_patch_holds_every_change_and_does_not_touch_the_index(repository, tmp_path_factory):
    (repository / "a.txt").write_text("staged\n")
    git(repository, "add", "a.txt")
    (repository / "a.txt").write_text("two\n")
    (repository / "new ñ.bin").write_bytes(bytes(range(256)))
    (repository / "large").write_bytes(b"x" * (LARGE + 1))
    index, state = (repository / ".git/index").read_bytes(), git(repository, "status", "-s")
    assert git_tags(repository)["dirty"] == "true"
    patch = uncommitted_patch(repository)
    assert (repository / ".git/index").read_bytes() == index
    assert git(repository, "status", "-s") == state

    assert b"# not in this patch, larger than" in patch.splitlines()[0]
    clone = tmp_path_factory.mktemp("clone")
    git(clone, "clone", "-q", str(repository), ".")
    (clone / ".git/it.patch").write_bytes(patch)
    git(clone, "apply", ".git/it.patch")
    assert (clone / "a.txt").read_text() == "two\n"
    assert (clone / "new ñ.bin").read_bytes() == bytes(range(256))


def test_before_the_first_commit_everything_is_in_the_patch(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("one\n")
    assert git_tags(tmp_path) == {"dirty": "true"}
    assert b"+one" in uncommitted_patch(tmp_path)


SETTINGS = {
    "status.showUntrackedFiles": "no", "status.relativePaths": "true", "diff.noprefix": "true",
    "diff.mnemonicPrefix": "true", "diff.external": "false", "diff.relative": "true",
    "diff.orderFile": "/nowhere", "diff.context": "0", "diff.submodule": "log",
    "color.ui": "always",
    "diff.ignoreSubmodules": "all", "core.fsmonitor": "/bin/false", "core.quotePath": "true",
    "core.pager": "false", "diff.colorMoved": "zebra", "diff.renames": "copies",
    "diff.algorithm": "patience", "diff.wsErrorHighlight": "all", "core.hooksPath": "/nowhere",
}


def test_a_users_settings_change_nothing_of_tags_and_patch(repository, monkeypatch):
    (repository / "a.txt").write_text("one\nmore\n")
    expected = uncommitted_patch(repository)
    (repository / "new.py").write_text("x = 1\n")
    full = uncommitted_patch(repository)
    for number, (name, value) in enumerate(SETTINGS.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(SETTINGS)))
    monkeypatch.setenv("GIT_DIFF_OPTS", "--unified=0")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    assert uncommitted_patch(repository) == full != expected
    git(repository, "checkout", "-q", "a.txt")
    assert git_tags(repository)["dirty"] == "true"  # a new module counts


def test_the_patch_names_what_it_does_not_hold(repository):
    (repository / ".gitignore").write_text("*.log\n.env\n")
    names = [".envrc", "deep/.env.local", "key.pem", "deep/ID_RSA", "my-credentials.json",
             "secrets.toml", ".netrc", "kaggle.json"]
    (repository / "deep").mkdir()
    for name in names:
        (repository / name).write_text("hunter2")
    for name in ("credentials.py", "keys.py", "environment.yml", "tokens.json", "secrets.py"):
        (repository / name).write_text(f"kept = {name!r}\n")
    (repository / "a.pem").write_text("first\n")  # committed, and then changed
    git(repository, "add", "a.pem")
    git(repository, "commit", "-qm", "second", "--", "a.pem")
    (repository / "a.pem").write_text("hunter2")
    (repository / ".npmrc").write_text("hunter2")  # staged
    git(repository, "add", ".npmrc")
    for name in ("nested", "empty"):
        (repository / name).mkdir()
        git(repository / name, "init", "-q")
    git(repository / "nested", "commit", "-q", "--allow-empty", "-m", "x")
    patch = uncommitted_patch(repository).decode()
    assert "hunter2" not in patch
    notes = [line for line in patch.splitlines() if line.startswith("# not in this patch")]
    reasons = {name: "its name is that of a file with secrets" for name in (
        *names, "a.pem", ".npmrc")}
    reasons |= dict.fromkeys(("nested/", "empty/"), "it is a git repository of its own")
    assert sorted(notes) == sorted(f"# not in this patch, since {reason}: {name!r}"
                                   for name, reason in reasons.items())
    for name in ("credentials.py", "keys.py", "environment.yml", "tokens.json", "secrets.py"):
        assert f"+kept = {name!r}" in patch
    git(repository, "stash", "-qu")
    (repository / ".git/it.patch").write_text(patch)
    git(repository, "apply", ".git/it.patch")
    assert (repository / "keys.py").exists() and not (repository / ".npmrc").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(repository):
    (repository / "closed").write_text("x")
    (repository / "closed").chmod(0)
    (repository / "open").write_text("seen")
    patch = uncommitted_patch(repository)
    assert b"since it may not be read: 'closed'" in patch and b"+seen" in patch


def test_a_folder_of_another_owner_says_what_git_says(repository, monkeypatch, capsys):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert git_tags(repository) == {}
    shown = capsys.readouterr().err
    assert "warning: this run does not tell its commit" in shown
    assert f"git config --global --add safe.directory {repository}" in shown
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "*")
    assert git_tags(repository)["dirty"] == "false"
    assert capsys.readouterr().err == ""


def test_the_variables_of_a_git_hook_are_ignored(repository, monkeypatch):
    tags = git_tags(repository)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert git_tags(repository) == tags


def test_without_git_or_a_repository_there_is_no_error(tmp_path, monkeypatch, capsys):
    assert git_tags(tmp_path) == {} and uncommitted_patch(tmp_path) == b""
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "commit" not in run_tags(tmp_path, "wine", {}, {})


def test_tags_hold_what_the_build_tells(repository):
    drone = {"DRONE_COMMIT_SHA": "abc", "DRONE_TAG": "wine-v1", "DRONE_BUILD_NUMBER": "7",
             "DRONE_BUILD_LINK": "http://drone/7"}
    tags = run_tags(repository, "wine", {"seed": 3}, drone)
    assert tags | {"commit": "abc", "tag": "wine-v1", "build": "7", "build_link": "http://drone/7",
                   "process": "wine", "seed": "3", "dirty": "false"} == tags
    assert {"tag", "build", "build_link", "seed"}.isdisjoint(run_tags(repository, "wine", {}, {}))


def test_the_commit_of_a_build_is_told_also_where_the_server_names_the_tags_own_object(repository):
    git(repository, "tag", "--annotate", "-m", "Why", "wine-v1")
    commit, tag = (git(repository, "rev-parse", name) for name in ("HEAD", "wine-v1"))
    assert tag != commit
    for named in (tag, commit):
        tags = run_tags(repository, "wine", {}, {"DRONE_COMMIT_SHA": named, "DRONE_TAG": "wine-v1"})
        assert tags["commit"] == commit


def test_the_configuration_hash_depends_on_the_values_alone():
    assert config_hash({"a": 1, "b": {"c": 2.0}}) == config_hash({"b": {"c": 2.0}, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


def test_a_run_tells_which_parameters_are_from_its_tag_or_from_the_command_line(repository):
    given = (Parameter("wine", "folds", "5"), Parameter("wine", "model.rates", "[0.1]"),
             Parameter("other", "seed", "3"), Parameter("wine", "rate", "0.5"),
             Parameter("wine", "changed", "1"))
    tag = marked("wine-v1", given)
    git(repository, "tag", "-a", "--cleanup=verbatim", "-m",
        write_message(tag, TagMessage("", given)), tag)
    build = {"DRONE_TAG": tag, "DRONE_COMMIT_SHA": git(repository, "rev-parse", "HEAD")}
    config = {"folds": 5, "seed": 0, "model": {"rates": [0.1]}, "rate": 0.7, "changed": 2}
    words = ["rate=0.7", "seed=9", "nonsense", "folds", "more=1"]
    assert parameter_tags(repository, "wine", config, words, build) == {
        "parameters_from_tag": "folds=5 model.rates=[0.1]",
        "parameters_from_command_line": "rate=0.7"}
    assert parameter_tags(repository, "wine", config, ["folds=5"], build) == {
        "parameters_from_tag": "model.rates=[0.1]", "parameters_from_command_line": "folds=5"}
    assert parameter_tags(repository, "wine", {"x": "a" * 9000}, [f"x={'a' * 9000}"], {})[
        "parameters_from_command_line"] == "x=\"" + "a" * 4997
    assert parameter_tags(repository, "wine", config, [], {}) == {}


def test_a_search_resumes_under_the_same_parameters_of_a_tag_alone(repository):
    known = {"commit": "abc", "dirty": "false"}
    codes = [code_state({**known, "tag": tag}, repository)
             for tag in ("wine-v1", "wine-v2", "wine-v1.p0123abcd", "wine-v1.p0123abce")]
    assert codes[0] == codes[1] == code_state(known, repository)
    assert codes[0] != codes[2] != codes[3] != codes[0]


def test_versions_and_requirements_are_the_installed_ones():
    assert pinned("numpy", "pytest")[1] == f"pytest=={pytest.__version__}"
    listed = {f"{each.name}=={each.version}" for each in importlib.metadata.distributions()}
    assert versions().splitlines() == sorted(listed, key=str.lower)
    assert set(pinned("numpy", "pytest")) <= listed
