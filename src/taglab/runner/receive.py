"""The post-receive hook: starts a build for each tag and branch that was pushed, and shows it."""
from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep, time
from typing import TextIO

import click

from taglab.disk import reason
from taglab.engines.drone.conditions import Condition
from taglab.engines.drone.decide import all_pipelines, triggered_pipelines
from taglab.engines.drone.documents import FileError
from taglab.engines.drone.globs import glob_match
from taglab.engines.drone.lint import Finding, lint
from taglab.engines.drone.outcome import ERROR, FINAL, PENDING, SKIPPED
from taglab.engines.drone.source import GOALS, processes_with_goals
from taglab.engines.drone.variables import Commit
from taglab.errors import LabError
from taglab.lab import LIBRARY
from taglab.runner.build_run import BuildRun, drone_event, drone_file
from taglab.runner.builds import INTERRUPTED, Build, Builds, with_error
from taglab.runner.children import adopt_orphans, kill_descendants
from taglab.runner.git import GitError, git
from taglab.runner.interrupted import end_interrupted
from taglab.runner.newest_tags import LAUNCHED, older_tags, skipped_note, tags_newest_first
from taglab.runner.remote import REPOSITORY, has_server
from taglab.runner.requirements import requirements_hash
from taglab.runner.settings import default_settings, read_settings
from taglab.runner.shell_variables import forget_shell
from taglab.runner.tables import findings_text
from taglab.runner.terminal import be_disturbed, going_on, tell_terminal, undisturbed
from taglab.runner.uncommitted import uncommitted_note
from taglab.runner.workspace import write_requirements

# What git says of an object that is no commit, and of a commit without the file.
_NOTHING_TO_RUN = {"dereferences to": "it names no commit",
                   "does not exist in": "the commit has no .drone.yml"}


@dataclass(frozen=True)
class Pushed:
    """A tag or branch that was pushed: its commit, and the text of the commit's `.drone.yml`.

    `object` is the id of what the ref names: an annotated tag, or the commit.
    """

    commit: Commit
    text: str
    object: str


def receive(lab: Path, lines: Iterable[str]) -> int:
    """Start a build for each `OLD NEW REF` line of git's, and show them to their end.

    The builds go on when this process is ended. Returns an exit status, which git ignores.
    """
    for stream in (sys.stdin, sys.stdout):  # git's names are bytes
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    with undisturbed():  # git would not push it again
        pushed = [each for line in lines if (each := _read_line(lab, line))]
        started = _start_builds(lab, pushed)
    if started:
        try:
            print(going_on(started))
            follow(lab, *started)
            command = ".venv/bin/lab" if (lab / ".venv/bin/lab").exists() else f"python3 {LIBRARY}"
            print(f"\nTo see the results in MLflow, type: {command} ui", flush=True)
        except BrokenPipeError:  # git push has ended
            tell_terminal(going_on(started))
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _read_line(lab: Path, line: str) -> Pushed | None:
    """Return what a line of git's says was pushed; where nothing can run, print why."""
    before, pushed, ref = line.rstrip("\n").split(" ", 2)
    if not pushed.strip("0") or not ref.startswith(("refs/tags/", "refs/heads/")):
        return None
    try:
        commit = read_commit(lab, ref, pushed, before)
        return Pushed(commit, drone_file(lab, commit), pushed)
    except GitError as error:
        known = [reason for words, reason in _NOTHING_TO_RUN.items() if words in str(error)]
        print(f"{ref.split('/', 2)[2]}: {known[0] if known else error}, so nothing runs")
        return None


def _start_builds(lab: Path, pushed: Sequence[Pushed]) -> list[int]:
    """Record a build for each ref that triggers a pipeline; return the numbers of those started."""
    limit = _tags_per_push(lab)
    older = _older_tags(lab, pushed, limit)
    created, skipped = [], []
    for each in pushed:
        if each.commit.ref in older:
            skipped += _skip_build(lab, each)
        elif found := create_build(lab, each.commit, each.text, each.object):
            _print_findings(lab, each)
            start(lab, *found)
            created.append(found[0])
    if skipped:
        print(skipped_note(skipped, limit))
    if note := uncommitted_note(lab, {build.commit.sha for build in created}):
        print(note)
    return [build.number for build in created]


def _tags_per_push(lab: Path) -> int:
    if launched := os.environ.get(LAUNCHED):
        return int(launched)
    try:
        return read_settings(lab).tags_per_push
    except LabError:  # each build ends with it as its reason
        return default_settings().tags_per_push


def _older_tags(lab: Path, pushed: Sequence[Pushed], limit: int) -> set[str]:
    """Return the refs of the pushed tags that are not to run."""
    tags = [each for each in pushed if each.commit.tag]
    if len(tags) <= limit:
        return set()
    pipelines = {each.commit.ref: _triggered(lab, each) for each in tags}
    return older_tags(pipelines, tags_newest_first(lab), limit)


def _triggered(lab: Path, pushed: Pushed) -> list[str]:
    """Return the pipelines that run, each with its pattern for this tag; none on an error."""
    ref = pushed.commit.ref
    try:
        return [f"{each.name} {_pattern(each.trigger.ref, ref)}"
                for each in triggered_pipelines(pushed.text, drone_event(pushed.commit, lab))]
    except Exception:  # create_build tells it
        return []


def _pattern(condition: Condition, ref: str) -> str:
    """Return the first pattern of a condition that a ref matches."""
    return next((each for each in condition.include if glob_match(each, ref)), "")


def _skip_build(lab: Path, pushed: Pushed) -> list[int]:
    """Record a build that does not run; return its number, or nothing where that failed."""
    found = create_build(lab, pushed.commit, pushed.text, pushed.object, status=SKIPPED)
    if found is None:
        return []
    build, hold = found
    with hold, Builds(lab).log(build.number).open("a", encoding="utf-8") as log:
        print(f"build {build.number} was skipped: newer tags came in the same push. "
              f"To run it, type: lab restart {build.number}", file=log)
    return [build.number]


def _print_findings(lab: Path, pushed: Pushed) -> None:
    try:
        findings = _lint_commit(lab, pushed.commit, pushed.text)
    except Exception as failure:  # the push must not be lost; the build says what is wrong
        print(f"warning: .drone.yml was not checked: {failure}")
    else:
        if findings:
            click.echo(findings_text(findings))  # without colours, since this is no terminal


def read_commit(lab: Path, ref: str, pushed: str, before: str) -> Commit:
    """Return the commit that was pushed to a ref; an annotated tag is resolved to its commit."""
    fields = git("log", "-1", "--format=%H%x00%an%x00%ae%x00%B", f"{pushed}^{{commit}}", "--",
                 cwd=lab / REPOSITORY).split("\0")
    sha, name, email, message = fields
    return Commit("tag" if ref.startswith("refs/tags/") else "push", ref, sha, before,
                  message.strip(), email.partition("@")[0], name, email)


def _lint_commit(lab: Path, commit: Commit, text: str) -> list[Finding]:
    files = git("ls-tree", "-r", "-z", "--name-only", commit.sha, cwd=lab / REPOSITORY)
    with TemporaryDirectory() as folder:
        known = write_requirements(lab, commit.sha, Path(folder))
        requirements = requirements_hash(Path(folder)) if known else ""
    names = files.split("\0")
    goals = git("show", f"{commit.sha}:{GOALS}", cwd=lab / REPOSITORY) if GOALS in names else ""
    return lint(text, files=names, requirements=requirements, goals=processes_with_goals(goals),
                server=has_server(lab))


def create_build(lab: Path, commit: Commit, text: str, pushed: str, parent: int = 0,
                 status: str = PENDING, skip_done: bool = False) -> tuple[Build, TextIO] | None:
    """Record a build of the pipelines in `text`, a `.drone.yml`, that the commit's ref triggers.

    `pushed` is the id of what was pushed: an annotated tag, or the commit. Returns the build and
    the locked file that marks it as alive. Where there is nothing to run, prints why and returns
    None; an error in the file is recorded as a build that has ended.
    """
    error, pipelines = "", []
    try:
        pipelines = [pipeline.name
                     for pipeline in triggered_pipelines(text, drone_event(commit, lab))]
        if not pipelines:
            print(_nothing_triggered(text, commit))
            return None
    except FileError as failure:
        status, error = ERROR, str(failure)
    except Exception as failure:  # a bug must not lose the push
        status, error = ERROR, f"it cannot be read: {failure!r}"
    try:
        build, hold = Builds(lab).create(commit, pipelines, time(), status=status, error=error,
                                         parent=parent, skip_done=skip_done)
        # Keeps commit and message as long as the build, also when the tag is moved or deleted.
        git("update-ref", f"refs/builds/{build.number}", pushed, cwd=lab / REPOSITORY)
    except OSError as failure:
        print(f"{commit.ref}: nothing runs, because no build could be recorded: {reason(failure)}"
              "\nPut that right, and push again with --force")
        return None
    except GitError as failure:
        print(f"warning: git may forget commit {commit.sha[:7]} without its tag: "
              f"{reason(failure, lab / REPOSITORY)}")
    if error:
        print(f"build {build.number} · {build.name}: error in .drone.yml\n{error}")
        hold.close()
        return None
    return build, hold


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
    be_disturbed()
    adopt_orphans()
    os.closerange(3, hold.fileno())  # an open pipe would keep the push waiting
    os.closerange(hold.fileno() + 1, 256)
    log = os.open(Builds(lab).log(build.number), os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    try:
        running = BuildRun(lab, build)
        running.shell = forget_shell(running.settings.shell)
        running.run(hold)
    except LabError as failure:
        print(f"error: {failure}", flush=True)  # into the build's log
        Builds(lab).save(with_error(build, str(failure), time()))
    except BaseException:
        traceback.print_exc()
    kill_descendants()
    os._exit(0)


def follow(lab: Path, *numbers: int) -> Build:
    """Print the logs of builds, one after the other, until they end; return the last build.

    Raises KeyboardInterrupt after Ctrl-C, once the terminal says that the builds go on.
    """
    for index, number in enumerate(numbers):
        try:
            build = _follow(lab, number)
        except KeyboardInterrupt:
            tell_terminal(going_on(numbers[index:]))
            raise
    return build


def _follow(lab: Path, number: int) -> Build:
    builds = Builds(lab)
    with builds.log(number).open("rb") as log:
        while True:
            build = builds.load(number)
            if build is None:
                raise LabError(f"the folder of build {number} is gone")
            if build.error == INTERRUPTED:
                end_interrupted(lab, [number])
            while chunk := log.read(65536):
                sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            if build.status in FINAL:
                return build
            sleep(0.05)
