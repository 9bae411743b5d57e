"""A REST store of MLflow that does not mind when the tracking server is away for a while.

All that MLflow writes passes through one method of its REST store. What the server does not take
goes to an outbox and is answered here; a thread sends it once the server is back.
"""

import contextlib
import json
import os
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as rest
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service import utils as tracking_service
from mlflow.tracking._tracking_service.client import TrackingServiceClient
from mlflow.utils.credentials import get_default_host_creds

from taglab.tracking.outbox import WRITES, Call, Outbox, is_away

UPLOADS = ("log_artifact", "log_artifacts", "log_model_artifacts")  # of TrackingServiceClient
RETRY = 2.0  # seconds between two attempts to send
WAIT = "LAB_OUTBOX_SECONDS"  # the variable that says how long a process waits at its end; 60


class Undelivered(SystemExit):
    """The server did not come back in time; the message says where the results are."""


class PatientStore(RestStore):
    """MLflow's REST store, but what cannot be written now waits in an outbox."""

    def __init__(self, uri: str, outbox: Outbox) -> None:
        super().__init__(partial(get_default_host_creds, uri))
        self.uri, self.outbox = uri, outbox
        self.problem = ""
        self._made: dict[str, Message] = {}  # the runs and models of this process
        self._sender: threading.Thread | None = None

    def _call_endpoint(self, api: Any, json_body: str | None = None, endpoint: str | None = None,
                       *more: Any, **options: Any) -> Message:
        with self.outbox.lock:
            if self.outbox.is_empty:
                try:
                    answer = super()._call_endpoint(
                        api, self.outbox.named(json_body), self.outbox.named(endpoint),
                        *more, **options)
                    self._remember(answer)
                    return answer
                except MlflowException as error:
                    if not is_away(error):
                        raise
                    self.problem = _reason(error)
            if api.__name__ in WRITES:
                return self._keep(api, json_body, endpoint)
            known = self._known(api, json_body, endpoint)
            return known or super()._call_endpoint(api, json_body, endpoint, *more, **options)

    def keep_files(self, owner: str, path: Path, below: str | None, problem: str) -> None:
        """Let artifacts wait."""
        self.problem = problem
        self.outbox.keep_files(owner, path, below)
        self._send_in_background()

    def deliver(self) -> str:
        """Wait for what was kept to be sent; return "", or what to do with what was not."""
        seconds = float(os.environ.get(WAIT) or 60)
        deadline = time.monotonic() + seconds
        if not self.outbox.is_empty:
            print(f"waiting up to {seconds:.0f} s for {self.uri} …", file=sys.stderr)
        while not self.outbox.is_empty and (left := deadline - time.monotonic()) > 0:
            self._send_in_background()
            self._sender.join(left)
        if self.outbox.is_empty:
            shutil.rmtree(self.outbox.folder, ignore_errors=True)
            return ""
        return (f"error: results could not be sent to {self.uri} ({self.problem}). They are in "
                f"{self.outbox.folder}. When the server is back, type: lab replay")

    @property
    def is_sending(self) -> bool:
        """Say whether the caller is the thread that sends what was kept."""
        return threading.current_thread() is self._sender

    def _keep(self, api: Any, body: str | None, endpoint: str | None) -> Message:
        made = {"CreateRun": uuid.uuid4().hex, "CreateLoggedModel": f"m-{uuid.uuid4().hex}"}
        call = Call(api.__name__, body or "{}", endpoint, made.get(api.__name__, ""))
        self.outbox.keep(call)
        self._send_in_background()
        answer = self._answer(api, call)
        self._remember(answer)
        return answer

    def _send_in_background(self) -> None:
        if self._sender is None or not self._sender.is_alive():
            print(f"warning: {self.uri} does not answer ({self.problem}). Results wait in "
                  f"{self.outbox.folder} until it does", file=sys.stderr)
            # MLflow would print addresses of runs that the server does not know yet.
            os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
            self._sender = threading.Thread(target=self._send, daemon=True)
            self._sender.start()

    def _send(self) -> None:
        while not self.outbox.is_empty:
            time.sleep(RETRY)
            try:
                self.outbox.send(self, MlflowClient(self.uri))
            except Exception as error:  # whatever storage raises: the next attempt may do
                self.problem = _reason(error)
        print(f"{self.uri} answers again: all results were sent", file=sys.stderr)

    def _remember(self, answer: Message) -> None:
        for kind, name in (("run", "run_id"), ("model", "model_id")):
            if kind in answer.DESCRIPTOR.fields_by_name and answer.HasField(kind):
                made = getattr(answer, kind)
                self._made[getattr(made.info, name)] = made

    def _known(self, api: Any, body: str | None, endpoint: str | None) -> Message | None:
        """Answer a question about a run or a model that this process made."""
        if api is rest.GetRun and (run := self._made.get(json.loads(body)["run_id"])):
            return api.Response(run=run)
        name = (endpoint or "").rpartition("/")[2].partition("?")[0]
        if api is rest.GetLoggedModel and (model := self._made.get(name)):
            return api.Response(model=model)
        return None

    def _answer(self, api: Any, call: Call) -> Message:
        """Return what the server would have answered."""
        asked, answer = json.loads(call.body), api.Response()
        place = {"artifact_uri": self.outbox.artifacts(call.made).as_uri()}
        now = round(time.time() * 1000)
        if api is rest.CreateRun:
            info = {key: asked[key] for key in asked if key != "tags"} | place
            info |= {"run_id": call.made, "run_uuid": call.made, "status": "RUNNING",
                     "lifecycle_stage": "active"}
            run = {"info": info, "data": {"tags": asked.get("tags", [])}}
            return ParseDict({"run": run}, answer)
        if api is rest.CreateLoggedModel:
            info = {key: asked[key] for key in asked if key != "params"} | place
            info |= {"model_id": call.made, "status": "LOGGED_MODEL_PENDING",
                     "creation_timestamp_ms": now, "last_updated_timestamp_ms": now}
            model = {"info": info, "data": {"params": asked.get("params", [])}}
            return ParseDict({"model": model}, answer)
        if api is rest.UpdateRun:
            if run := self._made.get(asked["run_id"]):
                answer.run_info.CopyFrom(run.info)
            return ParseDict({"run_info": asked}, answer)
        if api is rest.FinalizeLoggedModel and asked["model_id"] in self._made:
            answer.model.CopyFrom(self._made[asked["model_id"]])
            return ParseDict({"model": {"info": {"status": asked["status"]}}}, answer)
        return answer


@contextlib.contextmanager
def patient(uri: str, folder: Path) -> Iterator[None]:
    """Let what MLflow writes to the server at `uri` wait in `folder` while the server is away.

    Raises Undelivered at the end when the server did not come back in time.
    """
    store = PatientStore(uri, Outbox(folder))
    plain = {name: getattr(TrackingServiceClient, name) for name in UPLOADS}
    _use_store(uri, lambda store_uri, **_: store)
    for name, upload in plain.items():
        setattr(TrackingServiceClient, name, _patient_upload(upload, store))
    try:
        yield
    except BaseException:
        if problem := store.deliver():
            print(problem, file=sys.stderr)
        raise
    else:
        if problem := store.deliver():
            raise Undelivered(problem)
    finally:
        _use_store(uri, tracking_service._get_rest_store)
        for name, upload in plain.items():
            setattr(TrackingServiceClient, name, upload)


def _use_store(uri: str, builder: Callable[..., RestStore]) -> None:
    registry = tracking_service._tracking_store_registry
    registry.register(uri.partition(":")[0], builder)
    registry._get_store_with_resolved_uri.cache_clear()


def _patient_upload(upload: Callable[..., None], store: PatientStore) -> Callable[..., None]:
    @wraps(upload)
    def upload_or_keep(client: TrackingServiceClient, owner: str, path: str,
                       below: str | None = None) -> None:
        try:
            upload(client, owner, path, *([below] if below else []))
        except Exception as error:
            refused = isinstance(error, MlflowException) and not is_away(error)
            if refused or not Path(path).exists() or store.is_sending:
                raise
            store.keep_files(owner, Path(path), below, _reason(error))

    return upload_or_keep


def _reason(error: Exception) -> str:
    """Return in a word or two why a server could not be reached."""
    return type(error.__context__).__name__ if error.__context__ else str(error)[:100]
