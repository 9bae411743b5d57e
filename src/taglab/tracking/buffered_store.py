"""A REST store of MLflow that buffers what it cannot write while the tracking server is away.

Everything that MLflow writes to a server passes through one method of its REST store. What the
server does not take goes to an outbox, and the answer is made up here; a thread sends it later.

This module uses what MLflow does not document, checked with MLflow 3.17.2: `RestStore` and its
`_call_endpoint`; the protobuf messages of the REST API (`mlflow.protos`); the registry of stores,
`_tracking_store_registry`, with `_get_rest_store` and the cache `_get_store_with_resolved_uri`;
`TrackingServiceClient` and its uploads; `get_default_host_creds`.
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
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as rest
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service import utils as tracking_service
from mlflow.tracking._tracking_service.client import TrackingServiceClient
from mlflow.utils.credentials import get_default_host_creds

from taglab.tracking.outbox import WRITES, Call, Message, Outbox
from taglab.tracking.server_errors import (
    MISSING, checked_answers, error_code, is_away, reason, refuses_login, unusable)

UPLOADS = ("log_artifact", "log_artifacts", "log_model_artifacts")  # of TrackingServiceClient
RETRY = 2.0  # seconds between two attempts to send
WAIT = "LAB_OUTBOX_SECONDS"  # how long a process waits for the server at its end; 60 by default


class Undelivered(SystemExit):
    """The server does not take results; the message says why, and where they are if there are any.
    """


class BufferedStore(RestStore):
    """MLflow's REST store, except that what cannot be written now waits in an outbox."""

    def __init__(self, uri: str, outbox: Outbox) -> None:
        super().__init__(  # type: ignore[no-untyped-call]  # MLflow's
            partial(get_default_host_creds, uri))
        self.uri, self.outbox = uri, outbox
        self.problem = ""  # why the server did not take the latest call
        self._created: dict[str, Message] = {}  # the runs and models of this process, by id
        self._sender: threading.Thread | None = None
        self._given_up = threading.Event()

    def _call_endpoint(self, api: Any, json_body: str | None = None, endpoint: str | None = None,
                       *more: Any, **options: Any) -> Message:
        """Call the server, or keep the call and return what the server would have answered."""
        def ask_server() -> Message:
            return super(BufferedStore, self)._call_endpoint(  # type: ignore[no-untyped-call]
                api, json_body and self.outbox.with_server_ids(json_body),
                endpoint and self.outbox.with_server_ids(endpoint), *more, **options)

        with self.outbox.lock:
            if self.outbox.is_empty:
                try:
                    answer = ask_server()
                    self._remember(answer)
                    return answer
                except MlflowException as error:
                    if refuses_login(error) and not self._created:
                        raise Undelivered(unusable(self.uri, error)) from None
                    if not is_away(error) and not self.is_lost(error, json_body or ""):
                        raise
                    self.problem = reason(error)
            if api.__name__ in WRITES:
                return self._keep(api, json_body, endpoint)
            known = self._known(api, json_body, endpoint)
            return ask_server() if known is None else known

    def keep_files(self, owner: str, path: Path, below: str | None, problem: str) -> None:
        """Keep artifacts in the outbox; see `Outbox.keep_files`."""
        self.problem = problem
        self.outbox.keep_files(owner, path, below)
        self._send_in_background()

    def deliver(self) -> str:
        """Wait until everything was sent; return "", or what to do about what was not."""
        seconds = float(os.environ.get(WAIT) or 60)
        deadline = time.monotonic() + seconds
        if not self.outbox.is_empty:
            print(f"waiting up to {seconds:.0f} s for {self.uri} …", file=sys.stderr)
        while not self.outbox.is_empty and (left := deadline - time.monotonic()) > 0:
            self._send_in_background().join(left)
        if self.outbox.is_empty:
            shutil.rmtree(self.outbox.folder, ignore_errors=True)
            return ""
        self._given_up.set()  # a notebook lives on, and `lab replay` must be alone with the folder
        if self._sender:
            self._sender.join(RETRY)
        return (f"error: results could not be sent to {self.uri} ({self.problem}). They are in "
                f"{self.outbox.folder}. When the server is back, type: lab replay")

    def is_lost(self, error: Exception, text: str) -> bool:
        """Return whether the server knows a run or a model of this process no more that is in text.

        Its database may be restored.
        """
        return error_code(error) == MISSING and any(made in text for made in self._created)

    @property
    def is_sending(self) -> bool:
        """Whether the caller is the thread that sends what was kept."""
        return threading.current_thread() is self._sender

    def _keep(self, api: Any, body: str | None, endpoint: str | None) -> Message:
        ids = {"CreateRun": uuid.uuid4().hex, "CreateLoggedModel": f"m-{uuid.uuid4().hex}"}
        call = Call(api.__name__, body or "{}", endpoint, ids.get(api.__name__, ""))
        self.outbox.keep(call)
        self._send_in_background()
        answer = self._answer(api, call)
        self._remember(answer)
        return answer

    def _send_in_background(self) -> threading.Thread:
        if self._sender is None or not self._sender.is_alive():
            print(f"warning: {self.uri} takes no results ({self.problem}). They wait in "
                  f"{self.outbox.folder} until it does", file=sys.stderr)
            # MLflow would print addresses of runs that the server does not know yet.
            os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
            self._sender = threading.Thread(target=self._send, daemon=True)
            self._sender.start()
        return self._sender

    def _send(self) -> None:
        while not self.outbox.is_empty:
            if self._given_up.wait(RETRY):
                return
            try:
                self.outbox.send(self, MlflowClient(self.uri))
            except Exception as error:  # whatever the artifacts' storage raises, too: try again
                self.problem = reason(error)
        print(f"{self.uri} answers again: all results were sent", file=sys.stderr)

    def _remember(self, answer: Message) -> None:
        for kind, id_field in (("run", "run_id"), ("model", "model_id")):
            if kind in answer.DESCRIPTOR.fields_by_name and answer.HasField(kind):
                created = getattr(answer, kind)
                self._created[getattr(created.info, id_field)] = created

    def _known(self, api: Any, body: str | None, endpoint: str | None) -> Message | None:
        """Return the answer to a question about a run or a model that this process created."""
        if api is rest.GetRun and (run := self._created.get(json.loads(body or "{}")["run_id"])):
            return api.Response(run=run)
        model_id = (endpoint or "").rpartition("/")[2].partition("?")[0]
        if api is rest.GetLoggedModel and (model := self._created.get(model_id)):
            return api.Response(model=model)
        return None

    def _answer(self, api: Any, call: Call) -> Message:
        """Return what the server would have answered."""
        request, answer = json.loads(call.body), api.Response()
        place = {"artifact_uri": self.outbox.artifacts(call.made).as_uri()}
        now = round(time.time() * 1000)
        if api is rest.CreateRun:
            info = {key: request[key] for key in request if key != "tags"} | place
            info |= {"run_id": call.made, "run_uuid": call.made, "status": "RUNNING",
                     "lifecycle_stage": "active"}
            run = {"info": info, "data": {"tags": request.get("tags", [])}}
            return ParseDict({"run": run}, answer)
        if api is rest.CreateLoggedModel:
            info = {key: request[key] for key in request if key != "params"} | place
            info |= {"model_id": call.made, "status": "LOGGED_MODEL_PENDING",
                     "creation_timestamp_ms": now, "last_updated_timestamp_ms": now}
            model = {"info": info, "data": {"params": request.get("params", [])}}
            return ParseDict({"model": model}, answer)
        if api is rest.UpdateRun:
            if known := self._created.get(request["run_id"]):
                answer.run_info.CopyFrom(known.info)
            return ParseDict({"run_info": request}, answer)
        if api is rest.FinalizeLoggedModel and request["model_id"] in self._created:
            answer.model.CopyFrom(self._created[request["model_id"]])
            return ParseDict({"model": {"info": {"status": request["status"]}}}, answer)
        return answer


@contextlib.contextmanager
def buffered(uri: str, folder: Path) -> Iterator[None]:
    """Keep in `folder` what MLflow writes to the server at `uri` while that server is away.

    Raises Undelivered at the end when the server did not come back in time.
    """
    store = BufferedStore(uri, Outbox(folder))
    original = {name: getattr(TrackingServiceClient, name) for name in UPLOADS}
    _use_store(uri, lambda store_uri, **_: store)
    for name, upload in original.items():
        setattr(TrackingServiceClient, name, _buffered_upload(upload, store))
    try:
        with checked_answers(uri):
            try:
                yield
            except BaseException:
                if problem := store.deliver():
                    print(problem, file=sys.stderr)
                raise
            if problem := store.deliver():
                raise Undelivered(problem)
    finally:
        _use_store(uri, tracking_service._get_rest_store)
        for name, upload in original.items():
            setattr(TrackingServiceClient, name, upload)


def _use_store(uri: str, builder: Callable[..., RestStore]) -> None:
    """Have MLflow build its store for a server with `builder`."""
    registry: Any = tracking_service._tracking_store_registry
    registry.register(uri.partition(":")[0], builder)
    registry._get_store_with_resolved_uri.cache_clear()


def _buffered_upload(upload: Callable[..., None], store: BufferedStore) -> Callable[..., None]:
    """Return an upload of TrackingServiceClient that keeps the files if it fails."""
    @wraps(upload)
    def upload_or_keep(client: TrackingServiceClient, owner: str, path: str,
                       below: str | None = None) -> None:
        try:
            upload(client, owner, path, *([below] if below else []))
        except Exception as error:
            refused = not (is_away(error) or store.is_lost(error, owner))
            if refused or not Path(path).exists() or store.is_sending:
                raise
            store.keep_files(owner, Path(path), below, reason(error))

    return upload_or_keep
