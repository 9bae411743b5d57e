"""The lab command, and the environments that it makes."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runner.conftest import PIPELINE, SOURCE, Lab, wait_for

ENSURE = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from taglab.errors import LabError
from taglab.runner.environment import ensure_environment
try:
    print(ensure_environment(Path(sys.argv[2]), print))
except LabError as error:
    sys.exit(str(error))
"""


def ensure(folder: Path, cache: Path) -> subprocess.Popen[str]:
    """Start a process that makes the environment of `folder`/requirements.txt."""
    return subprocess.Popen([sys.executable, "-c", ENSURE, str(SOURCE), str(folder)], text=True,
                            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_processes_that_want_the_same_environment_make_it_once(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    outputs = [process.communicate()[0] for process in
               [ensure(tmp_path, tmp_path / "cache") for _ in range(3)]]
    assert len({output.splitlines()[-1] for output in outputs}) == 1
    assert sum("making the environment" in output for output in outputs) == 1
    assert sum("waiting for" in output for output in outputs) == 2


def test_a_failed_install_says_why_and_leaves_no_environment(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("./broken\n")
    (tmp_path / "broken").mkdir()
    _, error = ensure(tmp_path, tmp_path / "cache").communicate()
    assert "could not install requirements.txt" in error and "/broken" in error
    assert not [path for path in (tmp_path / "cache/taglab/environments").iterdir()
                if path.is_dir() and not (path / "bin/uv").exists()]


def test_the_hash_depends_on_packages_and_not_on_comments(tmp_path: Path) -> None:
    from taglab.runner.requirements import requirements_hash
    (tmp_path / "requirements.txt").write_text("a==1  # why\n\nb==2\n-r more.txt\n")
    (tmp_path / "more.txt").write_text("c==3\n")
    before = requirements_hash(tmp_path)
    (tmp_path / "requirements.txt").write_text("# a comment\na==1\nb==2\n-r more.txt\n")
    assert requirements_hash(tmp_path) == before
    (tmp_path / "more.txt").write_text("c==4\n")
    assert requirements_hash(tmp_path) != before and len(before) == 12


def test_init_makes_a_venv_that_works_after_the_lab_was_moved(lab: Lab, tmp_path: Path) -> None:
    lab.write("requirements.txt", "six==1.17.0\n")
    lab.write("lab/lib/__init__.py", "WHERE = __file__\n")
    lab.write("tools.txt", "")
    lab.git("add", "-A")
    assert "The lab is ready" in lab.lab("init").stdout
    lab.path = lab.path.rename(tmp_path / "moved lab")
    shown = lab.run("bash", "-c", ". .venv/bin/activate && cd / && "
                    "python -c 'import six, lib; print(six.__version__, lib.WHERE)' && "
                    "which lab && lab builds && pip --version")
    assert f"1.17.0 {lab.path}/lab/lib/__init__.py" in shown.stdout, shown.stdout
    assert f"{lab.path}/.venv/bin/lab" in shown.stdout and "No builds yet" in shown.stdout
    assert lab.git("status", "--porcelain", "--", ".venv", ".lab") == ""


def test_init_keeps_the_origin_of_a_clone(lab: Lab, tmp_path: Path) -> None:
    lab.write("requirements.txt", "")
    lab.git("add", "--force", "vendor")
    lab.pipeline("steps: [{name: a, image: x, commands: [echo runs]}]\n")
    lab.git("clone", "-q", ".", str(tmp_path / "colleague"))
    colleague = Lab(tmp_path / "colleague")
    assert "git push local run-examples-v1" in colleague.lab("init").stdout
    assert "my-lab" in colleague.git("remote", "get-url", "origin")
    colleague.git("tag", "exp-1")
    assert "[a] runs" in colleague.git("push", "local", "exp-1")
    assert "The lab is ready" in colleague.lab("init").stdout  # repeating it is harmless


def test_init_outside_a_repository_says_what_to_type(lab: Lab) -> None:
    (lab.path / ".git").rename(lab.path.parent / "away")
    done = lab.lab("init")
    assert done.returncode == 1 and "git init -b main" in done.stdout


def test_init_advises_no_second_repository(lab: Lab) -> None:
    lab.git("remote", "set-url", "origin", "https://git.example/lab.git")
    lab.git("remote", "add", "local", "https://git.example/copy.git")
    done = lab.lab("init")
    assert done.returncode == 1 and "git remote add NAME" in done.stdout
    assert "git init" not in done.stdout


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["nonsense"], 3, "lab has no command `nonsense`. Type: lab --help"),
    (["logs", "x"], 3, "not a valid integer"),
    (["logs", "7"], 1, "there is no build 7"),
    (["new", "My Process"], 1, "lab new my_process"),
    ([], 3, "Change:"),
    (["--help"], 0, "Change:"),
    (["builds"], 0, "No builds yet"),
])
def test_exit_codes(lab: Lab, arguments: list[str], code: int, message: str) -> None:
    done = lab.lab(*arguments)
    assert message in done.stdout and done.returncode == code, done.stdout


def test_logs_follow_a_build_to_its_end(lab: Lab) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: [echo runs, exit 1]}]\n")
    lab.push_tag("exp-1")
    done = lab.lab("logs", "1", "--follow")
    assert "[a] runs" in done.stdout and done.returncode == 1
    assert "failure" in lab.lab("builds").stdout


def test_add_pins_a_package_and_its_dependencies(lab: Lab) -> None:
    lab.write("requirements.txt", "# what the lab uses\nsix==1.17.0\n")
    done = lab.lab("add", "python-dateutil==2.9.0.post0", "tomli_w")
    assert "python-dateutil==2.9.0.post0" in done.stdout and done.returncode == 0
    assert "six" not in done.stdout.split("Added")[1]  # it is already pinned
    assert (lab.path / "requirements.txt").read_text() == (
        "# what the lab uses\nsix==1.17.0\n\n# Added with `lab add`.\n"
        "python-dateutil==2.9.0.post0\n" + done.stdout.splitlines()[-1] + "\n")
    assert lab.run(".venv/bin/python", "-c", "import dateutil, tomli_w").returncode == 0
    before = (lab.path / "requirements.txt").read_text()
    assert "requirements.txt already has them" in lab.lab("add", "tomli_w").stdout
    failed = lab.lab("add", "six==1.16.0")
    assert failed.returncode == 1 and "no version of six==1.16.0 that fits" in failed.stdout
    assert (lab.path / "requirements.txt").read_text() == before


def test_new_creates_a_process_and_copies_a_pipeline_for_it(lab: Lab) -> None:
    lab.pipeline("""\
        steps:
        - {name: old-one, image: i, commands: [python lab/processes/old_one/main.py]}
        """, PIPELINE.replace("exp", "old-one"))
    done = lab.lab("new", "my_process")
    assert "git push origin my-process-v1" in done.stdout
    assert {path.name for path in (lab.path / "lab/processes/my_process").iterdir()} == {
        "main.py", "my_process.py", "test_my_process.py", "config.toml"}
    text = (lab.path / ".drone.yml").read_text()
    assert "- refs/tags/my-process-*" in text or "[refs/tags/my-process-*]" in text
    assert "python lab/processes/my_process/main.py" in text and text.count("old-one") == 3
    assert "already exists" in lab.lab("new", "my_process").stdout
    assert "end its pipeline with a step that runs `python -m taglab.goals`" in done.stdout


RUNS = "steps: [{name: a, image: x, commands: ['echo $DRONE_BUILD_PARENT. $DRONE_TAG']}]\n"


def test_restart_runs_the_same_commit_and_tag_again(lab: Lab) -> None:
    lab.pipeline(RUNS)
    lab.push_tag("exp-1")
    commit = lab.git("rev-parse", "HEAD")
    lab.pipeline(RUNS.replace("echo", "false"))
    lab.git("push", "origin", ":refs/tags/exp-1")  # even when the tag is gone
    done = lab.lab("restart", "1")
    assert done.returncode == 0 and "[a] 1. exp-1" in done.stdout
    again = lab.build(2)
    assert (again.parent, again.commit.sha, again.name) == (1, commit, "exp-1")
    assert "there is no build 7" in lab.lab("restart", "7").stdout


def test_cancel_ends_a_build_and_all_its_processes(lab: Lab) -> None:
    lab.pipeline("""\
        steps:
        - {name: a, image: x, commands: ["sleep 4321.5 & sleep 4322.5"]}
        - {name: b, image: x, commands: [echo never], when: {status: [failure, success]}}
        """)
    lab.git("tag", "exp-1")
    push = lab.start_push("-q", "origin", "exp-1")
    wait_for(lambda: lab.build() and lab.steps().get("a") == "running")
    assert "a " in lab.lab("status").stdout and "running" in lab.lab("builds").stdout
    assert "build 1: killed" in lab.lab("cancel", "1").stdout
    push.wait(60)
    assert lab.steps() == {"clone": "success", "a": "killed", "b": "skipped"}
    shown = lab.run("ps", "-eo", "args").stdout
    assert "sleep 4321.5" not in shown and "sleep 4322.5" not in shown
    again = lab.lab("cancel", "1")
    assert again.returncode == 1 and "has already ended: killed" in again.stdout


def test_cancel_stops_a_build_that_is_making_its_environment(lab: Lab, tmp_path: Path) -> None:
    from taglab.runner.environment import environment_path
    package = tmp_path / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'b'\nbackend-path = ['.']\n")
    (package / "b.py").write_text("import time\nopen('started', 'w')\ntime.sleep(600)\n")
    lab.write("requirements.txt", f"{package.as_uri()}\n")
    lab.pipeline("steps: [{name: a, image: x, commands: [echo never]}]\n")
    lab.git("tag", "exp-1")
    with lab.start_push("-q", "origin", "exp-1") as push:
        wait_for(lambda: (package / "started").exists(), 60)
        assert "build 1: killed" in lab.lab("cancel", "1").stdout
        push.wait(60)
    assert (lab.build().status, lab.build().error) == ("killed", "")
    assert not environment_path(lab.path).exists()


def test_launch_pushes_the_next_tag_of_the_current_commit(lab: Lab) -> None:
    lab.pipeline(RUNS)
    lab.git("tag", "exp-v1")
    lab.git("tag", "exp-v10")
    done = lab.lab("launch", "exp")
    assert "$ git tag exp-v11\n$ git push origin refs/tags/exp-v11" in done.stdout
    assert "0. exp-v11" in done.stdout and done.returncode == 0
    lab.write("new.txt", "not committed")
    refused = lab.lab("launch", "exp")
    assert refused.returncode == 1 and "?? new.txt" in refused.stdout
    assert "It has: exp" in lab.lab("launch", "exq").stdout
    lab.pipeline(RUNS, PIPELINE.replace("exp-*", "exp-*, refs/tags/my-search-*"))
    assert "0. my-search-v1" in lab.lab("launch", "my_search").stdout
    shown = lab.lab("status").stdout  # one pipeline, but a row for each kind of tag
    assert "exp-v11" in shown and "my-search-v1" in shown
    lab.pipeline(RUNS, PIPELINE.replace("refs/tags/exp-*", '"refs/tags/[ab]*"'))
    assert "tag and push by hand" in lab.lab("launch", "exp").stdout


def test_builds_and_status_print_tables_or_json(lab: Lab) -> None:
    assert "No builds yet" in lab.lab("status").stdout
    lab.pipeline(RUNS)
    lab.push_tag("exp-1")
    for command in ("builds", "status"):
        table = lab.lab(command).stdout
        assert "exp-1" in table and "success" in table and "\x1b" not in table
        [build] = json.loads(lab.lab(command, "--json").stdout)
        assert build["pipelines"][0]["steps"][1]["status"] == "success"


def edit_library(lab: Lab) -> None:
    """Give the lab its own copy of the library, and edit a file of it."""
    from taglab.hashes import write_hashes
    library = lab.path / "vendor/taglab"
    library.unlink()
    shutil.copytree(SOURCE / "taglab", library, ignore=shutil.ignore_patterns("__pycache__"))
    write_hashes(library)
    with (library / "search/plan.py").open("a") as file:
        file.write("# mine\n")


def test_lint_warns_of_an_edited_copy_of_the_library(lab: Lab) -> None:
    lab.write("requirements.txt", "")
    lab.pipeline(RUNS.replace("image: x", "image: x:1"))
    edit_library(lab)
    warned = lab.lab("lint")
    assert warned.returncode == 0
    assert warned.stdout.startswith("vendor/taglab/search/plan.py: warning: not as delivered")
    assert len(warned.stdout.splitlines()) == 1
    [finding] = json.loads(lab.lab("lint", "--json").stdout)
    assert (finding["file"], finding["level"]) == ("vendor/taglab/search/plan.py", "warning")
    lab.write(".drone.yml", "# first\n---\n" + PIPELINE)
    failed = lab.lab("lint").stdout
    assert ".drone.yml:1: error: " in failed and "plan.py: warning: " in failed


def test_environments_are_listed_and_pruned(lab: Lab, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lab.lab("envs")  # makes that of pip and uv, and with it the runner's own
    listed = json.loads(lab.lab("envs", "--json").stdout)
    assert len(listed) == 2 and all(each["size"] > 1e6 for each in listed)
    old = tmp_path / "cache/taglab/environments/old"
    old.mkdir()
    (old / "ready").touch()
    os.utime(old / "ready", (0, 0))
    assert "old" in lab.lab("envs").stdout and "1970-01-01" in lab.lab("envs").stdout
    assert "removed old" in lab.lab("envs", "--prune").stdout
    assert not old.exists() and "removed" not in lab.lab("envs", "--prune").stdout


def test_lint_and_every_push_name_the_line_and_the_fix(lab: Lab) -> None:
    lab.write("requirements.txt", "")
    lab.pipeline(RUNS.replace("image: x", "image: x:1"))
    clean = lab.lab("lint")
    assert clean.returncode == 0 and "nothing found" in clean.stdout
    lab.write("goals/goals.toml", '[[goal]]\nprocess = "a"\n')
    lab.pipeline(RUNS.replace("echo", "python lab/processes/a/main.py #"),
                 PIPELINE.replace("ref:", "tags:"))
    warned = lab.lab("lint")
    assert warned.returncode == 0 and ".drone.yml:5: warning:" in warned.stdout
    assert 5 in [each["line"] for each in json.loads(lab.lab("lint", "--json").stdout)]
    shown = lab.push_tag("exp-1")
    assert shown.index(".drone.yml:5: warning:") < shown.index("[a] ")
    for told in (warned.stdout, shown):
        assert ".drone.yml:3: warning: the pipeline `exp` runs a and never checks" in told
        assert "changes with every release" not in told
    assert "changes with every release" in lab.lab("lint", "--server").stdout
    secrets = lab.path / ".lab/secrets.toml"  # with secrets on this machine, missing ones are named
    secrets.write_text('key = "hunter2"\n')
    secrets.chmod(0o600)
    lab.pipeline(RUNS.replace("x,", "x, environment: {A: {from_secret: nokey}},", 1))
    assert "nokey" in lab.lab("lint").stdout
    lab.pipeline(RUNS, "# first\n---\n" + PIPELINE)
    refused = lab.lab("lint")
    assert refused.returncode == 1 and ": error: " in refused.stdout


def test_lint_says_which_file_is_no_text(lab: Lab) -> None:
    lab.pipeline(RUNS)
    (lab.path / "requirements.txt").write_bytes(b"caf\xe9\n")
    failed = lab.lab("lint")
    assert failed.returncode == 1 and "Traceback" not in failed.stdout
    assert "requirements.txt is not UTF-8 text: byte 3 cannot be read" in failed.stdout
