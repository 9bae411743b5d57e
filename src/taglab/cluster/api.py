"""The requests to Kubernetes' API server that a wide job needs."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from taglab.cluster.manifest import PROCESS, Manifest, Version

PATIENCE = 300  # seconds without the API server, and between two looks at a silent log
NOT_ALLOWED = """{}
Type: kubectl apply --namespace NAMESPACE -f runtimes/kubernetes/role.yaml, with the namespace of
the pipelines, and write `service_account_name: wide-jobs` into the pipeline of .drone.yml"""


class ClusterError(RuntimeError):
    """The cluster refuses a wide job; the message says why and what to do."""


class Api:
    """The API server, for one namespace; answers are JSON as it comes."""

    def __init__(self, namespace: str) -> None:
        from kubernetes import client, config

        config.load_incluster_config()
        self.namespace = namespace
        self._core, self._batch = client.CoreV1Api(), client.BatchV1Api()
        self._version = client.VersionApi()

    def version(self) -> Version:
        """Return the version of Kubernetes, as (1, 35)."""
        found = _patiently(self._version.get_code)
        return int(found["major"]), int(re.match(r"\d+", found["minor"])[0])

    def pods(self, labels: str = "") -> list[Manifest]:
        """Return the pods of the namespace that have these labels."""
        return _patiently(self._core.list_namespaced_pod, self.namespace, label_selector=labels,
                          resource_version="0")["items"]

    def job(self, name: str) -> Manifest:
        """Return a job. Raises ClusterError when somebody deleted it."""
        return _patiently(self._batch.read_namespaced_job, name, self.namespace)

    def create_job(self, manifest: Manifest) -> Manifest:
        """Make a job and return it as the API server stored it."""
        return _patiently(self._batch.create_namespaced_job, self.namespace, manifest)

    def create_service(self, manifest: Manifest) -> None:
        """Make a service."""
        _patiently(self._core.create_namespaced_service, self.namespace, manifest)

    def delete_job(self, name: str) -> None:
        """Delete a job and, in the background, its pods."""
        with contextlib.suppress(ClusterError):  # gone already
            _patiently(self._batch.delete_namespaced_job, name, self.namespace,
                       propagation_policy="Background")

    def log(self, pod: str, seconds: float | None) -> Iterator[tuple[str, str]]:
        """Yield time and text of each line of a pod's log, of the last `seconds` or of all.

        It ends when the pod ends. Raises ClusterError when it breaks off before that.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            stream = self._core.read_namespaced_pod_log(
                pod, self.namespace, container=PROCESS, follow=True, timestamps=True,
                since_seconds=seconds and int(seconds), _preload_content=False,
                _request_timeout=(10, PATIENCE))
            for line in stream:
                stamp, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
                if not stamp[:4].isdigit():  # no line of the pod, but why there is no log
                    return
                yield stamp, text
        except (ApiException, HTTPError, OSError) as error:
            raise ClusterError(f"the log of {pod} broke off: {error}") from None


def _patiently(request: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return the JSON that a request answers; repeat it while the API server is away or busy."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    until = time.monotonic() + PATIENCE
    while True:
        try:
            answer = request(*arguments, _preload_content=False, _request_timeout=30, **options)
            return json.loads(answer.data)
        except ApiException as error:
            reason = _reason(error)
            if error.status == 403:
                raise ClusterError(NOT_ALLOWED.format(reason)) from None
            if error.status < 500 and error.status != 429 or time.monotonic() > until:
                raise ClusterError(f"Kubernetes says: {reason}") from None
        except HTTPError as error:
            if time.monotonic() > until:
                raise ClusterError(f"Kubernetes does not answer: {error}") from None
        time.sleep(2)


def _reason(error: Any) -> str:
    """Return the message of the API server."""
    try:
        return json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
