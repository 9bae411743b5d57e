"""The post-receive hook: starts a build for each tag and branch that was pushed, and shows it."""
from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep, time
from typing import TextIO

import click

from taglab.engines.drone.decide import all_pipelines, triggered_pipelines
from taglab.engines.drone.documents import FileError
from taglab.engines.drone.lint import Finding, lint
from taglab.engines.drone.outcome import ERROR, FINAL
from taglab.engines.drone.source import GOALS, processes_with_goals
from taglab.engines.drone.variables import Commit
from taglab.errors import LabError
from taglab.lab import LIBRARY
from taglab.runner.build_run import BuildRun, drone_event, drone_file
from taglab.runner.builds import INTERRUPTED, Build, Builds
from taglab.runner.children import adopt_orphans, kill_descendants
from taglab.runner.git import GitError, git
from taglab.runner.interrupted import end_interrupted
from taglab.runner.remote import REPOSITORY, has_server
from taglab.runner.requirements import requirements_hash
from taglab.runner.tables import findings_text
from taglab.runner.workspace import write_requirements

# What git says of an object that is no commit, and of a commit without the file.
_NOTHING_TO_RUN = {"dereferences to": "it names no commit",
                   "does not exist in": "the commit has no .drone.yml"}


def receive(lab: Path, lines: Iterable[str]) -> int:
    """Start a build for each `OLD NEW REF` line of git's, and show them to their end.

    The builds go on when this process is ended. Returns an exit status, which git ignores.
    """
    for stream in (sys.stdin, sys.stdout):  # git's names are bytes
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    started = []
    for line in lines:
        old, new, ref = line.rstrip("\n").split(" ", 2)
        if new.strip("0") and ref.startswith(("refs/tags/", "refs/heads/")):
            if created := _create_pushed_build(lab, old, new, ref):
                start(lab, *created)
                started.append(created[0].number)
    for number in started:
        follow(lab, number)
    if started:
        command = ".venv/bin/lab" if (lab / ".venv/bin/lab").exists() else f"python3 {LIBRARY}"
        print(f"\nTo see the results in MLflow, type: {command} ui")
    return 0


def read_commit(lab: Path, ref: str, pushed: str, before: str) -> Commit:
    """Return the commit that was pushed to a ref; an annotated tag is resolved to its commit."""
    fields = git("log", "-1", "--format=%H%x00%an%x00%ae%x00%B", f"{pushed}^{{commit}}", "--",
                 cwd=lab / REPOSITORY).split("\0")
    sha, name, email, message = fields
    return Commit("tag" if ref.startswith("refs/tags/") else "push", ref, sha, before,
                  message.strip(), email.partition("@")[0], name, email)


def _create_pushed_build(lab: Path, before: str, pushed: str,
                         ref: str) -> tuple[Build, TextIO] | None:
    try:
        commit = read_commit(lab, ref, pushed, before)
        text = drone_file(lab, commit)
    except GitError as error:
        known = [reason for words, reason in _NOTHING_TO_RUN.items() if words in str(error)]
        print(f"{ref.split('/', 2)[2]}: {known[0] if known else error}, so nothing runs")
        return None
    if findings := _lint_commit(lab, commit, text):
        click.echo(findings_text(findings))  # without colours, since this is no terminal
    return create_build(lab, commit, text)


def _lint_commit(lab: Path, commit: Commit, text: str) -> list[Finding]:
    files = git("ls-tree", "-r", "-z", "--name-only", commit.sha, cwd=lab / REPOSITORY)
    with TemporaryDirectory() as folder:
        known = write_requirements(lab, commit.sha, Path(folder))
        requirements = requirements_hash(Path(folder)) if known else ""
    names = files.split("\0")
    goals = git("show", f"{commit.sha}:{GOALS}", cwd=lab / REPOSITORY) if GOALS in names else ""
    return lint(text, files=names, requirements=requirements, goals=processes_with_goals(goals),
                server=has_server(lab))


def create_build(lab: Path, commit: Commit, text: str,
                 parent: int = 0) -> tuple[Build, TextIO] | None:
    """Record a build of the pipelines in `text`, a `.drone.yml`, that the commit's ref triggers.

    Returns the build and the locked file that marks it as alive. Where there is nothing to run,
    prints why and returns None; an error in the file is recorded as a build that has ended.
    """
    builds = Builds(lab)
    try:
        pipelines = [pipeline.name
                     for pipeline in triggered_pipelines(text, drone_event(commit, lab))]
        if not pipelines:
            print(_nothing_triggered(text, commit))
            return None
        build, hold = builds.create(commit, pipelines, time(), parent=parent)
    except FileError as error:
        build, hold = builds.create(commit, [], time(), status=ERROR, error=str(error),
                                    parent=parent)
        print(f"build {build.number} · {build.name}: error in .drone.yml\n{error}")
        hold.close()
    except OSError as error:
        print(f"{commit.ref}: nothing runs, because no build could be recorded: {error.strerror}\n"
              "Put that right, and push again with --force")
        return None
    # Keeps the commit for as long as the build is kept, also when the tag is moved or deleted.
    git("update-ref", f"refs/builds/{build.number}", commit.sha, cwd=lab / REPOSITORY)
    return None if hold.closed else (build, hold)


def _nothing_triggered(text: str, commit: Commit) -> str:
    patterns = sorted({pattern for pipeline in all_pipelines(text)
                       for pattern in pipeline.trigger.ref.include})
    known = f" It has: {', '.join(patterns)}" if patterns else ""
    return f"no pipeline of .drone.yml is triggered by {commit.ref}.{known}"


def start(lab: Path, build: Build, hold: TextIO) -> None:
    """Run the build in a process of its own, which outlives the terminal."""
    sys.stdout.flush()
    if os.fork():
        hold.close()
        return
    os.setsid()
    adopt_orphans()
    os.closerange(3, hold.fileno())  # an open pipe would keep the push waiting
    os.closerange(hold.fileno() + 1, 256)
    log = os.open(Builds(lab).log(build.number), os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    try:
        BuildRun(lab, build).run(hold)
    except BaseException:
        traceback.print_exc()  # into the build's log
    kill_descendants()
    os._exit(0)


def follow(lab: Path, number: int) -> Build:
    """Print a build's log until the build ends; return the build."""
    builds = Builds(lab)
    with builds.log(number).open("rb") as log:
        while True:
            build = builds.load(number)
            if build is None:
                raise LabError(f"the folder of build {number} is gone")
            if build.error == INTERRUPTED:
                end_interrupted(lab)
            while chunk := log.read(65536):
                sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            if build.status in FINAL:
                return build
            sleep(0.05)
