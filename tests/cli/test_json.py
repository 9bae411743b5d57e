"""What `--json` prints of commands that write or look: JSON alone on stdout, the rest on stderr."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.runner.conftest import PIPELINE, Lab

RUNS = "steps: [{name: a, image: x:1, commands: [python a.py]}]\n"


def printed(lab: Lab, *arguments: str) -> Any:
    """Run a command with --json and return what its stdout says."""
    done = subprocess.run([sys.executable, "vendor/taglab", *arguments, "--json"], cwd=lab.path,
                          text=True, capture_output=True)
    return json.loads(done.stdout)


def test_commands_print_what_they_wrote(lab: Lab) -> None:
    lab.write("requirements.txt", "")
    lab.write("lab/processes/old/main.py", "")
    lab.pipeline(RUNS.replace("a.py", "lab/processes/old/main.py"),
                 PIPELINE.replace("exp", "old"))
    made = printed(lab, "init")
    assert (made["lab"], made["remote"]) == (str(lab.path), "origin")
    assert Path(made["environment"], "bin", "python").exists()
    assert printed(lab, "add", "six==1.17.0") == {"added": ["six==1.17.0"]}
    assert printed(lab, "add", "six") == {"added": []}
    new = printed(lab, "new", "my_process")
    assert (new["process"], new["folder"], new["tag"]) == (
        "my_process", "lab/processes/my_process", "my-process-v1")
    assert (lab.path / new["folder"] / "main.py").exists() and new["pipeline"]
    image = printed(lab, "image", "registry.example/team/lab")
    assert image["changed"] and image["image"] in (lab.path / ".drone.yml").read_text()
    assert printed(lab, "image") == {**image, "changed": False}
    lab.git("init", "-q", "--bare", "server.git")
    connected = printed(lab, "connect", str(lab.path / "server.git"))
    assert connected["origin"].endswith("server.git") and connected["answers"] == {}
    assert connected["commands"][0] == "git remote rename origin local"
    assert any("git push origin TAG" in each for each in connected["left"])


def test_migrate_prints_its_plan_and_does_it_only_with_yes(lab: Lab) -> None:
    lab.git("add", "--force", "vendor")
    lab.write("goals.sh", "python goals/main.py\n")
    lab.pipeline(RUNS)
    plan = printed(lab, "migrate")
    assert plan["changed"] == ["goals.sh"] and not plan["done"]
    assert (lab.path / "goals.sh").read_text() == "python goals/main.py\n"
    assert printed(lab, "migrate", "--yes") == {**plan, "done": True}
    assert (lab.path / "goals.sh").read_text() == "python -m taglab.goals\n"


def test_a_command_that_fails_prints_its_error_on_stderr_alone(lab: Lab) -> None:
    for arguments in (["logs", "7"], ["new", "My Process"], ["connect", "nowhere"], ["cancel"]):
        done = subprocess.run([sys.executable, "vendor/taglab", *arguments, "--json"],
                              cwd=lab.path, text=True, capture_output=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: ") and len(done.stderr.splitlines()) == 1
