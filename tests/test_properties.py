"""Whatever is put into what parses input, it answers or refuses; and what it accepts it keeps."""
from __future__ import annotations

import json
import time

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from taglab import config

SLOW_MACHINE = [HealthCheck.too_slow]  # of what makes the inputs; nothing of the runner's
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
                    TEXTS)
KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
YAMLS = st.recursive(st.none() | SCALARS, lambda inner: st.lists(inner, max_size=4)
                     | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20)


@given(defaults=st.dictionaries(KEYS, SCALARS, min_size=1, max_size=5), data=st.data())
def test_a_parameter_keeps_its_type_or_is_refused(defaults, data) -> None:
    key = data.draw(st.sampled_from(sorted(defaults)))
    word = data.draw(SCALARS)
    try:
        changed = config.override(defaults, [f"{key}={word}"])
    except config.ConfigError as error:
        assert key in str(error)
        return
    assert type(changed[key]) is type(defaults[key])
    assert {name: value for name, value in changed.items() if name != key} == {
        name: value for name, value in defaults.items() if name != key}
    if isinstance(defaults[key], str):
        assert changed[key] == str(word)


@given(defaults=st.dictionaries(KEYS, SCALARS, max_size=5), word=TEXTS)
def test_any_word_is_a_parameter_or_a_clear_error(defaults, word) -> None:
    try:
        config.override(defaults, [word])
    except config.ConfigError as error:
        assert str(error)


@given(text=st.one_of(TEXTS, st.lists(YAMLS, max_size=3).map(yaml.safe_dump_all)))
@settings(deadline=5000, suppress_health_check=SLOW_MACHINE)
def test_any_text_is_read_as_pipelines_or_refused(text: str) -> None:
    from taglab.engines.drone.decide import all_pipelines, pipeline_to_run
    from taglab.engines.drone.documents import FileError
    for read in (all_pipelines, lambda text: pipeline_to_run(text, "exp", {})):
        try:
            read(text)
        except FileError as error:
            assert str(error)


@given(fields=st.dictionaries(
    st.sampled_from(["kind", "type", "name", "trigger", "steps", "services", "environment",
                     "depends_on", "clone", "workspace", "resources", "volumes", "<<"]),
    YAMLS | st.just("pipeline") | st.lists(st.dictionaries(
        st.sampled_from(["name", "image", "commands", "when", "environment", "settings",
                         "depends_on", "failure", "detach"]), YAMLS, max_size=5), max_size=3),
    max_size=6))
@settings(deadline=5000, suppress_health_check=SLOW_MACHINE)
def test_any_fields_are_read_as_a_pipeline_or_refused(fields: dict) -> None:
    test_any_text_is_read_as_pipelines_or_refused.hypothesis.inner_test(
        yaml.safe_dump({"kind": "pipeline", "name": "exp", **fields}))


@pytest.mark.parametrize("text", [
    "[" * 100_000, "{a: " * 50_000, "- " * 100_000, "a: &a [*a]\nkind: pipeline\n",
    "kind: pipeline\nsteps: &s\n- <<: *s\n", "x" * 2_000_000, "\0", "\ud800", "kind: \x1b\n",
    "a: &a [x, x]\n" + "".join(f"{name}: &{name} [*{last}, *{last}, *{last}, *{last}, *{last}]\n"
                               for last, name in zip("abcdefghijkl", "bcdefghijklm"))
    + "kind: pipeline\nname: exp\nsteps: [{name: s, image: i, settings: {z: *m}}]\n",
    f"kind: pipeline\nname: exp\nconcurrency: {{limit: {'9' * 6000}}}\n",
], ids=["brackets", "braces", "dashes", "loop", "merge loop", "large", "nul", "surrogate",
        "control", "laughs", "digits"])
def test_hostile_files_are_refused_at_once(text: str) -> None:
    from taglab.engines.drone.decide import all_pipelines
    from taglab.engines.drone.documents import FileError
    started = time.process_time()
    try:
        all_pipelines(text)
    except FileError as error:
        assert len(str(error)) < 1000
    assert time.process_time() - started < 5  # of this process alone; about one


@given(text=TEXTS | st.text("${}AB#%[]^-b*?/:,\\\n", max_size=20).map("${{A{}".format),
       variables=st.dictionaries(KEYS, TEXTS, max_size=3))
@example(text="${A#[b-a]}", variables={})
@example(text="${A:" + "9" * 6000 + "}", variables={})
def test_substitution_answers_or_refuses(text: str, variables: dict[str, str]) -> None:
    from taglab.engines.drone.substitution import SubstitutionError, substitute
    try:
        replaced = substitute(text, variables)
    except SubstitutionError as error:
        assert str(error)
        return
    if "$" not in text and "\\" not in text:
        assert replaced == text


@given(pattern=st.text("abc*?[]{},^!-\\/", max_size=12), name=st.text("abc/-", max_size=12))
def test_globs_answer_or_refuse(pattern: str, name: str) -> None:
    from taglab.engines.drone.conditions import Condition
    from taglab.engines.drone.globs import BadPattern, glob_match
    try:
        matched = glob_match(pattern, name)
    except BadPattern:
        matched = False
    assert Condition(include=(pattern,)).match(name) == matched
    assert Condition(exclude=(pattern,)).match(name) != matched


@given(command=TEXTS)
def test_a_quoted_command_reads_back(command: str) -> None:
    from taglab.engines.drone.golang import go_quote
    if all(character.isprintable() for character in command):
        assert json.loads(go_quote(command)) == command
    assert "\n" not in go_quote(command)


@given(secrets=st.lists(st.text("ab\n ", max_size=6), max_size=3),
       line=st.text("abc ", max_size=20))
def test_no_part_of_a_secret_survives(secrets: list[str], line: str) -> None:
    from taglab.masking import make_mask
    masked = make_mask(secrets)(line.encode()).decode()
    for part in (part.strip() for secret in secrets for part in secret.split("\n")):
        assert len(part) < 2 or part not in masked
