"""Compares this package with Drone 2.25 and its Kubernetes runner, on recorded inputs and results.

Each row must agree or be refused explicitly; a silent difference fails. The environment variable
DRONE_ROWS names another folder of the same files.
"""
from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taglab.engines.drone.conditions import Event
from taglab.engines.drone.decide import pipeline_to_run, triggered_pipelines
from taglab.engines.drone.documents import FileError
from taglab.engines.drone.fields import Fields
from taglab.engines.drone.globs import BadPattern, glob_match
from taglab.engines.drone.outcome import PipelineState, PlannedStep, plan
from taglab.engines.drone.schema import CONDITIONS, read_documents
from taglab.engines.drone.script import step_script
from taglab.engines.drone.substitution import SubstitutionError, substitute
from taglab.engines.drone.tag_versions import version_variables
from taglab.engines.drone.variables import (
    Commit, Repository, Stage, drone_variables, step_environment)
from taglab.masking import make_mask
from taglab.runner.process import Processes
from taglab.runner.secrets import look_up_secrets

Row = dict[str, Any]

ROWS = Path(os.environ.get("DRONE_ROWS") or Path(__file__).with_name("drone_rows"))
AGREED, REFUSED = "agreed", "refused"
NOT_SUPPORTED = "not supported on this machine"


def compare_errors(ours: str | None, drones: str | None, same_result: bool) -> str:
    """Judge a row by its errors and, if there are none, by whether the results are the same."""
    if ours and NOT_SUPPORTED in ours:
        return REFUSED
    if bool(ours) != bool(drones):
        return f"error {ours!r}, Drone's {drones!r}"
    return AGREED if ours or same_result else "another result"


def judge_glob(row: Row) -> str:
    try:
        result = glob_match(row["pattern"], row["name"]), False
    except BadPattern:
        result = False, True
    return AGREED if result == (row["match"], row["bad_pattern"]) else f"got {result}"


def judge_condition(row: Row) -> str:
    try:
        condition = read_documents(f"ref: {row['yaml']}", lambda head: CONDITIONS)[0].ref
    except FileError as error:
        return compare_errors(str(error), row["error"], False)
    return compare_errors(None, row["error"], condition.match(row["value"]) == row["match"])


def judge_substitution(row: Row) -> str:
    try:
        result, error = substitute(row["text"], row["env"]), None
    except SubstitutionError as problem:
        result, error = None, str(problem)
    return compare_errors(error, row.get("error"), result == row.get("out"))


def judge_tag_versions(row: Row) -> str:
    result = {"DRONE_TAG": row["tag"], **version_variables(row["tag"])}
    return AGREED if result == row["env"] else f"got {result}"


def judge_tag_env(row: Row) -> str:
    env = row["env"]
    repository = Repository(
        env["DRONE_REPO_NAMESPACE"], env["DRONE_REPO_NAME"], env["DRONE_REPO_BRANCH"],
        env["DRONE_REPO_LINK"], env["DRONE_REMOTE_URL"], env["DRONE_GIT_SSH_URL"],
        env["DRONE_REPO_VISIBILITY"], env["DRONE_SYSTEM_PROTO"], env["DRONE_SYSTEM_HOST"],
        env["DRONE_SYSTEM_VERSION"])
    commit = Commit(env["DRONE_BUILD_EVENT"], env["DRONE_COMMIT_REF"], env["DRONE_COMMIT_SHA"],
                    env["DRONE_COMMIT_BEFORE"], env["DRONE_COMMIT_MESSAGE"],
                    env["DRONE_COMMIT_AUTHOR"], env["DRONE_COMMIT_AUTHOR_NAME"],
                    env["DRONE_COMMIT_AUTHOR_EMAIL"])
    stage = Stage(env["DRONE_STAGE_NAME"], int(env["DRONE_STAGE_NUMBER"]),
                  int(env["DRONE_BUILD_NUMBER"]), int(env["DRONE_BUILD_PARENT"]),
                  env["DRONE_BUILD_TRIGGER"], env["DRONE_STAGE_MACHINE"],
                  int(env["DRONE_BUILD_CREATED"]), int(env["DRONE_BUILD_STARTED"]))
    ours = drone_variables(repository, commit, stage, int(env["DRONE_BUILD_FINISHED"]))
    links = {"DRONE_COMMIT_LINK", "CI_BUILD_LINK"}  # the row was recorded with a short hash
    different = {name for name in {*ours, *env} - links if ours.get(name) != env.get(name)}
    return f"different: {sorted(different)}" if different else AGREED


def judge_trace_line(row: Row) -> str:
    script = step_script([row["command"]])
    return AGREED if script.endswith(row["script_tail"]) else f"got {script!r}"


def judge_pipeline(row: Row) -> str:
    server, runner = judge_server(row), judge_runner(row)
    for verdict in (server, runner):
        if verdict not in (AGREED, REFUSED):
            return verdict
    return REFUSED if REFUSED in (server, runner) else AGREED


def event_of(row: Row) -> Event:
    if row["event"] == "tag":
        return Event("tag", f"refs/tags/{row['tag']}", "create", row.get("branch", ""), "lab/proj",
                     instance="drone.example")
    branch = row.get("branch") or "main"
    return Event(row["event"], f"refs/heads/{branch}", "", branch, "lab/proj",
                 instance="drone.example")


def judge_server(row: Row) -> str:
    wanted = row["server"]
    try:
        names = [each.name for each in triggered_pipelines(row["yaml"], event_of(row))]
    except FileError as error:
        return compare_errors(str(error), wanted.get("error"), False)
    return compare_errors(None, wanted.get("error"), names == wanted.get("matched"))


def judge_runner(row: Row) -> str:
    wanted = row.get("runner")
    if wanted is None:
        return AGREED
    try:
        pipeline = pipeline_to_run(row["yaml"], "exp", {"DRONE_TAG": row["tag"] or ""},
                                   trusted=row.get("trusted", False))
    except FileError as error:
        return compare_errors(str(error), wanted.get("error"), False)
    if wanted.get("error"):
        return f"ran, but Drone says {wanted['error']}"
    return judge_run(row, pipeline, wanted)


def judge_run(row: Row, pipeline: Fields, wanted: Row) -> str:
    """Run the plan with the exit codes of the row, and compare the status of each step."""
    planned = plan(pipeline, event_of(row))
    state = PipelineState(planned)
    while ready := state.settle():
        for step in ready:
            state.start(step.name, 1)
        for step in ready:
            state.finish(step.name, int(row.get("exit_codes", {}).get(step.name, 0)), 2)
    ours = [(step.name, step.status, str(step.exit_code)) for step in state.steps.values()]
    if "steps" in wanted and ours != [as_step(each) for each in wanted["steps"]]:
        return f"steps {ours}"
    if "stage" in wanted and state.result != wanted["stage"]:
        return f"stage {state.result}"
    compiled = wanted.get("compiled") or [wanted.get("compiled_last")]
    return judge_compiled(pipeline, planned, [each for each in compiled if each])


def as_step(step: Row | str) -> tuple[str, str, str]:
    if isinstance(step, dict):
        return step["name"], step["status"], step["exit"]
    name, _, rest = step.rpartition("=")
    status, _, code = rest.rstrip(")").partition("(")
    return name, status, code


def judge_compiled(pipeline: Fields, planned: list[PlannedStep], compiled: list[Row]) -> str:
    steps = {step.name: step for step in planned}
    for drones in compiled:
        step = steps.get(drones["name"])
        if step is None:
            if drones["run"] == "never":
                continue
            return f"no step {drones['name']}"
        if step.run != drones["run"] and drones["name"] != "clone":
            return f"{step.name} runs {step.run}"
        if step.failure != {"fail-fast": "fast"}.get(drones["err"], drones["err"]):
            return f"{step.name} fails as {step.failure}"
        if step.step and "env" in drones:
            ours = {name: value for name, value in
                    {**pipeline.environment, **step_environment(step.step)}.items()
                    if isinstance(value, str) and not name.startswith(("DRONE", "CI", "GIT"))}
            if ours != {name: value for name, value in drones["env"].items() if name != "DRONE"}:
                return f"{step.name} has {ours}, Drone {drones['env']}"
    return AGREED


def judge_step_log_dash(row: Row) -> str:
    step = pipeline_to_run(row["yaml"], "exp", {}).steps[0]
    environment, secrets = look_up_secrets(step_environment(step), row["secrets"])
    pieces: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        code = Processes().run(step.commands, Path(folder),
                               {"PATH": os.environ["PATH"], **environment}, pieces.append)
    mask = make_mask(secrets)
    log = b"".join(map(mask, pieces)).decode()
    wanted = row["step"][0].partition("=")[2]
    ended = f"{'failure' if code else 'success'}({code})"
    return AGREED if (log, ended) == (row["log"], wanted) else f"got {ended} {log!r}"


JUDGES: dict[str, Callable[[Row], str]] = {
    "glob": judge_glob, "condition": judge_condition, "substitution": judge_substitution,
    "tag_versions": judge_tag_versions, "tag_env": judge_tag_env, "trace_line": judge_trace_line,
    "pipeline": judge_pipeline, "field_types": judge_pipeline,
    "step_log_dash": judge_step_log_dash,
}


@pytest.mark.parametrize("name", JUDGES)
def test_every_row_agrees_or_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = ROWS / f"{name}.jsonl"
    if not file.exists():
        pytest.skip(f"{file} does not exist")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    verdicts = [(row, JUDGES[name](row)) for row in rows]
    count = Counter(verdict for _, verdict in verdicts)
    with capsys.disabled():
        print(f"\n{name}: {count[AGREED]} agree, {count[REFUSED]} are refused, of {len(rows)}")
    silent = [(row.get("case") or row, verdict) for row, verdict in verdicts
              if verdict not in (AGREED, REFUSED)]
    assert not silent, "\n".join(f"{row}\n    {verdict}" for row, verdict in silent)
