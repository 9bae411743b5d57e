"""Results that a tracking server could not take: kept in a folder, sent once it is back.

Calls of MLflow's REST API wait in their order, artifacts by run or model. What is created while the
server is away has an id of ours until the server assigns its own.

This module uses what MLflow does not document, checked with MLflow 3.17.2: the protobuf messages of
the REST API (`mlflow.protos`), `RestStore._call_endpoint`, and `_get_rest_store`.
"""

import json
import shutil
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as rest
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service.utils import _get_rest_store

from taglab.tracking.server_errors import MISSING, checked_answers, error_code, is_away, reason

Message = Any  # of protobuf, which has no types

# The calls that may wait, since nothing depends on their answers but ids.
WRITES = {each.__name__: each for each in (
    rest.CreateRun, rest.UpdateRun, rest.LogMetric, rest.LogParam, rest.LogBatch, rest.SetTag,
    rest.LogInputs, rest.LogOutputs, rest.LogModel, rest.CreateLoggedModel,
    rest.FinalizeLoggedModel, rest.LogLoggedModelParamsRequest, rest.SetLoggedModelTags)}


@dataclass(frozen=True)
class Call:
    """A call of MLflow's REST API; `made` is our id of the run or model that it creates."""

    api: str
    body: str
    endpoint: str | None = None
    made: str = ""


class Outbox:
    """A folder of calls and artifacts that wait for the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._calls, self._sent = folder / "calls.jsonl", folder / "sent"
        self._ids, self._artifacts = folder / "names.json", folder / "artifacts"

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._calls.exists() and not any(self._artifacts.glob("*"))

    def artifacts(self, owner: str) -> Path:
        """Return the folder in which the artifacts of a run or a model wait."""
        return self._artifacts / owner

    def keep(self, call: Call) -> None:
        """Append a call; it is in the file when this returns."""
        with self.lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._calls.open("ab", buffering=0) as file:
                size = file.tell()
                line = f"{json.dumps(asdict(call))}\n".encode()
                try:
                    while line:
                        line = line[file.write(line):]
                except OSError:  # a full disk: half a line would be in the way of the others
                    file.truncate(size)
                    raise

    def keep_files(self, owner: str, path: Path, below: str | None = None) -> None:
        """Copy a file, or the contents of a folder, to the artifacts that wait.

        `owner` is the id of a run or a model, `below` the folder among its artifacts.
        """
        with self.lock:
            folder = self.artifacts(owner) / (below or "")
            folder.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, folder, dirs_exist_ok=True)
            else:
                shutil.copy(path, folder)

    def with_server_ids(self, text: str) -> str:
        """Return a text with our ids replaced by the server's, where it has assigned them."""
        for ours, servers in self._known_ids().items():
            text = text.replace(ours, servers)
        return text

    def send(self, store: RestStore, client: MlflowClient) -> None:
        """Send all that waits, oldest first. Raises the error of what the server does not take.

        What it refuses for what it is, is in a warning; artifacts of that kind hold up no others.
        """
        refusal: Exception | None = None
        while calls := self._waiting():
            for call in calls:
                self._send_call(call, store)
        with self.lock:
            for folder in sorted(self._artifacts.glob("*")):
                is_model = folder.name.startswith("m-")
                upload = client.log_model_artifacts if is_model else client.log_artifacts
                try:
                    upload(self.with_server_ids(folder.name), str(folder))
                except Exception as error:
                    if is_away(error) or error_code(error) == MISSING:
                        raise
                    refusal = error
                else:
                    shutil.rmtree(folder)
        if refusal:
            raise refusal

    def _waiting(self) -> list[Call]:
        """Return the calls that were not sent; remove the file when there are none."""
        with self.lock:
            lines = self._calls.read_text().splitlines() if self._calls.exists() else []
            left = lines[self._number_sent():]
            if not left:
                self._calls.unlink(missing_ok=True)
                self._sent.unlink(missing_ok=True)
            return [Call(**json.loads(line)) for line in left]

    def _number_sent(self) -> int:
        return int(self._sent.read_text()) if self._sent.exists() else 0

    def _known_ids(self) -> dict[str, str]:
        return dict(json.loads(self._ids.read_text())) if self._ids.exists() else {}

    def _send_call(self, call: Call, store: RestStore) -> None:
        try:
            # Of the class: a buffered store's own method would keep the call once more.
            answer = RestStore._call_endpoint(  # type: ignore[no-untyped-call]  # MLflow's
                store, WRITES[call.api], self.with_server_ids(call.body),
                call.endpoint and self.with_server_ids(call.endpoint))
            if call.made:
                ids = self._known_ids() | {call.made: _created_id(answer)}
                _replace(self._ids, json.dumps(ids))
        except MlflowException as error:
            if is_away(error) or error_code(error) == MISSING:  # a server may be restored
                raise
            print(f"warning: the server refused {call.api} {call.body[:500]}: {error.message}",
                  file=sys.stderr)
        _replace(self._sent, str(self._number_sent() + 1))


def replay(folder: Path, uri: str) -> str:
    """Send what waits in a folder, then remove it; return "", or what to do about what is left."""
    try:
        with checked_answers(uri):
            store = _get_rest_store(uri)  # type: ignore[no-untyped-call]  # MLflow's
            Outbox(folder).send(store, MlflowClient(uri))
    except Exception as error:  # whatever the artifacts' storage raises, too
        return (f"error: {uri} does not take all of what waits in {folder} ({reason(error)}). "
                "Once that is put right, type: lab replay")
    shutil.rmtree(folder)
    return ""


def _replace(file: Path, text: str) -> None:
    """Write a file anew, whole or not at all."""
    draft = file.with_suffix(".new")
    draft.write_text(text)
    draft.replace(file)


def _created_id(answer: Message) -> str:
    """Return the server's id of the run or the model that an answer holds."""
    return str(answer.run.info.run_id if hasattr(answer, "run") else answer.model.info.model_id)
