"""What this library uses of MLflow that MLflow does not document, and whether it is still there.

A new MLflow may move any of it. Then a test here fails; mend the module and its docstring.
"""

import ast
import importlib
import inspect
import json
import logging
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from taglab.testing import run_python, runs_in
from taglab.tracking import connect
from taglab.tracking.buffered_store import UPLOADS, BufferedStore, buffered
from taglab.tracking.connection import _is_not_about_pickle
from taglab.tracking.outbox import WRITES, Outbox
from taglab.tracking.quick_mlflow import mlflow
from taglab.tracking.store import ADDRESSES
from taglab.tracking.view import PARAMETER, TAG
from mlflow.entities import (
    LoggedModelOutput, LoggedModelParameter, LoggedModelStatus, LoggedModelTag, Metric, Param,
    RunTag)
from mlflow.models import Model
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service.client import TrackingServiceClient
from mlflow.tracking.context.registry import resolve_tags
from sklearn.dummy import DummyClassifier
from tests.runner.conftest import SOURCE

LIBRARY = SOURCE / "taglab"
NOT_OF_MLFLOW = {"_trial_id"}  # but of Optuna
DOCUMENTED = {"mlflow", "mlflow.entities", "mlflow.exceptions"}
RUN_CONTEXT = "MLFLOW_RUN_CONTEXT"
ARTIFACTS = "mlflow.store.artifact.artifact_repository_registry"
MODELS = "mlflow.store.tracking.dbmodels.models"
REST_STORE = "mlflow.store.tracking.rest_store.RestStore"
SERVICE = "mlflow.tracking._tracking_service"
VALIDATION = "mlflow.utils.validation"

# The modules of the library, or folders of them, and the names that each uses: imports, attributes
# that begin with an underscore, and variables of the environment.
TABLE = {
    "tracking/buffered_store.py": {
        "mlflow.protos.service_pb2", REST_STORE, "_call_endpoint", f"{SERVICE}.utils",
        f"{SERVICE}.client.TrackingServiceClient", "_get_rest_store", "_tracking_store_registry",
        "_get_store_with_resolved_uri", "mlflow.utils.credentials.get_default_host_creds"},
    "tracking/outbox.py": {
        "mlflow.protos.service_pb2", REST_STORE, "_call_endpoint",
        f"{SERVICE}.utils._get_rest_store"},
    "tracking/context.py": {RUN_CONTEXT, "mlflow.tracking.context.registry.resolve_tags"},
    "tracking/server_errors.py": {
        "mlflow.utils.rest_utils", "_get_http_response_with_retries"},
    "search/": {f"{ARTIFACTS}.get_artifact_repository"},
    "tracking/sqlalchemy_runs.py": {
        f"{SERVICE}.utils._get_store", "mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore",
        "mlflow.utils.uri.append_to_uri_path", f"{MODELS}.SqlLatestMetric", f"{MODELS}.SqlMetric",
        f"{MODELS}.SqlParam", f"{MODELS}.SqlRun", f"{MODELS}.SqlTag"},
    "tracking/run.py": {"mlflow.ActiveRun.__exit__"},
    "tracking/store.py": {"mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore"},
    "training/": {
        "mlflow.utils.file_utils.local_file_uri_to_path", f"{VALIDATION}.MAX_ENTITY_KEY_LENGTH",
        f"{VALIDATION}.path_not_unique", f"{VALIDATION}.validate_param_and_metric_name"},
}
# Where the attributes are, and the parameters that the library relies on; None: not a function.
SIGNATURES = {
    "mlflow.ActiveRun.__exit__": ["self", "exc_type", "exc_val", "exc_tb"],
    "mlflow.protos.service_pb2": None,
    f"{ARTIFACTS}.get_artifact_repository": [
        "artifact_uri", "tracking_uri", "registry_uri"],
    **dict.fromkeys((f"{MODELS}.{name}" for name in (
        "SqlLatestMetric", "SqlMetric", "SqlParam", "SqlRun", "SqlTag"))),
    "mlflow.utils.uri.append_to_uri_path": ["uri", "paths"],
    "mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore": [
        "db_uri", "default_artifact_root", "read_db_uri"],
    "mlflow.tracking.context.registry.resolve_tags": ["tags", "ignore"],
    "mlflow.utils.credentials.get_default_host_creds": ["store_uri"],
    "mlflow.utils.file_utils.local_file_uri_to_path": ["uri"],
    REST_STORE: ["get_host_creds"],
    f"{REST_STORE}._call_endpoint": [
        "self", "api", "json_body", "endpoint", "retry_timeout_seconds", "response_proto"],
    f"{SERVICE}.client.TrackingServiceClient": ["tracking_uri"],
    f"{SERVICE}.client.TrackingServiceClient.log_artifact": [
        "self", "run_id", "local_path", "artifact_path"],
    f"{SERVICE}.client.TrackingServiceClient.log_artifacts": [
        "self", "run_id", "local_dir", "artifact_path"],
    f"{SERVICE}.client.TrackingServiceClient.log_model_artifacts": [
        "self", "model_id", "local_dir", "artifact_path"],
    f"{SERVICE}.utils": None,
    f"{SERVICE}.utils._get_rest_store": ["store_uri", "_"],
    f"{SERVICE}.utils._get_store": ["store_uri", "artifact_uri"],
    f"{SERVICE}.utils._tracking_store_registry": None,
    f"{SERVICE}.utils._tracking_store_registry.register": ["scheme", "store_builder"],
    f"{SERVICE}.utils._tracking_store_registry._get_store_with_resolved_uri": [
        "resolved_store_uri", "artifact_uri"],
    "mlflow.utils.rest_utils": None,
    "mlflow.utils.rest_utils._get_http_response_with_retries": [
        "method", "url", "max_retries", "backoff_factor", "backoff_jitter", "retry_codes",
        "raise_on_status", "allow_redirects", "respect_retry_after_header", "kwargs"],
    f"{VALIDATION}.MAX_ENTITY_KEY_LENGTH": None,
    f"{VALIDATION}.path_not_unique": ["name"],
    f"{VALIDATION}.validate_param_and_metric_name": ["name"],
}


def used_names(source: str) -> set[str]:
    """Return the undocumented names of MLflow that a module uses, as TABLE writes them."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    found = {RUN_CONTEXT for node in ast.walk(tree)
             if isinstance(node, ast.Constant) and node.value == RUN_CONTEXT}
    if not any("mlflow" in ast.unparse(node) for node in imports):
        return found
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "mlflow":
                found |= {f"{module}.{each.name}" for each in node.names
                          if module not in DOCUMENTED or each.name.startswith("_")}
            case ast.Import():
                found |= {each.name for each in node.names
                          if each.name.split(".")[0] == "mlflow" and each.name not in DOCUMENTED}
            case ast.Attribute(value=value, attr=attr) if attr.startswith("_"):
                owner = ast.unparse(value)
                if not attr.endswith("__") and owner not in ("self", "os"):
                    found.add(attr)
                elif owner.startswith("mlflow."):
                    found.add(f"{owner}.{attr}")
    return found - NOT_OF_MLFLOW


def resolve(name: str) -> Any:
    """Return what a dotted name stands for."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found


def test_no_module_uses_what_the_table_does_not_list():
    used = {file.relative_to(LIBRARY).as_posix(): used_names(file.read_text())
            for file in LIBRARY.rglob("*.py")}
    listed = {name: next((TABLE[place] for place in TABLE if name.startswith(place)), set())
              for name in used}
    assert {name: used[name] - listed[name] for name in used if used[name] - listed[name]} == {}


@pytest.mark.parametrize("place", TABLE)
def test_the_table_lists_nothing_that_is_not_used(place):
    files = [LIBRARY / place] if place.endswith(".py") else (LIBRARY / place).rglob("*.py")
    assert set().union(*(used_names(file.read_text()) for file in files)) == TABLE[place]


def test_every_name_of_the_table_has_a_test():
    tested = {*SIGNATURES, *(name.rpartition(".")[2] for name in SIGNATURES), RUN_CONTEXT}
    assert set().union(*TABLE.values()) <= tested


@pytest.mark.parametrize("source, found", [
    ("from mlflow.utils._x import y", {"mlflow.utils._x.y"}),
    ("from mlflow.entities import _run", {"mlflow.entities._run"}),
    ("import mlflow.server.handlers", {"mlflow.server.handlers"}),
    ("import mlflow\nmlflow.MlflowClient()._tracking_client.store", {"_tracking_client"}),
    ("import mlflow\nmlflow.ActiveRun.__enter__", {"mlflow.ActiveRun.__enter__"}),
    ("import mlflow\nmlflow.__version__; self._own; os._exit(0)", set()),
    ("from mlflow.entities import Run", set()),
    ("other._private", set()),
])
def test_undocumented_names_are_found(source, found):
    assert used_names(source) == found


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_name_is_there_and_takes_what_the_library_passes(name):
    found, parameters = resolve(name), SIGNATURES[name]
    assert parameters is None or [*inspect.signature(found).parameters] == parameters


@pytest.mark.parametrize("name", [name for name in TABLE if name.startswith("tracking/")]
                         + ["tracking/schema.py", "tracking/signals.py", "tracking/view.py"])
def test_the_docstring_names_the_version_it_was_checked_with(name):
    docstring = " ".join(ast.get_docstring(ast.parse((LIBRARY / name).read_text())).split())
    assert f"MLflow {mlflow.__version__}" in docstring
    named = {each for each in TABLE.get(name, ()) if not each.endswith((".utils", "_pb2"))}
    assert [each for each in named if each.rpartition(".")[2] not in docstring] == []


def test_each_write_passes_through_the_one_method_and_its_answer_can_be_made_up(
        tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store = BufferedStore("http://127.0.0.1:9", Outbox(tmp_path / "outbox"))
    run = store.create_run("1", "ann", 1000, [RunTag("a", "b")], "first")
    run_id = run.info.run_id
    assert (run.info.run_name, run.info.status, run.data.tags) == ("first", "RUNNING", {"a": "b"})
    store.log_metric(run_id, Metric("loss", 1.0, 1000, 0))
    store.log_param(run_id, Param("depth", "3"))
    store.log_batch(run_id, [Metric("loss", 1.0, 1000, 0)], [], [])
    store.set_tag(run_id, RunTag("c", "d"))
    store.log_inputs(run_id, [])
    store.record_logged_model(run_id, Model(run_id=run_id))
    model = store.create_logged_model("1", "model", run_id, params=[LoggedModelParameter("a", "b")])
    assert (model.name, model.source_run_id, model.params) == ("model", run_id, {"a": "b"})
    store.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    store.log_logged_model_params(model.model_id, [LoggedModelParameter("a", "b")])
    store.set_logged_model_tags(model.model_id, [LoggedModelTag("a", "b")])
    done = store.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    assert (done.name, done.status) == ("model", LoggedModelStatus.READY)
    assert store.get_logged_model(model.model_id).name == "model"
    ended = store.update_run_info(run_id, 3, 2000, "second")  # 3 is FINISHED
    assert (ended.status, ended.run_name) == ("FINISHED", "second")
    assert store.get_run(run_id).info.run_id == run_id
    lines = (tmp_path / "outbox" / "calls.jsonl").read_text().splitlines()
    assert {json.loads(line)["api"] for line in lines} == set(WRITES)
    shutil.rmtree(tmp_path / "outbox")  # then the thread that sends ends
    store._sender.join(10)


def test_mlflow_uses_the_buffered_store_until_the_body_ends(tmp_path):
    uri = "http://127.0.0.1:9"
    original = {name: getattr(TrackingServiceClient, name) for name in UPLOADS}
    assert type(mlflow.MlflowClient(uri)._tracking_client.store) is RestStore
    with buffered(uri, tmp_path / "outbox"):
        assert type(mlflow.MlflowClient(uri)._tracking_client.store) is BufferedStore
        assert all(getattr(TrackingServiceClient, name) is not original[name] for name in UPLOADS)
    assert type(mlflow.MlflowClient(uri)._tracking_client.store) is RestStore
    assert all(getattr(TrackingServiceClient, name) is original[name] for name in UPLOADS)


def test_the_run_context_becomes_the_tags_of_every_run(own_store, monkeypatch):
    monkeypatch.setenv(RUN_CONTEXT, json.dumps({"commit": "abc"}))
    assert resolve_tags()["commit"] == "abc"
    connect()
    with mlflow.start_run(), mlflow.start_run(nested=True):
        pass
    _, parents, nested = runs_in(own_store)
    assert [run.data.tags["commit"] for run in parents + nested] == ["abc", "abc"]


def test_the_with_statement_of_a_run_ends_it_by_the_method_that_is_replaced(own_store, monkeypatch):
    connect()
    left = []
    original = mlflow.ActiveRun.__exit__
    monkeypatch.setattr(mlflow.ActiveRun, "__exit__", lambda run, *error: (
        left.append(run.info.run_id), original(run, *error))[1])
    with mlflow.start_run() as run:
        pass
    assert left == [run.info.run_id] and mlflow.active_run() is None


def test_the_ui_reads_the_view_where_it_is_stored():
    scripts = Path(mlflow.__file__).parent.glob("server/js/build/static/js/main.*.js")
    text = "".join(script.read_text(encoding="utf-8") for script in scripts)
    assert [name for name in (TAG, PARAMETER, "selectedColumns", "columnOrder", "columnWidths")
            if f'"{name}"' not in text] == []


def test_the_columns_of_addresses_are_there(own_store):
    with sqlite3.connect(own_store / "mlflow.db") as connection:
        for table, column in ADDRESSES:
            connection.execute(f"SELECT {column} FROM {table}")


def test_a_new_store_is_created_in_silence(tmp_path):
    done = run_python("-c", "import sys\nfrom pathlib import Path\n"
                      "from taglab.tracking.store import prepare\nprepare(Path(sys.argv[1]))",
                      tmp_path / "mlflow.db", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_warning_about_pickled_models_is_dropped(own_store):
    connect()
    records, logger = [], logging.getLogger("mlflow.sklearn")
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger.addHandler(handler)

    def log_model() -> None:
        mlflow.sklearn.log_model(DummyClassifier().fit([[0]], ["a"]), name="dummy",
                                 serialization_format="pickle", pip_requirements=[])

    try:
        with mlflow.start_run():
            log_model()
            assert not records
            logger.removeFilter(_is_not_about_pickle)
            log_model()
            assert any("execute arbitrary code" in text for text in records)
    finally:
        logger.removeHandler(handler)
