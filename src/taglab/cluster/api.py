"""The requests to the Kubernetes API server that a wide job needs."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from taglab.cluster.manifest import CONTAINER, Manifest, Version

TIMEOUT = 300  # seconds without an answer, or without a line of a log
FORBIDDEN = """{}
Type: kubectl apply --namespace NAMESPACE -f runtimes/kubernetes/role.yaml, with the namespace of
the pipelines, and write `service_account_name: wide-jobs` into the pipeline of .drone.yml"""


class ClusterError(RuntimeError):
    """A wide job cannot run, or its log broke off; the message says why and what to do."""


class Api:
    """The API server, for one namespace; answers are its JSON as dictionaries.

    A request is repeated while the server is away or busy, for TIMEOUT seconds; then, and when the
    server refuses it, every method raises ClusterError.
    """

    def __init__(self, namespace: str) -> None:
        from kubernetes import client, config

        config.load_incluster_config()
        self.namespace = namespace
        self._core, self._batch = client.CoreV1Api(), client.BatchV1Api()
        self._version = client.VersionApi()

    def version(self) -> Version:
        """Return the version of Kubernetes, such as (1, 35)."""
        found = _ask(self._version.get_code)
        return int(found["major"]), int(re.sub(r"\D.*", "", found["minor"]))  # some say 35+

    def pods(self, labels: str = "") -> list[Manifest]:
        """Return the pods of the namespace that match a label selector; "" matches all."""
        found = _ask(self._core.list_namespaced_pod, self.namespace, label_selector=labels,
                     resource_version="0")
        return list(found["items"])

    def job(self, name: str) -> Manifest:
        """Return a job. Raises ClusterError when somebody deleted it."""
        return _ask(self._batch.read_namespaced_job, name, self.namespace)

    def create_job(self, manifest: Manifest) -> Manifest:
        """Create a job and return it as the API server stored it."""
        return _ask(self._batch.create_namespaced_job, self.namespace, manifest)

    def create_service(self, manifest: Manifest) -> None:
        """Create a service."""
        _ask(self._core.create_namespaced_service, self.namespace, manifest)

    def delete_job(self, name: str) -> None:
        """Delete a job and, in the background, its pods; it may be gone already."""
        with contextlib.suppress(ClusterError):
            _ask(self._batch.delete_namespaced_job, name, self.namespace,
                 propagation_policy="Background")

    def log(self, pod: str, seconds: float | None) -> Iterator[tuple[str, str]]:
        """Yield the time and the text of each line of a pod's log until the pod ends.

        Starts `seconds` ago, or at the beginning. Raises ClusterError when the log breaks off.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            stream = self._core.read_namespaced_pod_log(
                pod, self.namespace, container=CONTAINER, follow=True, timestamps=True,
                since_seconds=seconds and int(seconds), _preload_content=False,
                _request_timeout=(10, TIMEOUT))
            for line in stream:
                stamp, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
                if not stamp[:4].isdigit():  # not the pod's, but why there is no log
                    return
                yield stamp, text
        except (ApiException, HTTPError, OSError) as error:
            raise ClusterError(f"the log of {pod} broke off: {error}") from None


def _ask(request: Callable[..., Any], *arguments: Any, **options: Any) -> Manifest:
    """Return the JSON that answers a request; repeat it while the API server is away or busy."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            answer = request(*arguments, _preload_content=False, _request_timeout=30, **options)
            return dict(json.loads(answer.data))
        except ApiException as error:
            reason = _reason(error)
            if error.status == 403:
                raise ClusterError(FORBIDDEN.format(reason)) from None
            if error.status < 500 and error.status != 429 or time.monotonic() > deadline:
                raise ClusterError(f"Kubernetes says: {reason}") from None
        except HTTPError as error:
            if time.monotonic() > deadline:
                raise ClusterError(f"Kubernetes does not answer: {error}") from None
        time.sleep(2)


def _reason(error: Any) -> str:
    """Return the message of the API server in an ApiException."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
