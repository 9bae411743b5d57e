import json
import signal
import socket
import subprocess
import sys
import urllib.request

import mlflow
import psutil
import pytest

from taglab.testing import environment, runs_in
from taglab.tracking import open_store, start_run
from taglab.tracking.command import main
from taglab.tracking.ui import free_port
from taglab.tracking.view import runs_page


def log_build(build: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRONE_BUILD_NUMBER", build)
    monkeypatch.setenv("DRONE_TAG", "wine-v1")
    with start_run("wine/main.py", {}):
        for accuracy in (0.5, 0.75):
            with mlflow.start_run(run_name=f"trial {accuracy}", nested=True):
                mlflow.log_metrics({"validation_accuracy": accuracy, "loss": 3.0})
        mlflow.log_metrics({"test_accuracy": 0.987654, "validation_accuracy": 0.75})


def test_the_summary_of_a_build_shows_its_runs_and_no_others(own_store, monkeypatch, capfd):
    assert main(["summary", "--build", "7"]) == 0
    assert capfd.readouterr().out == "no runs in build 7\n"
    log_build("6", monkeypatch)
    log_build("7", monkeypatch)
    capfd.readouterr()
    assert main(["summary", "--build", "7"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split("  ")[0] or line.split()[0] for line in lines[:2]] == ["run", "wine"]
    assert [line.split()[-2:] for line in lines[1:]] == [
        ["test_accuracy", "0.9877"], ["validation_accuracy", "0.5"],
        ["validation_accuracy", "0.75"]]
    assert lines[2].startswith("  trial 0.5") and max(map(len, lines)) <= 80
    assert main(["summary"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 7 and lines[0].split()[:4] == ["run", "tag", "build", "age"]
    assert [line.split()[:3] for line in lines if line.startswith("wine")] == [
        ["wine", "wine-v1", "6"], ["wine", "wine-v1", "7"]]


def test_the_summary_names_what_was_reused_and_json_nests_the_runs(own_store, monkeypatch, capfd):
    assert main(["summary", "--json"]) == main(["summary", "--json", "--build", "7"]) == 0
    assert capfd.readouterr().out == "[]\n[]\n"
    log_build("7", monkeypatch)
    [run] = runs_in(own_store)[1]
    client = open_store()
    client.set_tag(run.info.run_id, "reused.8", "true")
    client.log_metric(run.info.run_id, "loss", float("nan"))
    capfd.readouterr()
    assert main(["summary", "--build", "8"]) == 0
    assert capfd.readouterr().out.startswith(f"done before: wine in build 7, run {run.info.run_id}")
    for words in ([], ["--build", "7"], ["--build", "8"]):
        assert main(["summary", "--json", *words]) == 0
        [shown] = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)
        assert shown["tags"]["build"] == "7" and shown["metrics"]["loss"] == "nan"
        assert shown["finished"] >= shown["started"] > 1e9
        assert [each["name"] for each in shown["runs"]] == (
            [] if words[1:] == ["8"] else ["trial 0.5", "trial 0.75"])
    assert main(["replay", "--json"]) == 0 and json.loads(capfd.readouterr().out) == []


def test_kill_ends_only_the_running_runs_of_the_build(own_store, monkeypatch, capfd):
    log_build("7", monkeypatch)
    client, [finished], _ = runs_in(own_store)
    running = {build: client.create_run(finished.info.experiment_id, tags={"build": build})
               for build in ("7", "8")}
    assert main(["kill", "--build", "7"]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "1 runs marked as killed"
    assert [client.get_run(running[build].info.run_id).info.status for build in ("7", "8")] == [
        "KILLED", "RUNNING"]
    assert client.get_run(finished.info.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("words", [[], ["kill"], ["summary", "--bild", "1"], ["uii"]])
def test_wrong_usage_ends_with_status_3(words, capfd):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 3 and "error: " in capfd.readouterr().err


def test_the_ui_shows_the_store_and_leaves_no_process(own_store):
    with start_run("wine/main.py", {}) as run:
        mlflow.log_text("hello", "hello.txt")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        port = busy.getsockname()[1]
        ui = subprocess.Popen(
            [sys.executable, "-m", "taglab.tracking", "ui", "--port", str(port)],
            env=environment(own_store), stdout=subprocess.PIPE, text=True)
        address = ui.stdout.readline().removeprefix("MLflow: ").partition("/#")[0].strip()
    assert address.startswith("http://127.0.0.1:") and not address.endswith(f":{port}")
    with urllib.request.urlopen(
            f"{address}/get-artifact?run_id={run.info.run_id}&path=hello.txt") as answer:
        assert answer.read() == b"hello"
    children = psutil.Process(ui.pid).children()
    ui.send_signal(signal.SIGINT)
    assert ui.wait(timeout=20) == 0
    assert children and not any(child.is_running() for child in children)
    assert free_port(int(address.rpartition(":")[2])) == int(address.rpartition(":")[2])


def test_the_ui_of_a_server_is_its_address(monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow-server:5000")
    assert main(["ui"]) == 0
    assert capfd.readouterr().out == "MLflow: http://mlflow-server:5000\n"


def test_the_page_of_the_ui_shows_the_tag_and_the_main_metrics(own_store, monkeypatch):
    client = open_store()
    assert runs_page(client, "test") == ""
    log_build("7", monkeypatch)
    assert runs_page(client, "test").endswith("&viewStateShareKey=taglab")
    view = json.loads(client.get_experiment_by_name("test").tags["mlflow.sharedViewState.taglab"])
    columns = ["tags.`tag`", "metrics.`test_accuracy`"]
    assert view["selectedColumns"] == view["columnOrder"] == [*view["columnWidths"]] == columns
