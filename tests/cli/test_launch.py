"""`lab launch` with parameters: which tags it makes, what it refuses, and what their builds get."""
from __future__ import annotations

import re
import subprocess

import pytest

from taglab.cli.parameter_words import combinations
from taglab.errors import LabError
from tests.runner.conftest import Lab

PIPELINE = """\
kind: pipeline
type: kubernetes
name: exp
trigger:
  ref: [refs/tags/all-*, refs/tags/my-search-*, refs/tags/no-process-*]
environment:
  PYTHONPATH: /drone/src/lab:/drone/src/vendor
steps:
- name: my-search
  image: x
  commands: [python lab/processes/my_search/main.py]
  when: {ref: [refs/tags/all-*, refs/tags/my-search-*]}
- name: other
  image: x
  commands: [python lab/processes/other/main.py]
  when: {ref: [refs/tags/all-*]}
"""
MAIN = """\
from taglab.config import load_config
from taglab.tag_parameters import message_of_build
print("got", load_config(__file__), message_of_build(__file__.rpartition("/")[0]).question)
"""
CONFIGS = {
    "my_search": {"folds": 3, "rate": 0.1, "name": "a", "gamma": [0.1], "on": True,
                  "default": {"trials": 20}},
    "other": {"folds": 2, "epochs": 1, "my_search": {"x": 1}},
}


@pytest.fixture
def lab(make_lab) -> Lab:
    """A lab with two processes."""
    lab = make_lab()
    (lab.path / ".gitignore").write_text(".lab/\n__pycache__/\n")  # vendor is in the commit
    for process in CONFIGS:
        lab.write(f"lab/processes/{process}/main.py", MAIN)
    lab.write("lab/processes/my_search/config.toml",
              'folds = 3\nname = "a"\n[default]\ntrials = 20\n')
    lab.write("lab/processes/other/config.toml", "folds = 2\nepochs = 1\n")
    lab.pipeline("", PIPELINE)
    return lab


def one(*words: str, sweeps: tuple[str, ...] = (), configs=CONFIGS) -> list[list[str]]:
    """Return what each tag sets, for words of both processes unless others are given."""
    return [[str(each) for each in found]
            for found in combinations(configs, list(words), list(sweeps))]


ONLY = {"my_search": CONFIGS["my_search"]}


def test_a_key_belongs_to_the_one_process_that_has_it_or_that_is_named() -> None:
    assert one("folds=5", "default.trials=50", configs=ONLY) == [
        ["my_search.folds=5", "my_search.default.trials=50"]]
    assert one("epochs=7", "rate=1", "my_search.folds=4", "other.folds=6") == [
        ["other.epochs=7", "my_search.rate=1.0", "my_search.folds=4", "other.folds=6"]]
    assert one("my-search.name=b c", "gamma=[1, 2e-3]", "on=false") == [
        ['my_search.name="b c"', "my_search.gamma=[1.0, 0.002]", "my_search.on=false"]]
    assert one("my_search.x=2") == [["other.my_search.x=2"]]  # a table of that name


def test_a_sweep_is_a_tag_for_each_value_and_several_are_the_product() -> None:
    assert one("epochs=2", sweeps=("rate=0.1, 0.01", "on=true,false")) == [
        ["other.epochs=2", f"my_search.rate={rate}", f"my_search.on={on}"]
        for rate in ("0.1", "0.01") for on in ("true", "false")]
    assert one(sweeps=("name=a, b,c=d",)) == [
        ['my_search.name="a"'], ['my_search.name=" b"'], ['my_search.name="c=d"']]
    assert one(sweeps=("gamma=[1, 2],[3]",)) == [
        ["my_search.gamma=[1.0, 2.0]"], ["my_search.gamma=[3.0]"]]
    assert one(sweeps=("rate=0.1,1e-1,0.10",)) == [["my_search.rate=0.1"]]


@pytest.mark.parametrize("words, sweeps, said", [
    (["fold=5"], [], "unknown key 'fold'; did you mean folds?"),
    (["my_search.fold=5"], [], "did you mean my_search.folds?"),
    (["folds=5"], [], "Say whose: my_search.folds=5 or other.folds=5"),
    (["zzz=5"], [], "unknown key 'zzz'. This tag runs: my_search, other"),
    (["epochs=many"], [], "epochs needs a value of type int, got 'many'"),
    (["epochs"], [], "'epochs' is not of the form key=value"),
    (["epochs=1", "other.epochs=2"], [], "other.epochs is given twice"),
    (["epochs=1"], ["epochs=2,3"], "other.epochs is given twice"),
    (["name=\udce9"], [], "is not UTF-8"),
    ([], ["epochs=1,x"], "epochs needs a value of type int, got 'x'"),
    ([], ["epochs="], "epochs needs a value of type int, got ''"),
    ([], ["gamma="], "--sweep gamma has no values"),
    ([], ["gamma=[1],["], "--sweep gamma needs TOML values"),
])
def test_a_wrong_word_is_refused_with_what_to_type(words, sweeps, said) -> None:
    with pytest.raises(LabError) as refused:
        combinations(CONFIGS, words, sweeps)
    assert said in str(refused.value)


def test_with_one_process_a_mistake_names_its_keys() -> None:
    for word, said in (("fold=5", "my_search: unknown key 'fold'; did you mean folds?"),
                       ("default=5", "set one of its keys: default.trials"),
                       ("my_search.fold=5", "unknown key 'fold'; did you mean folds?")):
        with pytest.raises(LabError, match=re.escape(said)):
            combinations(ONLY, [word], [])


def test_a_launched_tag_keeps_its_parameters_through_a_restart_after_it_is_gone(lab: Lab) -> None:
    done = lab.lab("launch", "my-search", "folds=5", "name=$(touch x) 'é'", "-m", "#1: five folds?")
    tag = re.search(r"my-search-v1\.p[0-9a-f]{8}", done.stdout)[0]
    assert done.returncode == 0, done.stdout
    got = "got {'folds': 5, 'name': \"$(touch x) 'é'\", 'default': {'trials': 20}} #1: five folds?"
    assert f"[my-search] {got}" in done.stdout
    message = lab.git("cat-file", "tag", tag).partition("\n\n")[2]
    assert message == ("#1: five folds?\n\nLab-Parameter: my_search.folds=5\n"
                       "Lab-Parameter: my_search.name=\"$(touch x) 'é'\"")
    assert done.stdout.index("  Lab-Parameter: my_search.folds=5") < done.stdout.index("$ git push")
    lab.git("push", "-q", "origin", f":refs/tags/{tag}")
    lab.git("-C", ".lab/origin.git", "gc", "-q", "--prune=now")
    again = lab.lab("restart", "1")
    assert again.returncode == 0 and got in again.stdout
    lab.pipeline("", PIPELINE.replace("environment:", "clone: {depth: 1}\nenvironment:"))
    assert got in lab.lab("launch", "my-search", "folds=5", "name=$(touch x) 'é'", "-m",
                          "#1: five folds?").stdout
    assert "got {'folds': 3, 'name': 'a', 'default': {'trials': 20}} And now?" in lab.lab(
        "launch", "my-search", "-m", "And now?").stdout  # a message alone
    assert lab.git("tag").split() == [tag, tag.replace("v1", "v2"), "my-search-v3"]


def test_a_sweep_pushes_all_its_tags_at_once_and_runs_each(lab: Lab) -> None:
    done = lab.lab("launch", "my-search", "--sweep", "folds=4,5", "--sweep", "default.trials=1,2",
                   "-m", "How many?")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("$ git push origin refs/tags/") == 1
    runs = re.findall(r"got \{'folds': (\d).*'trials': (\d)\}\} How many\?", done.stdout)
    assert sorted(runs) == [(folds, trials) for folds in "45" for trials in "12"]
    assert {lab.build(number).status for number in range(1, 5)} == {"success"}
    numbers = re.findall(r"refs/tags/my-search-v(\d)", done.stdout.split("$ git push")[1])
    assert numbers[:4] == ["1", "2", "3", "4"]
    refused = lab.lab("launch", "my-search", "--sweep", "folds=1,2,3", "--limit", "2")
    assert refused.returncode == 1 and "type: --limit 3" in refused.stdout
    assert len(lab.git("tag").split()) == 4 and lab.build(5) is None


def test_what_is_wrong_is_said_before_a_tag_is_made(lab: Lab) -> None:
    for words, said in ((["all", "folds=5"], "my_search.folds=5 or other.folds=5"),
                        (["my-search", "other.epochs=5"], "my_search: unknown key 'other.epochs'"),
                        (["no-process", "folds=5"], "there are no parameters to change"),
                        (["my-search", "-m", "a\n\nLab-Parameter: b.c=1"], "cannot keep")):
        done = lab.lab("launch", *words)
        assert done.returncode == 1 and said in done.stdout, done.stdout
    lab.write("lab/processes/my_search/config.toml", "folds = ")
    lab.git("commit", "-qam", "Broken")
    assert "my_search/config.toml: " in lab.lab("launch", "my-search", "folds=5").stdout
    assert lab.git("tag") == "" and lab.build() is None


def test_where_one_tag_of_a_sweep_cannot_be_made_none_is(lab: Lab) -> None:
    from taglab.cli.launch import NewTag, launch
    lab.git("tag", "my-search-v2")
    status = launch(lab.path, "origin", [NewTag("my-search-v1"), NewTag("my-search-v2")])
    assert status != 0 and lab.git("tag").split() == ["my-search-v2"] and lab.build() is None


def test_a_tag_without_its_message_fails_the_build(lab: Lab) -> None:
    subprocess.run(["git", "tag", "my-search-v1.p0123abcd"], cwd=lab.path, check=True)
    shown = lab.git("push", "origin", "my-search-v1.p0123abcd")
    assert "this checkout has lost its message" in shown and "got" not in shown
    assert lab.steps()["my-search"] == "failure"
