"""A process of a build that fails before its run leaves a failed run."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from taglab.cli.migrate import carry_out, plan
from taglab.testing import environment, runs_in, store_in
from taglab.tracking.failed_start import is_watched
from taglab.tracking.summary import find_runs
from mlflow import MlflowClient
from tests.runner.conftest import SOURCE, lab, make_lab  # noqa: F401  fixtures

BUILD = {"DRONE_BUILD_NUMBER": "7", "DRONE_TAG": "wine-v1", "DRONE_COMMIT_SHA": "abc"}
MAIN = "/lab/lab/processes/wine/main.py"
LOST = "wine-v1.p0123abcd"  # a tag whose message is not there

# What each process does, the exit status, and what its run tells of it.
FAILURES = {
    "package": ("import nonsense", 1, "ModuleNotFoundError: No module named 'nonsense'"),
    "syntax": ("def f(:", 1, "SyntaxError: invalid syntax"),
    "exit": ("import sys\nsys.exit('no data')", 1, "SystemExit: no data"),
    "config": ("from taglab.config import load_config\nload_config(__file__)", 3,
               "tomllib.TOMLDecodeError: Invalid value (at line 1"),
    "lost": (f"import os\nos.environ['DRONE_TAG'] = '{LOST}'\n"
             "from taglab.config import load_config\nload_config(__file__)", 3,
             f"the tag {LOST} changes parameters, and this checkout has lost its message"),
}


@pytest.fixture
def start_main(own_store, lab_folder):
    """Return a function that starts a main.py of the text in a build."""
    (lab_folder / "vendor" / "sitecustomize.py").symlink_to(
        SOURCE / "taglab" / "sitecustomize.py")

    def start(text, *words, process="wine", **variables):
        folder = lab_folder / "lab" / "processes" / process
        folder.mkdir(parents=True)
        (folder / "main.py").write_text(text)
        (folder / "config.toml").write_text("a = = 1" if process == "config" else "alpha = 1")
        return subprocess.Popen(
            [sys.executable, folder / "main.py", *words], cwd=own_store, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(own_store, **{
                "PYTHONPATH": str(lab_folder / "vendor"), **BUILD, **variables}))

    return start


def test_each_way_to_fail_before_a_run_leaves_a_failed_run(start_main, own_store):
    started = {process: start_main(text, "alpha=2", process=process)
               for process, (text, *_) in FAILURES.items()}
    for process, main in started.items():
        _, printed = main.communicate()
        assert main.returncode == FAILURES[process][1]
        assert printed and "warning" not in printed
    client, runs, _ = runs_in(own_store)
    assert sorted(run.info.run_name for run in runs) == sorted(FAILURES)
    for run in runs:
        process = run.info.run_name
        assert run.info.status == "FAILED"
        assert run.data.tags | {
            "process": process, "build": "7", "commit": "abc",
            "tag": LOST if process == "lost" else "wine-v1",
            "reason": "it ended before it made a run"} == run.data.tags
        assert run.data.params == ({} if process in ("config", "lost") else
                                   {"alpha": "2"})
        log = open(client.download_artifacts(run.info.run_id, "output.log", str(own_store))).read()
        assert FAILURES[process][2] in log and "main.py" in log and "failed_start" not in log


@pytest.mark.parametrize("text", [
    "import sys\nsys.exit()",
    "import sys\ntry:\n    sys.exit('no')\nexcept SystemExit:\n    sys.exit(0)",
    "from taglab.tracking import start_run\n"
    "with start_run(__file__, {}):\n    pass\nopen('data.csv')",
])
def test_a_process_that_did_not_fail_or_has_made_a_run_leaves_no_other(
        start_main, own_store, text):
    start_main(text).communicate()
    assert [run.info.status for run in runs_in(own_store)[1]] == (
        ["FINISHED"] if "start_run" in text else [])


def test_where_the_server_is_away_one_line_follows_the_traceback(start_main):
    started = time.monotonic()
    main = start_main("open('data.csv')", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    error, warning = main.communicate()[1].splitlines()[-2:]
    assert main.returncode == 1 and time.monotonic() - started < 30
    assert error.startswith("FileNotFoundError: ") and warning.startswith(
        "warning: this failure is in no run: error: no MLflow server answers at http://127.0.0.1:9")


@pytest.mark.parametrize("script, variables, watched", [
    (MAIN, BUILD, True),
    (MAIN, {}, False),
    (MAIN, BUILD | {"RANK": "0"}, True),
    (MAIN, BUILD | {"RANK": "1"}, False),
    (MAIN, BUILD | {"JOB_NAME": "wide"}, False),
    ("/lab/goals/main.py", BUILD, False),
    ("/lab/lab/processes/wine/test_wine.py", BUILD, False),
    ("-m", BUILD, False),
])
def test_only_a_process_of_a_build_is_watched(script, variables, watched):
    assert is_watched(script, variables) == watched


def test_the_next_file_of_that_name_runs_too_and_outside_of_a_build_nothing_changes(tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    for name in ("one", "two"):  # two labs
        shutil.copy(SOURCE / "taglab" / "sitecustomize.py", tmp_path / name)
        (tmp_path / name / "taglab").symlink_to(SOURCE / "taglab")
    (tmp_path / "three" / "sitecustomize.py").write_text("print('of the image', __file__)\n")
    (tmp_path / "main.py").write_text("import sys\nprint(sys.excepthook is sys.__excepthook__)\n")
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=tmp_path, text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": "one:two:three"})
    assert (done.stdout, done.stderr) == (
        f"of the image {tmp_path}/three/sitecustomize.py\nTrue\n", "")


def test_a_build_of_the_runner_leaves_the_run(lab, empty_store, monkeypatch):  # noqa: F811
    monkeypatch.delenv("LAB_ROOT")
    shutil.copy(empty_store, lab.path)
    lab.write("lab/processes/wine/main.py", "open('data.csv')\n")
    lab.write("pyproject.toml", '[project]\nname = "my-lab"\n')
    lab.git("add", "--force", "vendor")
    lab.pipeline(f"""\
        environment: {{PYTHONPATH: "/drone/src/vendor"}}
        steps:
        - {{name: wine, image: x, commands: ["{sys.executable} lab/processes/wine/main.py"]}}
        """)
    assert "FileNotFoundError" in lab.push_tag("exp-1")
    assert lab.steps() == {"clone": "success", "wine": "failure"}
    [run] = find_runs(MlflowClient(store_in(lab.path)), "my-lab")
    assert (run.info.status, run.data.tags["process"], run.data.tags["build"]) == (
        "FAILED", "wine", "1")


def test_migrate_brings_the_file_to_a_lab_that_has_only_the_package(lab):  # noqa: F811
    start = lab.path / "vendor" / "sitecustomize.py"
    start.unlink()
    assert [*plan(lab.path).changed] == ["vendor/sitecustomize.py"]
    carry_out(lab.path, plan(lab.path))
    assert start.read_text() == (SOURCE / "taglab" / "sitecustomize.py").read_text()
    assert not plan(lab.path)
