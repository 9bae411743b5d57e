"""Tests of `lint`: it reports common mistakes with a fix, and nothing else."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from taglab.engines.drone.decide import all_pipelines, pipeline_to_run
from taglab.engines.drone.documents import FileError
from taglab.engines.drone.lint import RULES, Finding, lint
from taglab.engines.drone.source import Source, processes_with_goals
from taglab.runner.requirements import requirements_hash
from tests.conftest import Bake
from tests.runner.conftest import PIPELINE

MISTAKES = sorted(Path(__file__).with_name("mistakes").glob("*.yml"))
HASH = "0123456789ab"
SLOW_MACHINE = [HealthCheck.too_slow]  # generating the inputs may take long
KNOWN: dict[str, Any] = {"files": ["lab/main.py", "lab/test_main.py"], "secrets": ["token"],
                         "requirements": HASH, "goals": ["a"]}


def steps(*texts: str) -> str:
    return PIPELINE + "steps:\n" + "".join(f"- {{name: s{number}, image: x:1, {text}}}\n"
                                           for number, text in enumerate(texts))


def step(*commands: str) -> str:
    return "steps:\n- name: a\n  image: x:1\n  commands:\n" + "".join(
        f"  - {command}\n" for command in commands)


def trigger(text: str) -> str:
    return PIPELINE[:PIPELINE.index("trigger")] + f"trigger: {{{text}}}\n"


@pytest.mark.parametrize("file", MISTAKES, ids=lambda file: file.stem)
def test_lint_reports_a_mistake_on_its_line_with_a_fix(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    wanted = [(line, level, words)
              for line, content in enumerate(text.split("\n"), start=1)
              for level, words in re.findall(r"  # lint: (\w+) (.*?)(?=$|  # lint)", content)]
    found = lint(re.sub(r"  # lint: .*", "", text), **KNOWN)
    assert wanted and len(found) == len(wanted), found
    for line, level, words in wanted:
        assert any((each.line, each.level) == (line, level) and words in each.text
                   and "\n" not in each.text for each in found), (line, words, found)


# Rule, a mistake, part of the warning, and a text without the mistake.
CASES = [
    ("unknown_keys", trigger("tags: [a]"), "`ref: [refs/tags/NAME-*]`", trigger("ref: [a]")),
    ("unknown_keys", steps("script: [a]"), "`commands: [", steps("commands: [a]")),
    ("unknown_keys", steps("when: {tag: [a]}"), "did you mean `ref:", steps("when: {ref: [a]}")),
    ("unknown_keys", PIPELINE + "enviroment: {A: b}", "`environment: {", PIPELINE + "x-a: 1"),
    ("unknown_keys", PIPELINE + "wrong: {A: b}", "write one of: clone,",
     PIPELINE + "shared: &shared {A: b}"),
    ("unknown_keys", steps("resources: {limits: {gpu: 1}}"), "write one of: cpu, memory",
     steps("resources: {limits: {cpu: 1000}}")),
    ("matches_everything", trigger(""), "add `trigger: {ref:", trigger("event: [push]")),
    ("matches_everything", trigger("event: [push], ref: {include: a}"),
     "write `ref: [PATTERN]`", trigger("event: [push], ref: {include: [a]}")),
    ("matches_everything", trigger("event: [push], ref: []"), "write `ref: [PATTERN]`",
     trigger("event: [push], ref: a")),
    ("matches_everything", trigger("event: [push], ref: {inclode: [a], exclude: [b]}"),
     "write `ref: [PATTERN]`", trigger("event: [push], ref: {include: [a], exclude: [b]}")),
    ("matches_everything", steps("when: {event: {}}"), "write `event: [PATTERN]`",
     steps("when: {event: [tag]}")),
    ("branch_with_tags", trigger("event: [push, tag], branch: [main]"), "remove `branch`",
     trigger("event: [push], branch: [main]")),
    ("branch_with_tags", trigger("ref: [refs/tags/a], branch: main"), "remove `branch`",
     trigger("branch: main")),
    ("branch_with_tags", steps("when: {branch: [main]}"), "remove `branch`",
     steps("when: {branch: {exclude: [main]}}")),
    ("invalid_patterns", trigger("ref: ['refs/tags/[!a]']"), "write `[^…]`",
     trigger("ref: ['refs/tags/[^a]']")),
    ("invalid_patterns", trigger("ref: ['{refs/tags/a,refs/tags/b}']"), "no `/` inside",
     trigger("ref: ['refs/tags/{a,b}']")),
    ("star_before_slash", trigger("ref: [refs/tags/a-**]"), "write `*`, or `/**`",
     trigger("ref: [refs/tags/a/**]")),
    ("star_before_slash", trigger("ref: [refs/tags/*]"), "write `refs/tags/**`",
     trigger("ref: [refs/tags/a-*]")),
    ("never_matches", trigger("ref: [exp-*]"), "write `refs/tags/exp-*`",
     trigger("ref: ['**/exp-*', '*/tags/a']")),
    ("never_matches", trigger("event: [tags]"), "write `tag`", trigger("event: [tag, p*]")),
    ("never_matches", steps("when: {status: [failed]}"), "write `failure`",
     steps("when: {status: [failure, success]}")),
    ("unknown_variables", PIPELINE + step("echo ${SEED}"), "write `$${SEED}` or `$SEED`",
     PIPELINE + step("echo $${SEED} $SEED ${DRONE_TAG} ${DRONE_SEMVER_BUILD}")),
    ("unknown_variables", trigger("event: [cron]") + step("echo ${SEED}"), "write `$${SEED}`",
     trigger("event: [cron]") + "# ${SEED}\n" + step("echo ${DRONE_CRON}")),
    ("cpu_in_cores", steps("resources: {limits: {cpu: 0.5}}"), "write `cpu: 500`",
     steps("resources: {limits: {cpu: 500}}")),
    ("cpu_in_cores", PIPELINE + "resources: {requests: {cpu: 4}}", "write `cpu: 4000`",
     PIPELINE + "resources: {requests: {cpu: 4000, memory: 4GiB}}"),
    ("fail_fast_with_when", steps("failure: fast, when: {event: [push]}"), "crashes Drone's",
     steps("failure: fast, when: {status: [success, failure]}", "when: {event: [push]}")),
    ("ignored_requests", steps("resources: {requests: {cpu: 500}}"), "move it to `resources:",
     PIPELINE + "resources: {requests: {cpu: 500}}"),
    ("partial_depends_on", steps("commands: [a]", "commands: [b]", "depends_on: [s1]"),
     "s0, s1 start", steps("commands: [a]", "commands: [b]", "depends_on: [s0, s1]")),
    ("partial_depends_on", steps("commands: [a]", "depends_on: [s0]", "commands: [c]"),
     "s0, s2 start", steps("commands: [a]", "depends_on: [s0]", "depends_on: [clone]")),
    ("unknown_secrets", steps("commands: [x], environment: {A: {from_secret: b}}"),
     "`b = \"VALUE\"`", steps("commands: [x], environment: {A: {from_secret: TOKEN}, B: c}")),
    ("unknown_secrets", steps("commands: [x], settings: {a: {from_secret: b}}"),
     "`b = \"VALUE\"`", steps("settings: {a: {from_secret: b}}")),
    ("unknown_secrets", steps("commands: [x], environment: {A: {from_secret: b}}"),
     "`b = \"VALUE\"`", steps("commands: [x], environment: {A: {from_secret: b}}")
     + "---\nkind: secret\nname: b\n"),
    ("unpinned_images", (PIPELINE + step("a")).replace("x:1", "host:5000/x"), "`image: NAME:TAG",
     (PIPELINE + step("a")).replace("x:1", "host:5000/x:1")),
    ("unpinned_images", (PIPELINE + step("a")).replace("x:1", "x:latest"), "`image: NAME:TAG",
     (PIPELINE + step("a")).replace("x:1", "x@sha256:1")),
    ("differing_images", steps("commands: [python a]", "commands: [python b], image: y:1"),
     "write `image: x:1`", steps("commands: [python a]", "commands: [b], image: y:1")),
    ("outdated_images", PIPELINE + step("python a"), f"the tag `:{HASH}`",
     (PIPELINE + step("python a")).replace("x:1", f"x:{HASH}")),
    ("uncommitted_paths", PIPELINE + step("python lab/mian.py"), "did you mean `lab/main.py`?",
     PIPELINE + step("python lab/main.py --out lab/new.json")),
    ("uncommitted_paths", PIPELINE + step("python ./lab/min.py; true"), "mean `lab/main.py`",
     PIPELINE + step("cd lab", "python main.py")),
    ("uncommitted_paths", PIPELINE + step("A=1 sh ./run.sh && true"), "git add and commit it",
     PIPELINE + step("curl x > run.sh", "sh ./run.sh", "python $X/a.py", "python -c 'a'", "sh /x")),
    ("uncommitted_paths", PIPELINE + step("python -m pytest lab/tests"), "mean `lab/test_main",
     PIPELINE + step("python -m pytest lab lab/test_main.py::test_it", "python -m lib.main")),
    ("uncommitted_paths", steps("commands: [python main.py], working_dir: /drone/src/goals"),
     "`goals/main.py` is not in", steps("commands: [python main.py], working_dir: lab")),
    ("goals_unchecked", PIPELINE + step("python lab/processes/a/main.py"),
     "`exp` runs a and never checks", PIPELINE + step("python lab/processes/b/main.py")),
    ("goals_unchecked", steps("commands: [python -m taglab.goals]",
                              "commands: [python lab/processes/a/main.py]"), "taglab.goals]`",
     steps("commands: [python lab/processes/a/main.py]", "commands: [python -m taglab.goals]")),
    ("exit_code_2", PIPELINE + step("python -m pytest lab"), "write `pytest … || exit 1`",
     PIPELINE + step("python -m pytest lab || exit 1")),
    ("exit_code_2", PIPELINE + step("make all"), "write `make … || exit 1`",
     PIPELINE + step("echo make", "python make.py")),
]


@pytest.mark.parametrize("name, wrong, fix, right", CASES)
def test_a_rule_warns_of_its_mistake_only(name: str, wrong: str, fix: str, right: str) -> None:
    (rule,) = [rule for rule in RULES if rule.__name__ == name]

    def messages(text: str) -> list[str]:
        return [message for _, message in rule(Source(text, **KNOWN))]

    assert any(fix in message for message in messages(wrong)), messages(wrong)
    assert messages(right) == []


def test_every_rule_is_tested() -> None:
    assert {rule.__name__ for rule in RULES} == {name for name, *_ in CASES}


def test_what_concerns_a_server_alone_is_told_only_where_there_is_one() -> None:
    text = steps("commands: [python a || make], resources: {limits: {cpu: 0.5}}",
                 "commands: [make], failure: fast, when: {event: [push]}",
                 "commands: [pytest lab], resources: {requests: {cpu: 1}}")
    found = lint(text, **KNOWN)
    here = lint(text, **KNOWN, server=False)
    assert here == [each for each in found if not each.server] and len(found) > len(here) + 4
    assert ["`a` is not in the commit" in each.text for each in here] == [True]
    for rejected, _ in ERRORS:  # what Drone rejects is told always
        errors = [each for each in lint(rejected) if each.level == "error"]
        assert [each for each in lint(rejected, server=False) if each.level == "error"] == errors


def test_one_cause_is_one_finding_however_many_steps_have_it() -> None:
    text = steps(*["commands: [python a], environment: {A: {from_secret: b}}"] * 10)
    found = lint(text.replace("a]", "-m a]"), **KNOWN)
    assert [each.text.split(" in 10 steps")[0] for each in found] == [
        "`x:1`", "there is no secret `b`, so A is empty"]
    assert found[0].line == found[1].line == text[:text.index("- {")].count("\n") + 1


@pytest.mark.parametrize("text, names", [
    ('[[goal]]\nprocess = "a"\n[[goal]]\nprocess = "b"\n[[goal]]\nprocess = 1', {"a", "b"}),
    ("goal = 1", set()), ("goal = [1]", set()), ("[[goal", set()), ("", set())])
def test_the_processes_with_goals_are_read_from_any_file(text: str, names: set[str]) -> None:
    assert processes_with_goals(text) == names


VOLUME = "volumes: [{name: v, %s}]\n"
ERRORS = [
    (PIPELINE + "---\n" + PIPELINE, "linter: duplicate pipeline names: "),
    (PIPELINE + "depends_on: [exp]\n", "linter: pipeline cannot have a dependency on itself: "),
    (PIPELINE + "depends_on: [x]\n", "linter: invalid or unknown pipeline dependency: "),
    ("kind: pipeline\nplatform: {os: plan9}\n", "linter: unsupported os: plan9: "),
    ("kind: pipeline\nplatform: {arch: vax}\n", "linter: unsupported architecture: vax: "),
    (PIPELINE.replace("pipeline", "Pipeline"), "resource not found: "),
    (PIPELINE.replace("exp", "${DRONE_TAG}", 1), "resource not found: "),
    (PIPELINE.replace("exp", "a$$b", 1), "resource not found: "),
    ("kind: template\nname: a\n", "`kind: template`: not supported on this machine"),
    (PIPELINE + "pipeline:\n", "a line `pipeline:` makes Drone read the file as Drone 0.8"),
    (PIPELINE + "steps: [~]\n", "Linter: detected nil step: "),
    (PIPELINE + "steps: [{image: x}]\n", "Linter: invalid or missing step name: "),
    (PIPELINE + "steps: [{name: %s}]\n" % ("é" * 51),
     "Linter: step name cannot exceed 100 characters: "),
    (PIPELINE + "steps: [{name: a, image: x}, {name: a}]\n", "Linter: duplicate step name: "),
    (PIPELINE + "services: [{name: a, image: x}]\n" + step("a"),
     "linter: duplicate step names: "),
    (PIPELINE + "services: [~]\n", "linter: nil step: "),
    (PIPELINE + "steps: [{name: clone, image: x}]\n", "linter: duplicate step names: "),
    (PIPELINE + "steps: [{name: a}]\n", "linter: invalid or missing image: "),
    (PIPELINE + "resources: {limits: {cpu: 1}}\n",
     "linter: cpu limit cannot be applied at stage level: "),
    (PIPELINE + "resources: {limits: {memory: 1GiB}}\n",
     "linter: memory limit cannot be applied at stage level: "),
    (steps("privileged: true"), "linter: untrusted repositories cannot enable privileged mode"),
    (steps("volumes: [{name: _status, path: /a}]"), "linter: invalid volume name: _status: "),
    (steps("volumes: [{name: a, path: /run/../run/drone}]"),
     "linter: cannot mount volume at /run/drone: "),
    (steps("depends_on: [s0]"), "linter: cyclical step dependency detected: s0: "),
    (steps("depends_on: [x]"), "linter: unknown step dependency detected: s0 references x: "),
    (PIPELINE + VOLUME % "host: {path: /a}",
     "linter: untrusted repositories cannot mount host volumes"),
    (PIPELINE + VOLUME % "claim: {name: a}", "linter: untrusted repositories cannot mount PVC"),
    (PIPELINE + VOLUME % "config_map: {name: a}",
     "linter: untrusted repositories cannot mount configMap volumes"),
    (PIPELINE + VOLUME % "secret: {name: a}",
     "linter: untrusted repositories cannot mount secret volumes"),
    (PIPELINE + VOLUME % "temp: {medium: memory}",
     "linter: untrusted repositories cannot mount in-memory volumes"),
    (PIPELINE + "volumes: [{temp: {}}]\n", "linter: missing volume name: "),
    (PIPELINE + "volumes: [{name: _addons}]\n", "linter: invalid volume name: _addons: "),
]


@pytest.mark.parametrize("text, message", ERRORS)
def test_lint_quotes_drones_error(text: str, message: str) -> None:
    level = "warning" if "untrusted" in message else "error"
    found = lint(text)
    assert [each for each in found if each.level == level and each.text.startswith(message)], found


@pytest.mark.parametrize("text, message", ERRORS)
def test_a_pipeline_that_drone_rejects_does_not_run(text: str, message: str) -> None:
    with pytest.raises(FileError, match=re.escape(message.rstrip(": ")[:40])):
        all_pipelines(text)
        pipeline_to_run(text, "exp", {})


def test_this_machine_refuses_volumes_even_of_a_trusted_repository() -> None:
    with pytest.raises(FileError, match="not supported on this machine"):
        pipeline_to_run(PIPELINE + VOLUME % "claim: {name: a}", "exp", {}, trusted=True)


def test_server_and_runner_expect_different_types() -> None:
    text = PIPELINE + "steps: [{name: a, image: x, commands: [a], user: root}]\n"
    assert all_pipelines(text)
    with pytest.raises(FileError, match="cannot unmarshal !!str `root`"):
        pipeline_to_run(text, "exp", {})
    docker = "kind: pipeline\nname: d\ntolerations: x\n"
    assert all_pipelines(docker + "---\n" + PIPELINE)
    pipeline_to_run(docker + "---\n" + PIPELINE, "exp", {})


def test_a_new_lab_has_no_findings(bake: Bake) -> None:
    lab = bake()
    listed = subprocess.run(["git", "-C", str(lab), "ls-files"], capture_output=True, text=True)
    assert lint((lab / ".drone.yml").read_text(encoding="utf-8"),
                files=listed.stdout.splitlines(), requirements=requirements_hash(lab)) == []


@pytest.mark.parametrize("fields", [
    "commands: [cowsay ${A]", "commands: ['python \"']", "resources: {limits: {cpu: .inf}}",
    "commands: [~]", "environment: {A: [1]}", "when: [a]", "settings: {a: !!int b}",
])
def test_lint_accepts_unusual_fields(fields: str) -> None:
    assert all(isinstance(each, Finding) for each in lint(steps(fields), **KNOWN))


YAMLS = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(
    inner, max_size=3) | st.dictionaries(st.sampled_from([
        "kind", "name", "steps", "services", "trigger", "when", "ref", "include", "volumes",
        "commands", "image", "environment", "from_secret", "resources", "requests", "limits",
        "cpu", "depends_on", "host", "temp", "get"]), inner, max_size=5), max_leaves=30)


@given(document=st.dictionaries(st.sampled_from(["steps", "services", "trigger", "resources",
                                                 "volumes", "depends_on", "name"]), YAMLS))
@settings(deadline=5000, suppress_health_check=SLOW_MACHINE)
def test_lint_accepts_any_document(document: dict[str, Any]) -> None:
    lint(yaml.safe_dump({"kind": "pipeline", "type": "kubernetes", **document}), **KNOWN)


@given(text=st.text())
@example("\0")
@example("${" * 3000)
@example("a: " + "[" * 300)
@example("a: &a [b]\nb: &b [*a, *a]\n" * 3)
@settings(deadline=5000, suppress_health_check=SLOW_MACHINE)
def test_lint_accepts_any_text(text: str) -> None:
    for finding in lint(text, **KNOWN):
        assert finding.line > 0 and finding.text and "\n" not in finding.text
