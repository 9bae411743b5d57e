"""What a step can see of the shell that pushed: what it is given, and not what the runner had."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .conftest import PIPELINE, SOURCE, Lab

LOOK = """\
import os
from pathlib import Path
def line(pid, name):
    return [each.split()[1] for each in Path(f"/proc/{pid}/status").read_text().splitlines()
            if each.startswith(name)][0]
pid, build = os.getpid(), int(Path("../../../held").read_text())
below = True  # the process of the build, those that it has started
word = b"hunter" + b"2"
while pid > 1:
    found = [word in Path(f"/proc/{pid}/environ").read_bytes()]
    if below:
        found += [word in each.read_bytes() for each in Path("/proc").glob("[0-9]*/environ")
                  if line(each.parent.name, "PPid:") == str(pid)]
    print("below" if below else "above", any(found))
    below = below and pid != build
    pid = int(line(pid, "PPid:"))
"""
STUB = """\
import os
from pathlib import Path
Path(os.environ["LAB_STATE"]).parent.joinpath("library").write_text(repr(dict(os.environ)))
"""
FORGET = """\
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from taglab.runner.shell_variables import forget_shell
given = forget_shell(["ASKED_FOR"])
print(sorted(given), flush=True)
subprocess.run(["env"])
if sys.platform == "linux":
    assert not open("/proc/self/environ").read().strip("\\0")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_no_process_of_a_build_shows_the_tokens_of_the_shell_that_pushed(lab: Lab) -> None:
    lab.write("look.py", LOOK)
    lab.pipeline(f"steps: [{{name: a, image: x, commands: [{sys.executable} look.py]}}]\n")
    shown = lab.push_tag("exp-1", SECRET_TOKEN="hunter2")
    assert lab.build().status == "success", shown
    seen = [line.removeprefix("[a] ") for line in shown.splitlines()
            if line.startswith("[a] ") and line.endswith(("True", "False"))]
    assert seen.count("below False") >= 3 and "below True" not in seen, shown
    assert "above True" in seen, "the push itself has it, so that looking was in earnest"


def test_a_build_still_gets_what_it_needs_of_the_shell(lab: Lab) -> None:
    lab.write("runtimes/machine.toml", '[shell]\nnames = ["ASKED_FOR"]\n')
    lab.write("requirements.txt", "")
    lab.write("lab/lib/tracking.py", STUB)
    lab.write("lab/lib/__init__.py", "")
    lab.pipeline("""\
        steps:
        - name: a
          image: x
          commands:
          - echo "$ASKED_FOR, $LANG, $(printf %s "$KEY" | wc -c), [$MLFLOW_TRACKING_TOKEN]"
          environment: {KEY: {from_secret: key}}
        """, PIPELINE)
    shown = lab.push_tag("exp-1", ASKED_FOR="asked for", LANG="C.UTF-8", LAB_SECRET_KEY="hunter2",
                         MLFLOW_TRACKING_TOKEN="of MLflow")
    assert "[a] asked for, C.UTF-8, 7, []" in shown
    library = (lab.path / ".lab/library").read_text()
    assert "'of MLflow'" in library and "hunter2" not in library


def test_only_what_the_runner_needs_is_left_and_handed_on() -> None:
    kept = {"PATH": os.environ["PATH"], "HOME": "/h", "PIP_INDEX_URL": "https://i", "LC_ALL": "C",
            "https_proxy": "http://p", "GIT_CONFIG_COUNT": "0", "SSL_CERT_FILE": "/c",
            "UV_CACHE_DIR": "/u", "ASKED_FOR": "1", "XDG_CACHE_HOME": "/x", "CFLAGS": "-g"}
    gone = {"SECRET_TOKEN": "2", "GIT_TOKEN": "3", "UV_PUBLISH_TOKEN": "4", "PIP_PASSWORD": "5",
            "AWS_SECRET_ACCESS_KEY": "6", "HF_TOKEN": "7", "PATHOLOGY": "8"}
    given = {"LAB_SECRET_KEY": "9", "MLFLOW_TRACKING_PASSWORD": "10"}
    done = subprocess.run([sys.executable, "-c", FORGET, SOURCE], text=True, capture_output=True,
                          env={**kept, **gone, **given})
    first, *lines = done.stdout.splitlines()
    assert first == repr(sorted(given)), done.stderr
    assert done.returncode == 0, done.stderr
    assert {*lines} == {f"{name}={value}" for name, value in kept.items()}
