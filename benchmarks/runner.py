"""What the runner costs: steps, pipelines, globs, logs and memory, beside the bare work."""
from __future__ import annotations

import fnmatch
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from labs import AUTHOR, SOURCE, TEMPLATE
from timing import medians

STEPS, LINES, ROWS = 100, 1_000_000, 1000
SECRET = "hunter22\nxyzzy-plugh\ncorrect-horse"
GLOBS = TEMPLATE / "tests" / "engines" / "drone_rows" / "glob.jsonl"
HEAD = "kind: pipeline\ntype: kubernetes\nname: bench\nsteps:\n"
STEP = "- {{name: s{}, image: x, commands: [{}], environment: {{KEY: {{from_secret: key}}}}}}\n"
BUILD = """\
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from taglab.runner.build_run import BuildRun
from taglab.runner.builds import Builds
from taglab.runner.receive import read_commit
lab, builds = Path(sys.argv[2]), Builds(Path(sys.argv[2]))
started = time.perf_counter()
commit = read_commit(lab, "refs/tags/v1", sys.argv[3], "")
build, hold = builds.create(commit, ["bench"], time.time())
build = BuildRun(lab, build).run(hold)
assert build.status == "success", build
memory = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print(time.perf_counter() - started, int(memory) / 1024)
"""


class Bench:
    """A lab with a commit for each pipeline that is measured."""

    def __init__(self, folder: Path) -> None:
        from taglab.runner.remote import make_remote
        self.lab, self.memory = folder / "lab", 0.0
        self.lab.mkdir()
        self._git("init", "-q", "-b", "main")
        make_remote(self.lab)

    def commit(self, *commands: str) -> str:
        """Commit a pipeline of one step for each command and return the commit."""
        steps = "".join(STEP.format(*each) for each in enumerate(commands))
        (self.lab / ".drone.yml").write_text(HEAD + steps)
        self._git("add", ".drone.yml")
        self._git("commit", "-q", "-m", "Benchmark")
        self._git("--git-dir", ".lab/origin.git", "fetch", "-q", ".", "main")
        return self._git("rev-parse", "HEAD")

    def build(self, commit: str) -> float:
        """Run the build of a commit; return its seconds, and keep its memory."""
        done = subprocess.run(
            [sys.executable, "-c", BUILD, SOURCE, self.lab, commit], check=True, text=True,
            stdout=subprocess.PIPE, env={**os.environ, "LAB_SECRET_KEY": SECRET})
        seconds, memory = map(float, done.stdout.split())
        self.memory = max(self.memory, memory)
        return seconds

    def _git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self.lab, check=True, text=True,
                              stdout=subprocess.PIPE, env={**os.environ, **AUTHOR}).stdout.strip()


def shells(command: str, times: int) -> float:
    """Return the seconds that a command takes so many times in `sh -c`."""
    started = perf_counter()
    for _ in range(times):
        subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - started


def globs(match) -> float:
    """Return the seconds that 1,000 rows of pattern and name take."""
    rows = [json.loads(line) for line in GLOBS.read_text(encoding="utf-8").split("\n") if line]
    pairs = [(row["pattern"], row["name"]) for row in itertools.islice(itertools.cycle(rows), ROWS)]
    started = perf_counter()
    for pattern, name in pairs:
        match(pattern, name)
    return perf_counter() - started


def main() -> None:
    """Print a line for each cost."""
    with tempfile.TemporaryDirectory() as folder:
        bench, log = Bench(Path(folder)), Path(folder, "lines")
        log.write_text("".join(f"{number} the loss is 0.{number}, the key is "
                               f"{'hunter22' if number % 100 == 0 else 'elsewhere'}\n"
                               for number in range(LINES)))
        from taglab.engines.drone.conditions import Condition
        one, many = bench.commit("true"), bench.commit(*["true"] * (STEPS + 1))
        lines = bench.commit(f"cat {log}")
        seconds = medians({
            "shells": lambda: shells("true", STEPS),
            "one step": lambda: bench.build(one),
            "many steps": lambda: bench.build(many),
            "cat": lambda: shells(f"cat {log} > {folder}/copy", 1),
            "lines": lambda: bench.build(lines),
            "fnmatch": lambda: globs(lambda pattern, name: fnmatch.fnmatchcase(name, pattern)),
            "globs": lambda: globs(lambda pattern, name: Condition((pattern,)).match(name)),
        }, rounds=5)
    step = (seconds["many steps"] - seconds["one step"]) / STEPS * 1000
    shell = seconds["shells"] / STEPS * 1000
    log_seconds = seconds["lines"] - seconds["one step"]
    print(f"a trivial step: {step:.1f} ms, {step - shell:.1f} ms more than sh -c ({shell:.1f} ms)")
    print(f"a pipeline of {STEPS} steps: {seconds['many steps']:.2f} s, "
          f"{seconds['many steps'] / seconds['shells']:.1f} times {STEPS} sh -c")
    print(f"{ROWS} globs: {seconds['globs'] * 1000:.1f} ms, "
          f"{seconds['globs'] / seconds['fnmatch']:.1f} times fnmatch")
    print(f"a log of {LINES} lines, masked: {LINES / log_seconds:,.0f} lines/s, "
          f"{log_seconds / seconds['cat']:.1f} times cat to a file")
    print(f"peak memory of the runner: {bench.memory:.0f} MiB")


if __name__ == "__main__":
    main()
