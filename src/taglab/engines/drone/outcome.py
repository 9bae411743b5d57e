"""In which order steps run, which of them run at all, and what a pipeline's result is."""
from __future__ import annotations

from dataclasses import dataclass, replace

from taglab.engines.drone.conditions import WHEN, Event, all_match
from taglab.engines.drone.fields import Fields

CLONE = "clone"
SKIP_THE_REST = 78  # a step's exit code that ends the pipeline as a success
FAST = ("fast", "fast-fail", "fail-fast")  # what `failure` says when a failure ends the pipeline
PENDING, RUNNING = "pending", "running"
SUCCESS, FAILURE, SKIPPED, KILLED, ERROR = "success", "failure", "skipped", "killed", "error"
FINAL = (SUCCESS, FAILURE, SKIPPED, KILLED, ERROR)


@dataclass(frozen=True)
class PlannedStep:
    """A step of a plan. `step` is None for the clone."""

    name: str
    step: Fields | None
    depends_on: frozenset[str]
    run: str  # on-success, on-failure or always
    failure: str  # fail, ignore or fast
    background: bool = False  # nothing waits for its end, and its exit code does not count


@dataclass(frozen=True)
class StepState:
    """How a step stands."""

    name: str
    status: str = PENDING
    exit_code: int = 0
    started: float = 0.0
    finished: float = 0.0


def plan(pipeline: Fields, event: Event) -> list[PlannedStep]:
    """Return the services and steps to run, in file order, each with what it waits for.

    Without any `depends_on`, each step waits for the one before it. With one, every step that has
    none waits for the clone alone. What `when` leaves out is not in the plan, and what waits for
    it waits for what it would have waited for.
    """
    steps = (*pipeline.services, *pipeline.steps)
    graph = any(step.depends_on for step in steps)
    clone = [] if pipeline.clone.disable else [CLONE]
    waits: dict[str, frozenset[str]] = {}
    planned = [PlannedStep(CLONE, None, frozenset(), "always", "fail") for _ in clone]
    before = frozenset(clone)
    for step in steps:
        named = frozenset(step.depends_on or clone) if graph else before
        needs = frozenset().union(*(waits.get(name, {name}) for name in named))
        if all_match(step.when, event, WHEN):
            planned.append(PlannedStep(step.name, step, needs, _run_policy(step), _failure(step),
                                       background=step.detach or step in pipeline.services))
            before = frozenset([step.name])
        else:
            waits[step.name] = needs
    return planned


def _run_policy(step: Fields) -> str:
    if step.when.status.match_status(FAILURE):
        return "always" if step.when.status.match_status(SUCCESS) else "on-failure"
    return "on-success"


def _failure(step: Fields) -> str:
    if step.failure in FAST:
        return "fast"
    return "ignore" if step.failure == "ignore" else "fail"


class PipelineState:
    """The states of a plan's steps; says what may start next and what the result is."""

    def __init__(self, steps: list[PlannedStep]) -> None:
        self.planned = {planned.name: planned for planned in steps}
        self.steps = {planned.name: StepState(planned.name) for planned in steps}
        self.ended = ""  # why nothing more starts: skipped, fast or killed
        self.cancelled = False  # whether a fast failure ended or skipped other steps

    def settle(self) -> list[PlannedStep]:
        """Skip what can no longer run, and return the steps that may start now."""
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
        """Record a step's exit code and what follows from it; what was killed stays so."""
        if self.steps[name].status in FINAL:
            return
        if self.planned[name].background:
            exit_code = 0
        failed = exit_code not in (0, SKIP_THE_REST)
        self._set(name, status=FAILURE if failed else SUCCESS, exit_code=exit_code, finished=now)
        if exit_code and self.planned[name].failure == "fast":
            self._fail_fast(now)
        elif exit_code == SKIP_THE_REST:
            self.ended = SKIPPED

    def kill(self, now: float) -> None:
        """Record that everything was ended: running steps are killed, waiting ones skipped."""
        self.ended = KILLED
        self._kill_running(now)
        self.settle()

    def _fail_fast(self, now: float) -> None:
        """End what runs; where only steps in the background are left, they end as usual."""
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
        """True when all that still runs are steps in the background."""
        return all(planned.background or self.steps[name].status in FINAL
                   for name, planned in self.planned.items())

    @property
    def failed(self) -> bool:
        """True once a step failed whose failure counts."""
        return any(state.status == FAILURE and self.planned[name].failure != "ignore"
                   for name, state in self.steps.items())

    @property
    def result(self) -> str:
        """The pipeline's status, once every step is final."""
        if self.ended == KILLED or KILLED in {state.status for state in self.steps.values()}:
            return KILLED
        return FAILURE if self.failed else KILLED if self.cancelled else SUCCESS

    def _is_over(self, name: str) -> bool:
        """Say whether what waits for a step may start: one in the background need only run."""
        status = self.steps[name].status
        return status in FINAL or (self.planned[name].background and status == RUNNING)

    def _set(self, name: str, **changes: object) -> None:
        self.steps[name] = replace(self.steps[name], **changes)


def build_status(pipelines: list[str]) -> str:
    """Return a build's status: the first pipeline that failed decides."""
    bad = [status for status in pipelines if status in (KILLED, FAILURE, ERROR)]
    return bad[0] if bad else SUCCESS
