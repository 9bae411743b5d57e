"""The order of steps, which of them run, and the status of steps, pipelines and builds."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from taglab.engines.drone.conditions import WHEN, Event, all_match
from taglab.engines.drone.fields import Fields
from taglab.engines.drone.schema import services_and_steps

CLONE = "clone"
FAIL_FAST = ("fast", "fast-fail", "fail-fast")  # values of `failure`: an error ends the pipeline
_SKIP_THE_REST = 78  # the exit code of a step that ends the pipeline as a success
PENDING, RUNNING = "pending", "running"
SUCCESS, FAILURE, SKIPPED, KILLED, ERROR = "success", "failure", "skipped", "killed", "error"
FINAL = (SUCCESS, FAILURE, SKIPPED, KILLED, ERROR)
RunPolicy = Literal["on-success", "on-failure", "always"]
FailurePolicy = Literal["fail", "ignore", "fast"]


@dataclass(frozen=True)
class PlannedStep:
    """A step to run once those in `depends_on` are over. `step` is None for the clone."""

    name: str
    step: Fields | None
    depends_on: frozenset[str]
    run: RunPolicy
    failure: FailurePolicy
    background: bool = False  # a service or detached: nobody waits for it or reads its exit code


@dataclass(frozen=True)
class StepState:
    """The state of a step; times in Unix seconds, 0 before they are known."""

    name: str
    status: str = PENDING
    exit_code: int = 0
    started: float = 0.0
    finished: float = 0.0


def plan(pipeline: Fields, event: Event) -> list[PlannedStep]:
    """Return the steps to run, in file order, each with its dependencies.

    Without any `depends_on`, each step depends on the previous one. With at least one, steps
    without it depend only on the clone. A step that `when` excludes is left out, and its
    dependents inherit its dependencies.
    """
    steps = services_and_steps(pipeline)
    graph = any(step.depends_on for step in steps)
    clone = [] if pipeline.clone.disable else [CLONE]
    excluded: dict[str, frozenset[str]] = {}  # with the dependencies of each
    planned = [PlannedStep(name, None, frozenset(), "always", "fail") for name in clone]
    previous = frozenset(clone)
    for step in steps:
        named = frozenset(step.depends_on or clone) if graph else previous
        depends_on = frozenset(dependency for name in named
                               for dependency in excluded.get(name, (name,)))
        if all_match(step.when, event, WHEN):
            planned.append(PlannedStep(
                step.name, step, depends_on, _run_policy(step), _failure_policy(step),
                background=step.detach or step in pipeline.services))
            previous = frozenset([step.name])
        else:
            excluded[step.name] = depends_on
    return planned


def _run_policy(step: Fields) -> RunPolicy:
    if step.when.status.match_status(FAILURE):
        return "always" if step.when.status.match_status(SUCCESS) else "on-failure"
    return "on-success"


def _failure_policy(step: Fields) -> FailurePolicy:
    if step.failure in FAIL_FAST:
        return "fast"
    return "ignore" if step.failure == "ignore" else "fail"


class PipelineState:
    """Tracks the steps of a plan: which may start next, and the status of the pipeline."""

    def __init__(self, steps: list[PlannedStep]) -> None:
        self.planned = {planned.name: planned for planned in steps}
        self.steps = {planned.name: StepState(planned.name) for planned in steps}
        self.ended = ""  # why no more steps start: skipped, fast or killed
        self.cancelled = False  # whether a fast failure killed or skipped other steps

    def settle(self) -> list[PlannedStep]:
        """Skip the steps that can no longer run, and return those that may start now."""
        ready = []
        for name, planned in self.planned.items():
            if self.steps[name].status != PENDING:
                continue
            if self.ended or (planned.run == "on-success" and self.failed):
                self._set(name, status=SKIPPED)
            elif all(map(self._is_over, planned.depends_on)):
                if planned.run == "on-failure" and not self.failed:
                    self._set(name, status=SKIPPED)
                else:
                    ready.append(planned)
        return ready

    def start(self, name: str, now: float) -> None:
        """Record that a step has started."""
        self._set(name, status=RUNNING, started=now)

    def finish(self, name: str, exit_code: int, now: float) -> None:
        """Record a step's exit code and its consequences; a step that was killed stays killed."""
        if self.steps[name].status in FINAL:
            return
        if self.planned[name].background:
            exit_code = 0
        failed = exit_code not in (0, _SKIP_THE_REST)
        self._set(name, status=FAILURE if failed else SUCCESS, exit_code=exit_code, finished=now)
        if exit_code and self.planned[name].failure == "fast":
            self._fail_fast(now)
        elif exit_code == _SKIP_THE_REST:
            self.ended = SKIPPED

    def kill(self, now: float) -> None:
        """Record that the pipeline was killed: running steps are killed, pending ones skipped."""
        self.ended = KILLED
        self._kill_running(now)
        self.settle()

    def _fail_fast(self, now: float) -> None:
        """End the pipeline; steps in the background end as usual if no others are left."""
        self.ended = "fast"
        self.cancelled = not self.only_background_left or PENDING in {
            state.status for state in self.steps.values()}
        if self.cancelled:
            self._kill_running(now)

    def _kill_running(self, now: float) -> None:
        for name, state in self.steps.items():
            if state.status == RUNNING:
                self._set(name, status=KILLED, exit_code=137, finished=now)

    @property
    def only_background_left(self) -> bool:
        """Whether every step that is not over runs in the background."""
        return all(planned.background or self.steps[name].status in FINAL
                   for name, planned in self.planned.items())

    @property
    def failed(self) -> bool:
        """Whether a step has failed whose failure counts."""
        return any(state.status == FAILURE and self.planned[name].failure != "ignore"
                   for name, state in self.steps.items())

    @property
    def result(self) -> str:
        """The status of the pipeline, once every step is over."""
        if self.ended == KILLED or KILLED in {state.status for state in self.steps.values()}:
            return KILLED
        return FAILURE if self.failed else KILLED if self.cancelled else SUCCESS

    def _is_over(self, name: str) -> bool:
        """Return whether dependents of a step may start; in the background, it only has to run."""
        status = self.steps[name].status
        return status in FINAL or (self.planned[name].background and status == RUNNING)

    def _set(self, name: str, **changes: Any) -> None:
        self.steps[name] = replace(self.steps[name], **changes)


def build_status(pipelines: Iterable[str]) -> str:
    """Return the status of a build: that of its first failed pipeline, or success."""
    return next((status for status in pipelines if status in (KILLED, FAILURE, ERROR)), SUCCESS)
