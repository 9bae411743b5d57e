"""What a tracking server could not take: kept in a folder, and sent once the server is back.

Calls of MLflow's REST interface wait in their order, artifacts by run or model. What was made
while the server was away has a name of its own until the server gives it another.
"""

import json
import shutil
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from google.protobuf.message import Message
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as rest
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service.utils import _get_rest_store

WRITES = {each.__name__: each for each in (
    rest.CreateRun, rest.UpdateRun, rest.LogMetric, rest.LogParam, rest.LogBatch, rest.SetTag,
    rest.LogInputs, rest.LogOutputs, rest.LogModel, rest.CreateLoggedModel,
    rest.FinalizeLoggedModel, rest.LogLoggedModelParamsRequest, rest.SetLoggedModelTags)}


@dataclass(frozen=True)
class Call:
    """One call of MLflow's REST interface; `made` is our name of the run or model it makes."""

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
        self._names, self._artifacts = folder / "names.json", folder / "artifacts"

    @property
    def is_empty(self) -> bool:
        """Say whether nothing waits."""
        return not self._calls.exists() and not any(self._artifacts.glob("*"))

    def artifacts(self, owner: str) -> Path:
        """Return the folder in which the artifacts of a run or a model wait."""
        return self._artifacts / owner

    def keep(self, call: Call) -> None:
        """Add a call; it is in the file when this returns."""
        with self.lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._calls.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(call)) + "\n")

    def keep_files(self, owner: str, path: Path, below: str | None = None) -> None:
        """Copy a file, or what is in a folder, to the artifacts that wait."""
        with self.lock:
            folder = self.artifacts(owner) / (below or "")
            folder.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, folder, dirs_exist_ok=True)
            else:
                shutil.copy(path, folder)

    def named(self, text: str | None) -> str | None:
        """Return a text with the server's names of the runs and models that were made here."""
        names = json.loads(self._names.read_text()) if text and self._names.exists() else {}
        for ours, servers in names.items():
            text = text.replace(ours, servers)
        return text

    def send(self, store: RestStore, client: MlflowClient) -> None:
        """Send all that waits, oldest first. Raises MlflowException while the server is away."""
        while calls := self._waiting():
            for call in calls:
                self._send_call(call, store)
        with self.lock:
            for folder in sorted(self._artifacts.glob("*")):
                model = folder.name.startswith("m-")
                upload = client.log_model_artifacts if model else client.log_artifacts
                upload(self.named(folder.name), str(folder))
                shutil.rmtree(folder)

    def _waiting(self) -> list[Call]:
        with self.lock:
            lines = self._calls.read_text().splitlines() if self._calls.exists() else []
            left = lines[self._number_sent():]
            if not left:
                self._calls.unlink(missing_ok=True)
                self._sent.unlink(missing_ok=True)
            return [Call(**json.loads(line)) for line in left]

    def _number_sent(self) -> int:
        return int(self._sent.read_text()) if self._sent.exists() else 0

    def _send_call(self, call: Call, store: RestStore) -> None:
        try:
            answer = RestStore._call_endpoint(
                store, WRITES[call.api], self.named(call.body), self.named(call.endpoint))
            if call.made:
                names = json.loads(self._names.read_text()) if self._names.exists() else {}
                self._names.write_text(json.dumps(names | {call.made: _made_by(answer)}))
        except MlflowException as error:
            if is_away(error):
                raise
            print(f"warning: the server refused {call.api}: {error.message}", file=sys.stderr)
        self._sent.write_text(str(self._number_sent() + 1))


def replay(folder: Path, uri: str) -> None:
    """Send what waits in a folder. Raises MlflowException while the server is away."""
    Outbox(folder).send(_get_rest_store(uri), MlflowClient(uri))
    shutil.rmtree(folder)


def is_away(error: MlflowException) -> bool:
    """Say whether a call may do later: no answer, or one that blames the server."""
    return error.get_http_status_code() >= 500


def _made_by(answer: Message) -> str:
    """Return the server's name of the run or the model that an answer holds."""
    return answer.run.info.run_id if hasattr(answer, "run") else answer.model.info.model_id
