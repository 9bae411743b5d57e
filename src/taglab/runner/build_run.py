"""Runs a build: its environment, its pipelines in order, and the summary at the end."""
from __future__ import annotations

import os
import platform
import signal
import threading
import traceback
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from time import sleep, time
from typing import Any, TextIO

from taglab.disk import reason
from taglab.engines.drone.conditions import Event
from taglab.engines.drone.decide import all_pipelines, pipeline_to_run
from taglab.engines.drone.documents import FileError
from taglab.engines.drone.fields import Fields
from taglab.engines.drone.outcome import (
    ERROR, FAILURE, FINAL, KILLED, RUNNING, SKIPPED, SUCCESS, build_status)
from taglab.engines.drone.variables import Commit, Repository, Stage, drone_variables
from taglab.errors import LabError
from taglab.runner.builds import Build, Builds, PipelineRecord, ended_pipelines
from taglab.runner.children import Children, kill_descendants
from taglab.runner.environment import ensure_environment
from taglab.runner.folders import remove_folder
from taglab.runner.git import git
from taglab.runner.library import ask_library
from taglab.runner.pipeline_run import BuildContext, PipelineRun
from taglab.runner.process import Log
from taglab.runner.remote import REPOSITORY
from taglab.runner.secrets import read_secrets
from taglab.runner.settings import machine_variables, read_settings
from taglab.runner.tables import step_table
from taglab.runner.workspace import pushed_object, write_requirements


REUSE = "LAB_REUSE"  # `start_run` reads this variable


def repository(lab: Path) -> Repository:
    """Return the lab's local repository as Drone describes one."""
    bare = (lab / REPOSITORY).as_uri()
    return Repository("local", lab.name, "main", lab.as_uri(), bare, bare)


def drone_event(commit: Commit, lab: Path) -> Event:
    """Return the event of a push, for `trigger` and `when` to match."""
    where = repository(lab)
    return Event(commit.event, commit.ref, commit.action, commit.branch, repo=where.slug,
                 instance=where.host)


def drone_file(lab: Path, commit: Commit) -> str:
    """Return the text of the commit's `.drone.yml`. Raises GitError when it has none."""
    return git("show", f"{commit.sha}:.drone.yml", cwd=lab / REPOSITORY)


class BuildRun:
    """A running build.

    All modules that it needs are imported, and its settings read, before it starts: the lab's
    working copy of this library may change while the build runs.
    """

    def __init__(self, lab: Path, build: Build) -> None:
        self.lab, self.build = lab, build
        self.builds = Builds(lab)
        self.folder = self.builds.folder(build.number)
        self.log = Log(self.builds.log(build.number))
        self.settings = read_settings(lab)
        self.shell: Mapping[str, str] = os.environ  # where LAB_SECRET_… and MLFLOW_… are
        self._runs: list[PipelineRun] = []
        self._cancelled = False
        self._environment: Path | None = None
        self._children = Children()
        self._lock, self._saving = threading.Lock(), threading.Lock()

    def run(self, hold: TextIO) -> Build:
        """Run the build to its end and return its final record.

        `hold` is the open, locked file by which other processes know that the build is alive.
        """
        signal.signal(signal.SIGTERM,
                      lambda *_: threading.Thread(target=self.cancel).start())
        with self.builds.held(self.build.number, hold):
            self.builds.wait_for_turn(self.build.number, lambda: self._cancelled)
            self._update(status=RUNNING, started=time())
            self.log.say(f"build {self.build.number} · {self.build.name} · "
                         f"{self.build.commit.sha[:7]}")
            try:
                self._prepare_environment()
                self._run_pipelines(drone_file(self.lab, self.build.commit))
                status, error = build_status([each.status for each in self.build.pipelines]), ""
            except (LabError, OSError) as failure:
                status, error = ERROR, reason(failure)
                self.log.say(f"error: {error}")
            except Exception as failure:  # a bug in the runner must not lose the build
                self.log.say(traceback.format_exc())
                status, error = ERROR, f"the runner failed: {failure!r}"
            self.log.check()
            if status == SUCCESS and self.log.failure:
                status, error = ERROR, self.log.failure
            if self._cancelled:
                status, error = KILLED, ""
            self._end_the_rest(error)
            remove_folder(self.folder / "work")
            self.builds.use_reserve(self.build.number)
            self.log.say()
            if self.log.failure:
                self.log.say(f"error: {self.log.failure}")
            self.log.say(step_table(replace(self.build, status=status, finished=time())))
            self._report_runs(status)
            self._update(status=status, error=error, finished=time())
        return self.build

    def cancel(self) -> None:
        """End everything that runs and start nothing else."""
        with self._lock:
            again, self._cancelled = self._cancelled, True
            runs = list(self._runs)
        for run in [] if again else runs:
            run.stop()
        if not runs:
            kill_descendants()  # pip, which is making the environment

    def _end_the_rest(self, error: str) -> None:
        """Mark the pipelines and steps as ended that an error has kept from it."""
        self._update(pipelines=ended_pipelines(self.build.pipelines, error, time()))

    def _prepare_environment(self) -> None:
        folder = self.builds.requirements(self.build.number)
        if write_requirements(self.lab, self.build.commit.sha, folder):
            self._environment = ensure_environment(
                folder, lambda line: self.log.say(line, "environment"))

    def _run_pipelines(self, text: str) -> None:
        waiting = {record.name: record for record in self.build.pipelines}
        dependencies = effective_dependencies(all_pipelines(text), set(waiting))
        running: dict[Future[None], str] = {}
        with ThreadPoolExecutor(len(waiting)) as pool:
            while waiting or running:
                busy = {*waiting, *running.values()}
                for name in [name for name in waiting if busy.isdisjoint(dependencies[name])]:
                    future = pool.submit(
                        self._run_pipeline, text, waiting.pop(name), dependencies[name])
                    running[future] = name
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    future.result()

    def _run_pipeline(self, text: str, record: PipelineRecord,
                      depends_on: tuple[str, ...]) -> None:
        record = replace(record, status=RUNNING, started=time())
        number, variables = self._stage_variables(record, depends_on)
        try:
            pipeline = pipeline_to_run(text, record.name, variables)
            so_far = build_status([each.status for each in self.build.pipelines])
            if pipeline.depends_on and not pipeline.trigger.status.match_status(
                    SUCCESS if so_far == SUCCESS else FAILURE):
                self._record(replace(record, status=SKIPPED))
                return
            self._wait_for_concurrency(pipeline)
            record = replace(record, started=time())
            self._record(record)
            run = PipelineRun(self._context(), pipeline, variables,
                              self.folder / "work" / str(number),
                              lambda steps: self._record(replace(record, steps=steps)))
            with self._lock:
                self._runs.append(run)
            if self._cancelled:
                run.stop()
            status, error = run.run(), ""
        except FileError as failure:
            status, error = ERROR, str(failure)
            self.log.say(f"error: pipeline {record.name}: {failure}")
        steps = next(each.steps for each in self.build.pipelines if each.name == record.name)
        self._record(replace(record, status=status, error=error, steps=steps, finished=time()))

    def _stage_variables(self, record: PipelineRecord,
                         depends_on: tuple[str, ...]) -> tuple[int, dict[str, str]]:
        """Return the number of a pipeline in this build, and Drone's variables for it."""
        number = [each.name for each in self.build.pipelines].index(record.name) + 1
        stage = Stage(record.name, number, self.build.number, self.build.parent, "@hook",
                      platform.node(), int(self.build.created), int(record.started), depends_on)
        variables = drone_variables(repository(self.lab), self.build.commit, stage,
                                    int(record.started))
        # As Drone does with the parameters of a restart.
        return number, {**({REUSE: "true"} if self.build.skip_done else {}), **variables}

    def _wait_for_concurrency(self, pipeline: Fields) -> None:
        """Wait until fewer than `limit` earlier builds have this pipeline unfinished."""
        while pipeline.concurrency.limit and not self._cancelled:
            unfinished = [each for build in self.builds.unfinished_before(self.build.number)
                          for each in build.pipelines
                          if each.name == pipeline.name and each.status not in FINAL]
            if len(unfinished) < pipeline.concurrency.limit:
                return
            sleep(0.2)

    def _machine_variables(self) -> dict[str, str]:
        return machine_variables(self.settings, self.lab, self.folder, self._environment)

    def _context(self) -> BuildContext:
        return BuildContext(
            self.lab, self.build.commit, drone_event(self.build.commit, self.lab),
            read_secrets(self.lab, self.shell), self._machine_variables(), self.log,
            60 * self.settings.timeout_minutes, show_pipeline=len(self.build.pipelines) > 1,
            children=self._children, pushed=pushed_object(self.lab, self.build.number))

    def _record(self, record: PipelineRecord) -> None:
        with self._lock:
            self.build = replace(self.build, pipelines=tuple(
                record if each.name == record.name else each for each in self.build.pipelines))
            build = self.build
        self._save(build)

    def _update(self, **changes: Any) -> None:
        with self._lock:
            build = self.build = replace(self.build, **changes)
        self._save(build)

    def _save(self, build: Build) -> None:
        """Write the record to disk, unless it has been replaced: then that change writes both."""
        with self._saving:
            if build is not self.build:
                return
            try:
                self.builds.save(build)
            except OSError as error:  # a full disk: the steps go on, and the next may succeed
                self.log.say("warning: the state of the build could not be recorded: "
                             f"{reason(error)}")

    def _report_runs(self, status: str) -> None:
        """Let the commit's library list the build's MLflow runs, or end those of a killed build."""
        login = {name: value for name, value in self.shell.items() if name.startswith("MLFLOW_")}
        done = self._environment and ask_library(
            self.lab, self.build.commit.sha, self.folder, self._environment / "bin" / "python",
            {**login, **self._machine_variables()}, "kill" if status == KILLED else "summary",
            self.build.number)
        if done:
            problem = (done.stderr.strip() or "no reason given").splitlines()[-1]
            self.log.say()
            self.log.say(done.stdout.rstrip() if done.returncode == 0 else
                         f"no summary of the runs: {problem}")


def effective_dependencies(pipelines: Sequence[Fields],
                           triggered: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the triggered pipelines that each pipeline waits for.

    Drone replaces a dependency that was not triggered by that one's own dependencies.
    """
    found: dict[str, tuple[str, ...]] = {}
    for pipeline in pipelines:
        names = (each for name in pipeline.depends_on
                 for each in ([name] if name in triggered else found[name]))
        found[pipeline.name] = tuple(dict.fromkeys(names))
    return found
