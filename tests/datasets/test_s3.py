"""Data in a bucket of a real S3 server."""
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.lab.conftest import BakedLab
from tests.lab.servers import S3_KEYS, s3_server

from .conftest import DataLab
from .test_entries import second

pytest.importorskip("boto3", reason="needs boto3, a package of a lab")


@pytest.mark.xdist_group("none")  # where another test runs the same server
def test_data_reach_a_second_clone_through_a_bucket_and_come_from_one(
        lab: DataLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "images").mkdir()
    for name in ("a", "b ä"):
        (tmp_path / "images" / name).write_text(f"image {name}")
    (tmp_path / "large").write_bytes(os.urandom(9 << 20))  # sent in parts
    with s3_server(BakedLab(lab.path), tmp_path / "s3") as server:
        keys = {**S3_KEYS, "MLFLOW_S3_ENDPOINT_URL": server.uri}
        lab.ok("add", tmp_path / "images")
        lab.ok("add", tmp_path / "large")
        assert "sent to s3://lab/data" in lab.ok("push", "--store", "s3://lab/data/", **keys)
        assert lab.ok("push", **keys).count("is there") == 2
        assert lab.ok("status", **keys).count("here and in the store") == 2
        clone = second(lab)
        assert clone.ok("get", **keys).count("received") == 2
        # An object is an address, too; a download of it goes on where it was.
        [large] = [path for path in clone.objects() if path.stat().st_size == 9 << 20]
        address = f"s3://lab/data/{large.name[:2]}/{large.name}"
        lab.ok("add", address, "--name", "far", **keys)
        third = DataLab(clone.path, tmp_path / "third")
        (third.path / "data.lock").write_text(
            (lab.path / "data.lock").read_text().replace("s3://lab/data/\"", "s3://lab/none\""))
        part = third.cache / "parts" / large.name
        part.parent.mkdir(parents=True)
        part.write_bytes(large.read_bytes()[:5 << 20])
        assert "received" in third.ok("get", "far", **keys)
        assert not part.exists()
        wrong = {**keys, "AWS_SECRET_ACCESS_KEY": "wrong"}
        assert "403" in lab.error("push", "--store", "s3://lab/other", **wrong)
    assert "the store was not reached" in lab.ok("status", "large", **keys)
