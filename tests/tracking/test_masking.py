"""Secrets stand in nothing that a run stores."""
import os

import mlflow
import pytest
import yaml
from hypothesis import given, strategies

from taglab.search import search
from taglab.testing import runs_in
from taglab.tracking import start_run
from taglab.tracking.masking import mask_file, read_mask, secret_names

PIPELINES = """\
kind: pipeline
steps:
- name: a
  environment: &all
    PASSWORD: &secret {from_secret: password}
    LEVEL: high
- name: b
  environment:
    <<: *all
    TOKEN:
      from_secret: token
    SAME: *secret
  settings: {api-key: {from_secret: key}}
---
kind: pipeline
services: [{name: c, environment: {"KEY": {from_secret: key}}}]
"""
names = strategies.text("ABC_9", min_size=1)


def test_the_names_of_secrets_are_those_with_from_secret():
    found = {name for name in secret_names(PIPELINES) if not name.startswith("PLUGIN_")}
    assert found == {"PASSWORD", "TOKEN", "SAME", "api-key", "KEY"}
    assert "PLUGIN_API-KEY" in secret_names(PIPELINES)


@pytest.mark.parametrize(
    "text", ["", "a: [", "\t", "\0", "- x", "&a [*a]", "!!python/x {}", "1: 2"])
def test_a_file_without_secrets_names_none(text):
    assert secret_names(text) == set()


@given(secrets=strategies.sets(names), others=strategies.dictionaries(names, strategies.text()))
def test_every_secret_is_found_wherever_it_stands(secrets, others):
    given_all = {**others, **{name: {"from_secret": "x"} for name in secrets}}
    text = yaml.safe_dump_all([{"steps": [[{"environment": given_all}]]}, {"a": 1}])
    assert {name for name in secret_names(text) if not name.startswith("PLUGIN_")} == secrets


def test_a_file_is_masked_line_by_line(lab_folder, tmp_path):
    (lab_folder / ".drone.yml").write_text(PIPELINES)
    variables = {"LAB_ROOT": str(lab_folder), "PASSWORD": "hunter2", "TOKEN": "one\ntwo three\n",
                 "KEY": "", "LEVEL": "high"}
    (tmp_path / "log").write_bytes(b"high hunter2,hunter2\r\none\ntwo three\xff\nend")
    mask_file(tmp_path / "log", read_mask(variables))
    assert (tmp_path / "log").read_bytes() == b"high ******,******\r\n******\n******\xff\nend"
    assert list(tmp_path.iterdir()) == [tmp_path / "log"]


def test_no_secret_is_in_what_a_run_and_its_trials_store(lab_folder, own_store, monkeypatch):
    (lab_folder / ".drone.yml").write_text(PIPELINES)
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PASSWORD", "hunter2")
    os.system(f"git init -q {lab_folder}")
    (lab_folder / "new.py").write_text("login('hunter2')")

    def train(x):
        print("tried hunter2")
        raise ValueError("refused: hunter2")

    with pytest.raises(ValueError, match="hunter2"):
        with start_run("quick/main.py", {}):
            os.system("echo printed $PASSWORD")
            with pytest.raises(RuntimeError):
                search(train, {"x": [1]}, method="grid", metric="score",
                       direction="minimize")
            raise ValueError("hunter2 is wrong")
    client, [parent], [trial] = runs_in(own_store)
    texts = {path: mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{path}")
             for run, paths in ((parent, ["output.log", "uncommitted.patch"]),
                                (trial, ["output.log", "traceback.txt"])) for path in paths}
    assert "+login('******')" in texts["uncommitted.patch"]
    assert "refused: ******" in texts["traceback.txt"]
    log = mlflow.artifacts.load_text(f"runs:/{parent.info.run_id}/output.log")
    assert "printed ******\n" in log and "ValueError: ****** is wrong" in log
    assert "tried ******" in mlflow.artifacts.load_text(f"runs:/{trial.info.run_id}/output.log")
    assert "hunter2" not in str([texts, log, trial.data.tags, parent.data.tags])
