"""`lab restart`: again, or without what is done; and what `--json` prints of builds."""
from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from tests.runner.conftest import WAIT, Lab, wait_for

SHOWS = """\
environment: {LAB_REUSE: pipeline}
steps:
- {name: a, image: x, commands: ['echo $LAB_REUSE. ${LAB_REUSE}.']}
- {name: b, image: x, commands: ['echo own $LAB_REUSE.'], environment: {LAB_REUSE: "false"}}
"""
MAIN = """\
from taglab.tracking import start_run
import mlflow
with start_run(__file__, {}):
    print("trains")
    mlflow.log_metric("score", 1.0)
"""


def test_a_restart_tells_all_steps_to_skip_what_is_done_only_where_it_is_asked(lab: Lab) -> None:
    lab.pipeline(SHOWS)
    lab.push_tag("exp-1")
    shown = lab.lab("restart", "--skip-done").stdout
    assert shown.startswith("build 1 · exp-1\n")  # on stderr
    assert "[a] true. true.\n" in shown and "[b] own false.\n" in shown
    assert lab.build(2).skip_done and not lab.build(1).skip_done
    again = lab.lab("restart", "2", "--json")
    assert "[a] pipeline. .\n" in again.stdout  # the progress, on stderr
    assert not lab.build(3).skip_done and lab.build(3).parent == 2
    records = [json.loads((lab.path / f".lab/builds/{number}/build.json").read_text())
               for number in (1, 2)]
    assert ["skip_done" in record for record in records] == [False, True]  # older ones have none
    assert lab.lab("logs").stdout.startswith("build 3 · exp-1\nbuild 3 · exp-1 · ")


def only_stdout(lab: Lab, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "vendor/taglab", *arguments], cwd=lab.path, text=True,
                          capture_output=True)
    return done.returncode, done.stdout


def test_json_is_the_record_of_the_build_and_nothing_else(lab: Lab) -> None:
    assert only_stdout(lab, "restart", "--json") == only_stdout(lab, "cancel", "--json") == (1, "")
    lab.pipeline(f"steps: [{{name: a, image: x, commands: [echo runs, '{WAIT}']}}]\n")
    (lab.path / ".lab/state.go").touch()

    def record(number: int) -> dict:
        return json.loads(json.dumps(asdict(lab.build(number))))

    status, shown = only_stdout(lab, "launch", "exp", "--json")
    assert (status, json.loads(shown)) == (0, [record(1)])  # of a sweep there are several
    status, shown = only_stdout(lab, "restart", "--json")
    assert (status, json.loads(shown)) == (0, record(2))
    status, shown = only_stdout(lab, "logs", "--json", "--follow")
    assert status == 0 and json.loads(shown)["build"] == record(2)
    assert "[a] runs" in json.loads(shown)["lines"]
    lab.write(".git/hooks/pre-push", "#!/bin/sh\necho refused; exit 1\n")
    (lab.path / ".git/hooks/pre-push").chmod(0o755)
    assert only_stdout(lab, "launch", "exp", "--json") == (1, "[]\n")  # not the build before
    (lab.path / ".git/hooks/pre-push").unlink()
    (lab.path / ".lab/state.go").unlink()
    lab.git("tag", "exp-3")
    push = lab.start_push("-q", "origin", "exp-3")
    wait_for(lambda: lab.build(3) and lab.steps(3).get("a") == "running")
    lab.pipeline("steps: [{name: a, image: x, commands: [echo runs]}]\n")
    lab.push_tag("exp-4")  # is newer, and has ended
    status, shown = only_stdout(lab, "cancel", "--json")
    push.wait(60)
    assert (status, json.loads(shown)["status"], lab.build(3).status) == (0, "killed", "killed")
    assert json.loads(shown)["number"] == 3


def test_a_restart_skips_a_process_that_is_done_and_judges_its_earlier_run(lab: Lab) -> None:
    lab.write("lab/processes/tiny/main.py", MAIN)
    lab.write("goals/goals.toml", '[[goal]]\nprocess = "tiny"\nmetric = "score"\nat_least = 1\n')
    lab.write("pyproject.toml", '[project]\nname = "my-lab"\n')
    lab.git("add", "--force", "vendor")
    lab.pipeline(f"""\
        environment: {{PYTHONPATH: /drone/src/lab:/drone/src/vendor}}
        steps:
        - {{name: tiny, image: x, commands: [{sys.executable} lab/processes/tiny/main.py]}}
        - name: goals
          image: x
          commands: ['test "$LAB_REUSE" != true || {sys.executable} -m taglab.goals']
        """)
    assert "[tiny] trains" in lab.push_tag("exp-1")
    shown = lab.lab("restart", "--skip-done").stdout
    assert lab.build(2).status == "success", shown
    assert "[tiny] done before: tiny in build 1, run " in shown and "[tiny] trains" not in shown
    assert "[goals] met     tiny: score" in shown
