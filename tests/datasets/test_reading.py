"""What a run records of the data that it reads."""
from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
import mlflow

from taglab.datasets import DataError, path
from taglab.datasets.entries import add
from taglab.datasets.lock import Lock, write_lock
from taglab.datasets.objects import Cache, cache_folder


def test_a_run_has_its_data_as_input_and_tag_and_fails_before_training_without(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes seconds to make
    monkeypatch.setenv("LAB_ROOT", str(tmp_path))
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "cache"))
    (tmp_path / "prices.csv").write_text("day,price\n")
    cache, now = Cache(cache_folder()), datetime.now(timezone.utc)
    entry = add(tmp_path, Lock(), cache, str(tmp_path / "prices.csv"), "", now)
    gone = replace(entry, name="gone", sha256="0" * 64)
    write_lock(tmp_path, Lock("", {each.name: each for each in (entry, gone)}))
    assert path("prices.csv").read_text() == "day,price\n"  # in no run
    try:
        mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
        with mlflow.start_run() as started:
            assert path("prices.csv") == path("prices.csv")
        run = mlflow.get_run(started.info.run_id)
    finally:
        mlflow.set_tracking_uri(before)
    digest = hashlib.sha256(b"day,price\n").hexdigest()
    assert {name: value for name, value in run.data.tags.items() if name.startswith("data.")} == {
        "data.prices.csv": digest}
    [given] = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest, given.dataset.source) == (
        "prices.csv", digest[:32], '{"uri": "prices.csv"}')
    for file in (tmp_path / "prices.csv", cache.object(digest)):
        file.unlink()
    with pytest.raises(DataError, match="gone cannot be had: prices.csv: .*No such file"):
        path("gone")
    with pytest.raises(DataError, match="does not name 'x'; it names gone, prices.csv"):
        path("x")


def test_the_cache_is_the_user_s_own_or_in_a_pod_beside_its_state() -> None:
    home = {"XDG_CACHE_HOME": "/home/ann/.cache"}
    state = {**home, "LAB_STATE": "/shared/state"}
    assert cache_folder(home) == cache_folder(state) == Path("/home/ann/.cache/taglab/data")
    assert cache_folder({**state, "DRONE_BUILD_NUMBER": "1"}) == Path("/shared/state/data")
    assert cache_folder({**home, "LAB_STATE": "s3://x", "DRONE_BUILD_NUMBER": "1"}) == (
        Path("/home/ann/.cache/taglab/data"))
    assert cache_folder({**state, "LAB_DATA": "/big/data"}) == Path("/big/data")
