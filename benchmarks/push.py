"""From `git push` to the first line of the first step, against a push to a repository alone."""
from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

from labs import AUTHOR, bake
from timing import medians

STEP = """\
kind: pipeline
type: kubernetes
name: bench
trigger:
  ref: [refs/tags/bench-*]
steps:
- name: step
  image: python
  commands: [echo first line]
"""


def git(lab: Path, *arguments: str) -> None:
    """Run git in the lab."""
    subprocess.run(["git", *arguments], cwd=lab, check=True, capture_output=True,
                   env={**os.environ, **AUTHOR})


def push(lab: Path, remote: str, tag: str, until: str) -> float:
    """Push a new tag; return the seconds until a line begins with `until`, or to the end."""
    git(lab, "tag", tag)
    started = perf_counter()
    with subprocess.Popen(["git", "push", remote, tag], cwd=lab, stderr=subprocess.PIPE,
                          text=True) as process:
        seconds = next((perf_counter() - started for line in process.stderr
                        if until and line.startswith(until)), None)
        process.stderr.read()
    return perf_counter() - started if seconds is None else seconds


def main() -> None:
    """Print one line."""
    with tempfile.TemporaryDirectory() as folder:
        lab = bake(Path(folder))
        (lab / ".drone.yml").write_text(STEP)
        git(lab, "commit", "-qam", "One step")
        git(lab, "init", "-q", "--bare", f"{folder}/plain.git")
        git(lab, "remote", "add", "plain", f"{folder}/plain.git")
        numbers = itertools.count()
        seconds = medians({
            "plain": lambda: push(lab, "plain", f"bench-{next(numbers)}", ""),
            "lab": lambda: push(lab, "origin", f"bench-{next(numbers)}", "remote: [step]")},
            rounds=15)
    print(f"push to the first line of the first step: {seconds['lab']:.3f} s, "
          f"{seconds['lab'] / seconds['plain']:.1f} times a push without a pipeline "
          f"({seconds['plain']:.3f} s)")


if __name__ == "__main__":
    main()
