"""Answers of a tracking server, and of a proxy before it, that are no results taken.

A real MLflow server stands behind a small proxy, which gives an answer of its own when it is told.
"""
from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from taglab.tracking import connect, start_run
from taglab.tracking.buffered_store import Undelivered
from taglab.tracking.command import replay_all
from taglab.tracking.connection import NoServer
from taglab.tracking.quick_mlflow import mlflow
from tests.lab.servers import Server, free_port, running

PAGE = "<html>a page of the proxy</html>"
MISSING = '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}'
READ_ONLY = '{"error_code": "BAD_REQUEST", "message": "cannot execute INSERT: read-only"}'


class Proxy(ThreadingHTTPServer):
    """Passes requests on to an MLflow server, or gives an answer of its own.

    answer: status and body for requests whose path holds `where`, or None to pass them on.
    """

    daemon_threads = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = behind
        self.answer: tuple[int, str] | None = None
        self.where = "/"
        self.uri = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """A request of the proxy."""

    server: Proxy

    def do_GET(self) -> None:
        """Answer, or pass on."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers["Transfer-Encoding"]:  # an empty file is sent in chunks
            assert self.rfile.readline() + self.rfile.readline() == b"0\r\n\r\n"
            del self.headers["Transfer-Encoding"]
        if self.server.answer and self.server.where in self.path:
            status, text = self.server.answer
            kind, answer = "application/json" if text[0] == "{" else "text/html", text.encode()
        else:
            behind = http.client.HTTPConnection("127.0.0.1", self.server.behind)
            behind.request(self.command, self.path, body, dict(self.headers))
            found = behind.getresponse()
            status, answer, kind = found.status, found.read(), found.headers["Content-Type"]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Server]:
    """An MLflow server."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    server = Server(
        [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port),
         "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
         "--artifacts-destination", str(folder / "artifacts")], folder, port,
        {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    with running(server):
        yield server


@pytest.fixture
def proxy(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy to which this process sends its results; behind it nothing listens."""
    proxy = Proxy(free_port())
    threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
    monkeypatch.setenv("LAB_STATE", str(own_store / "state"))
    monkeypatch.setattr("taglab.tracking.buffered_store.RETRY", 0.1)
    yield proxy
    proxy.shutdown()
    proxy.server_close()
    mlflow.set_tracking_uri(None)


@pytest.fixture
def before_server(proxy: Proxy, server: Server) -> Proxy:
    """A proxy before an MLflow server."""
    proxy.behind = server.port
    return proxy


def train(proxy: Proxy, lab: Path, answer: tuple[int, str], ends: bool = True) -> str:
    """Log before, during and after an outage that begins with the run; return the run's id."""
    with start_run(lab / "lab/processes/p/main.py", {"seed": 1}) as run:
        mlflow.log_metric("loss", 1.0, step=0)
        proxy.answer = answer
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_param("depth", 1)
        mlflow.log_text("kept", "deep/note.txt")
        mlflow.MlflowClient().log_param(run.info.run_id, "depth", 2)  # MLflow refuses to change it
        mlflow.log_metric("loss", 0.25, step=2)
        proxy.answer = None if ends else answer
    return run.info.run_id


def check(server: Server, run_id: str) -> None:
    """Assert that a server holds all of what `train` has logged."""
    client = mlflow.MlflowClient(server.uri)
    run = client.get_run(run_id)
    assert [each.value for each in client.get_metric_history(run_id, "loss")] == [1.0, 0.5, 0.25]
    assert run.info.status == "FINISHED" and run.data.params == {"seed": "1", "depth": "1"}
    mlflow.set_tracking_uri(server.uri)
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/deep/note.txt") == "kept"
    assert {item.path for item in client.list_artifacts(run_id)} >= {"output.log", "versions.txt"}


@pytest.mark.parametrize("answer", [
    (401, PAGE), (403, "Permission denied"), (400, PAGE), (404, PAGE), (405, PAGE), (413, PAGE),
    (404, '{"detail": "Not Found"}'), (404, MISSING), (400, READ_ONLY), (200, PAGE), (302, PAGE)],
    ids=lambda answer: f"{answer[0]}-{answer[1][:20]}")
def test_an_answer_that_takes_nothing_ends_no_training_and_loses_nothing(
        before_server: Proxy, server: Server, lab_folder: Path, answer: tuple[int, str],
        capsys: pytest.CaptureFixture[str]) -> None:
    run_id = train(before_server, lab_folder, answer)
    check(server, run_id)
    shown = capsys.readouterr().err
    assert "all results were sent" in shown and "the server refused LogParam" in shown, shown


@pytest.mark.parametrize("answer", [(200, PAGE), (200, "OK"), (302, PAGE), (401, PAGE)])
def test_an_upload_that_a_proxy_answers_is_kept(
        before_server: Proxy, server: Server, lab_folder: Path, answer: tuple[int, str]) -> None:
    before_server.where = "mlflow-artifacts"
    check(server, train(before_server, lab_folder, answer))


def test_what_a_login_has_kept_out_is_replayed(
        before_server: Proxy, server: Server, lab_folder: Path, own_store: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LAB_OUTBOX_SECONDS", "0.3")
    with pytest.raises(Undelivered, match="MLFLOW_TRACKING_TOKEN.* type: lab replay"):
        train(before_server, lab_folder, (401, PAGE), ends=False)
    before_server.where = "runs/"  # the experiment can be read
    assert replay_all([]) == 1
    assert "UNAUTHENTICATED" in (shown := capsys.readouterr().out) and "lab replay" in shown
    before_server.answer = (200, PAGE)
    before_server.where = "mlflow-artifacts"
    assert replay_all([]) == 1
    [folder] = (own_store / "state/outbox").iterdir()
    capsys.readouterr()
    assert replay_all([], as_json=True) == 1
    [kept] = json.loads(capsys.readouterr().out)
    assert kept["folder"] == str(folder) and not kept["sent"] and "lab replay" in kept["problem"]
    before_server.answer = None
    assert replay_all([], as_json=True) == 0 and not folder.exists()
    assert json.loads(capsys.readouterr().out) == [{**kept, "sent": True, "problem": ""}]
    client = mlflow.MlflowClient(server.uri)
    [run] = client.search_runs(
        [client.get_experiment_by_name("test").experiment_id], max_results=1)
    assert run.data.metrics["loss"] == 0.25
    assert [item.path for item in client.list_artifacts(run.info.run_id, "deep")] == [
        "deep/note.txt"]


@pytest.mark.parametrize("answer, words", [
    ((401, PAGE), "refuses you .* MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ((403, "Permission denied"), "refuses you .* MLFLOW_TRACKING_TOKEN"),
    ((404, PAGE), "is not the address of an MLflow server: .*404.* MLFLOW_TRACKING_URI"),
    ((404, '{"detail": "Not Found"}'), "is not the address of an MLflow server"),
    ((200, PAGE), "is not the address of an MLflow server"),
    ((503, PAGE), "no MLflow server answers at"),
])
def test_a_server_that_cannot_be_used_is_named_in_one_sentence(
        proxy: Proxy, answer: tuple[int, str], words: str) -> None:
    proxy.answer = answer
    started = time.monotonic()
    with pytest.raises(NoServer, match=f"error: .*{words}") as found:
        connect()
    assert proxy.uri in str(found.value) and "\n" not in str(found.value)
    assert replay_one(proxy) == str(found.value)
    assert time.monotonic() - started < 3


def replay_one(proxy: Proxy) -> str:
    """Return how `lab replay` ends."""
    with pytest.raises(NoServer) as found:
        replay_all([Path("any")])
    return str(found.value)


def test_who_may_read_but_not_write_is_told_so_at_the_start(
        before_server: Proxy, lab_folder: Path) -> None:
    before_server.answer, before_server.where = (403, "Permission denied"), "runs/create"
    with pytest.raises(SystemExit, match="refuses you .* MLFLOW_TRACKING_USERNAME"):
        with start_run(lab_folder / "lab/processes/p/main.py", {}):
            pytest.fail("the training has begun")


def test_a_run_that_never_was_is_still_an_error(before_server: Proxy, lab_folder: Path) -> None:
    with start_run(lab_folder / "lab/processes/p/main.py", {}):
        with pytest.raises(mlflow.MlflowException, match="RESOURCE_DOES_NOT_EXIST"):
            mlflow.MlflowClient().log_metric("0" * 32, "loss", 1.0)
