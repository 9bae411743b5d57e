"""`make coverage` counts what runs in other processes, the hook of a push among them."""
from __future__ import annotations

import os
import sys
from pathlib import Path

from coverage import CoverageData

from .conftest import SOURCE, TEMPLATE, Lab

PUSH = "import subprocess; subprocess.run(['git', 'push', '-q', 'origin', 'exp-1'], cwd={!r})"


def test_the_lines_that_a_push_reaches_in_its_hook_are_counted(lab: Lab, tmp_path: Path) -> None:
    lab.pipeline("steps: [{name: a, image: a, commands: ['true']}]\n")
    lab.git("tag", "exp-1")
    (tmp_path / "push.py").write_text(PUSH.format(str(lab.path)))
    data = tmp_path / "data"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command, what in (("run", "push.py"), ("combine", ".")):
        done = Lab(TEMPLATE).run(sys.executable, "-m", "coverage", command, f"--data-file={data}",
                                 str(tmp_path / what), PATH=path)
        assert done.returncode == 0, done.stdout
    assert lab.steps()["a"] == "success"
    counted = CoverageData(str(data))
    counted.read()
    for name in ("__main__.py", "runner/receive.py", "runner/build_run.py"):
        lines = counted.lines(str(SOURCE / "taglab" / name))
        assert lines and len(lines) > 20, name
