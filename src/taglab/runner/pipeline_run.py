"""Runs one pipeline: makes its workspace, runs its steps in order and records how each ended."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from time import time

from taglab.disk import reason
from taglab.engines.drone.conditions import Event
from taglab.engines.drone.fields import Fields
from taglab.engines.drone.outcome import PipelineState, PlannedStep, StepState, plan
from taglab.engines.drone.variables import Commit, step_environment, step_variables
from taglab.errors import LabError
from taglab.masking import make_mask
from taglab.runner.children import Children
from taglab.runner.git import GitError
from taglab.runner.missing_files import TAIL, missing_file_hint
from taglab.runner.process import Log, Processes
from taglab.runner.secrets import look_up_secrets
from taglab.runner.workspace import clone, relocate

_NOT_STARTED = 126  # the exit code of a step that could not be started, as a shell's


@dataclass(frozen=True)
class BuildContext:
    """What all pipelines and steps of a build share."""

    lab: Path
    commit: Commit
    event: Event
    secrets: Mapping[str, str]
    machine: Mapping[str, str]
    log: Log
    timeout: float  # of a pipeline, in seconds
    show_pipeline: bool  # whether the log names the pipeline of each step
    children: Children
    pushed: str  # the id of the tag or commit that was pushed


class PipelineRun:
    """One pipeline while it runs.

    `variables` are Drone's own, `folder` does not exist yet, and `record` is called with the
    steps' states whenever they change.
    """

    def __init__(self, context: BuildContext, pipeline: Fields, variables: Mapping[str, str],
                 folder: Path, record: Callable[[tuple[StepState, ...]], None]) -> None:
        self._context, self._pipeline, self._variables = context, pipeline, variables
        self._home, self._workspace = folder / "home", folder / "src"
        self._record = record
        self._state = PipelineState(plan(pipeline, context.event))
        self._steps, self._background = Processes(context.children), Processes(context.children)

    def run(self) -> str:
        """Run the steps and return the pipeline's status."""
        self._workspace.mkdir(parents=True)
        timer = Timer(self._context.timeout, self._time_out)
        timer.start()
        with ThreadPoolExecutor(len(self._state.planned) or 1) as pool:
            try:
                self._run_steps(pool)
            finally:
                timer.cancel()
                self.stop()  # an error in the runner must leave no step running
        return self._state.result

    def stop(self) -> None:
        """End the running steps and their children; the pipeline's status becomes killed."""
        self._steps.stop()
        self._background.stop()

    def _time_out(self) -> None:
        self._context.log.say(
            f"pipeline {self._pipeline.name}: killed after {self._context.timeout / 60:g} minutes. "
            "For more time, set timeout_minutes under [limits] in runtimes/machine.toml")
        self.stop()

    def _run_steps(self, pool: ThreadPoolExecutor) -> None:
        running: dict[Future[int], str] = {}
        while True:
            if self._steps.stopped:
                self._state.kill(time())
            while ready := self._state.settle():  # starting a background step readies others
                for planned in ready:
                    self._state.start(planned.name, time())
                    running[pool.submit(self._run_step, planned)] = planned.name
            self._record(tuple(self._state.steps.values()))
            if not running:
                return
            if self._state.only_background_left:
                self._background.stop()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name, code = running.pop(future), future.result()
                if not self._steps.stopped:
                    self._state.finish(name, code, time())
            if self._state.cancelled and running:
                self.stop()

    def _run_step(self, planned: PlannedStep) -> int:
        name = planned.name
        shown = f"{self._pipeline.name}/{name}" if self._context.show_pipeline else name
        try:
            return self._clone(shown) if planned.step is None else self._run_commands(
                name, shown, planned.step, self._background if planned.background else self._steps)
        except GitError as error:
            self._context.log.say(reason(error, self._workspace.parent), shown)
            return 128
        except (LabError, OSError) as error:
            self._context.log.say(f"the step could not run: {reason(error)}", shown)
            return _NOT_STARTED

    def _run_commands(self, name: str, shown: str, step: Fields, processes: Processes) -> int:
        environment, secrets = look_up_secrets(step_environment(step), self._context.secrets)
        home = self._home / str(list(self._state.planned).index(name))  # names may hold slashes
        home.mkdir(parents=True, mode=0o700)
        below = Path(step.working_dir or self._pipeline.workspace.path)
        folder = self._workspace / below.relative_to(self._pipeline.workspace.path)
        folder.mkdir(parents=True, exist_ok=True)
        last = b""

        def write(lines: bytes) -> None:
            nonlocal last
            self._context.log.write(shown, lines)
            last = (last + lines)[-TAIL:]

        code = processes.run(step.commands, folder, self._step_variables(environment, home, name),
                             write, make_mask(secrets))
        if code and (hint := missing_file_hint(self._context.lab, self._context.commit.sha, last,
                                               folder, self._workspace)):
            self._context.log.say(hint, shown)
        return code

    def _clone(self, shown: str) -> int:
        commit = self._context.commit
        clone(self._context.lab, commit.sha, self._workspace, self._pipeline.clone.depth,
              self._context.pushed)
        self._context.log.say(f"{commit.ref} is commit {commit.sha}", shown)
        return 0

    def _step_variables(self, environment: Mapping[str, str], home: Path,
                        name: str) -> dict[str, str]:
        variables = step_variables(self._variables, self._pipeline, self._context.commit,
                                   self._pipeline.workspace.path, environment)
        return {"HOME": str(home),
                **relocate(variables, self._pipeline.workspace.path, self._workspace),
                "DRONE_STEP_NAME": name, **self._context.machine}
