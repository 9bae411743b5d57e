"""The local runner against rows of what Drone 2.25 and its Kubernetes runner did.

Each row agrees or is refused by name; a silent difference fails. DRONE_ROWS names another folder
of the same files.
"""
from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

ROWS = Path(os.environ.get("DRONE_ROWS") or Path(__file__).with_name("drone_rows"))
AGREED, REFUSED = "agreed", "refused"
NOT_HERE = "not supported on this machine"


def by_error(mine: str | None, drones: str | None, same: bool) -> str:
    """Judge a row by its errors: mine, Drone's, and whether the results are the same."""
    if mine and NOT_HERE in mine:
        return REFUSED
    if bool(mine) != bool(drones):
        return f"error {mine!r}, Drone's {drones!r}"
    return AGREED if mine or same else "another result"


def judge_glob(row: dict) -> str:
    from taglab.engines.drone.conditions import BadPattern, glob_match
    try:
        result = glob_match(row["pattern"], row["name"]), False
    except BadPattern:
        result = False, True
    return AGREED if result == (row["match"], row["bad_pattern"]) else f"got {result}"


def judge_condition(row: dict) -> str:
    from taglab.engines.drone.documents import FileError
    from taglab.engines.drone.schema import CONDITIONS, read_documents
    try:
        condition = read_documents(f"ref: {row['yaml']}", lambda head: CONDITIONS)[0].ref
    except FileError as error:
        return by_error(str(error), row["error"], False)
    return by_error(None, row["error"], condition.match(row["value"]) == row["match"])


def judge_substitution(row: dict) -> str:
    from taglab.engines.drone.substitution import SubstitutionError, substitute
    try:
        result, error = substitute(row["text"], row["env"]), None
    except SubstitutionError as problem:
        result, error = None, str(problem)
    return by_error(error, row.get("error"), result == row.get("out"))


def judge_tag_versions(row: dict) -> str:
    from taglab.engines.drone.variables import version_variables
    result = {"DRONE_TAG": row["tag"], **version_variables(row["tag"])}
    return AGREED if result == row["env"] else f"got {result}"


def judge_tag_env(row: dict) -> str:
    from taglab.engines.drone.variables import Commit, Repository, Stage, drone_variables
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
    mine = drone_variables(repository, commit, stage, int(env["DRONE_BUILD_FINISHED"]))
    links = {"DRONE_COMMIT_LINK", "CI_BUILD_LINK"}  # the row was fed one with a short commit
    different = {name for name in {*mine, *env} - links if mine.get(name) != env.get(name)}
    return f"different: {sorted(different)}" if different else AGREED


def judge_trace_line(row: dict) -> str:
    from taglab.engines.drone.script import step_script
    script = step_script([row["command"]])
    return AGREED if script.endswith(row["script_tail"]) else f"got {script!r}"


def judge_pipeline(row: dict) -> str:
    server, runner = judge_server(row), judge_runner(row)
    for verdict in (server, runner):
        if verdict not in (AGREED, REFUSED):
            return verdict
    return REFUSED if REFUSED in (server, runner) else AGREED


def event_of(row: dict):
    from taglab.engines.drone.conditions import Event
    if row["event"] == "tag":
        return Event("tag", f"refs/tags/{row['tag']}", "create", row.get("branch", ""), "lab/proj",
                     instance="drone.example")
    branch = row.get("branch") or "main"
    return Event(row["event"], f"refs/heads/{branch}", "", branch, "lab/proj",
                 instance="drone.example")


def judge_server(row: dict) -> str:
    from taglab.engines.drone.decide import triggered_pipelines
    from taglab.engines.drone.documents import FileError
    wanted = row["server"]
    try:
        names = [each.name for each in triggered_pipelines(row["yaml"], event_of(row))]
    except FileError as error:
        return by_error(str(error), wanted.get("error"), False)
    return by_error(None, wanted.get("error"), names == wanted.get("matched"))


def judge_runner(row: dict) -> str:
    from taglab.engines.drone.decide import pipeline_to_run
    from taglab.engines.drone.documents import FileError
    wanted = row.get("runner")
    if wanted is None:
        return AGREED
    try:
        pipeline = pipeline_to_run(row["yaml"], "exp", {"DRONE_TAG": row["tag"] or ""},
                                   trusted=row.get("trusted", False))
    except FileError as error:
        return by_error(str(error), wanted.get("error"), False)
    if wanted.get("error"):
        return f"ran, but Drone says {wanted['error']}"
    return judge_run(row, pipeline, wanted)


def judge_run(row: dict, pipeline, wanted: dict) -> str:
    """Play the plan with the row's exit codes, and compare how each step ended."""
    from taglab.engines.drone.outcome import PipelineState, plan
    planned = plan(pipeline, event_of(row))
    state = PipelineState(planned)
    while ready := state.settle():
        for step in ready:
            state.start(step.name, 1)
        for step in ready:
            state.finish(step.name, int(row.get("exit_codes", {}).get(step.name, 0)), 2)
    mine = [(step.name, step.status, str(step.exit_code)) for step in state.steps.values()]
    if "steps" in wanted and mine != [as_step(each) for each in wanted["steps"]]:
        return f"steps {mine}"
    if "stage" in wanted and state.result != wanted["stage"]:
        return f"stage {state.result}"
    compiled = wanted.get("compiled") or [wanted.get("compiled_last")]
    return judge_compiled(pipeline, planned, [each for each in compiled if each])


def as_step(step: dict | str) -> tuple[str, str, str]:
    if isinstance(step, dict):
        return step["name"], step["status"], step["exit"]
    name, _, rest = step.rpartition("=")
    status, _, code = rest.rstrip(")").partition("(")
    return name, status, code


def judge_compiled(pipeline, planned: list, compiled: list[dict]) -> str:
    from taglab.engines.drone.variables import step_environment
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
            mine = {name: value for name, value in
                    {**pipeline.environment, **step_environment(step.step)}.items()
                    if isinstance(value, str) and not name.startswith(("DRONE", "CI", "GIT"))}
            if mine != {name: value for name, value in drones["env"].items() if name != "DRONE"}:
                return f"{step.name} has {mine}, Drone {drones['env']}"
    return AGREED


def judge_step_log_dash(row: dict) -> str:
    from taglab.engines.drone.decide import pipeline_to_run
    from taglab.engines.drone.variables import step_environment
    from taglab.runner.process import Processes
    from taglab.runner.secrets import look_up_secrets, make_mask
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


JUDGES: dict[str, Callable[[dict], str]] = {
    "glob": judge_glob, "condition": judge_condition, "substitution": judge_substitution,
    "tag_versions": judge_tag_versions, "tag_env": judge_tag_env, "trace_line": judge_trace_line,
    "pipeline": judge_pipeline, "field_types": judge_pipeline,
    "step_log_dash": judge_step_log_dash,
}


@pytest.mark.parametrize("name", JUDGES)
def test_rows_agree_or_are_refused(name: str, capsys: pytest.CaptureFixture) -> None:
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
