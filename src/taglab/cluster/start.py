"""Starts a wide job from a step."""

import contextlib
import os
import re
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taglab.ci import read_build
from taglab.cluster.api import Api, ClusterError
from taglab.cluster.follow import Follower, show
from taglab.cluster.manifest import (
    HOST_NAMES, Step, Version, WideJob, job_manifest, missing_features, process_command, read_step,
    service_manifest, wide_job)
from taglab.cluster.runs import end_lost_runs
from taglab.config import WRONG_USAGE, ConfigError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def run_wide(main_file: str | Path, config: Mapping[str, Any]) -> int | None:
    """Run the process in a wide job and return its exit status, 0 when every index succeeded.

    Returns None where the process is to run here: it asks for no job, it is a pod of one, or this
    is not a step on a cluster. When the step is interrupted or ends otherwise, its job is deleted.
    """
    try:
        job = wide_job(config)
        if job is None:
            return None
        if not (ACCOUNT / "namespace").exists() or not read_build().remote:
            print("[cluster] is ignored: this is not a step on a cluster, so one process does all")
            return None
        main = os.path.abspath(main_file)
        return _run(job, Api((ACCOUNT / "namespace").read_text().strip()), [main, *sys.argv[1:]])
    except (ClusterError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USAGE


def _run(job: WideJob, api: Api, words: list[str]) -> int:
    """Start the job, show what it prints, and return its exit status."""
    step, version = own_step(api), api.version()
    name = f"{step.pod[:46].rstrip('-.')}-{secrets.token_hex(3)}"  # with an index, 63 at most
    for text in missing_features(version):
        show(f"Kubernetes {version[0]}.{version[1]}: {text}")
    rendezvous = _rendezvous_server(job, version, step.ip)
    address = f"{step.ip}:{rendezvous.port}" if rendezvous else ""
    command = process_command(job, name, address, words)
    created = api.create_job(job_manifest(job, step, version, name, command))
    try:
        if created["spec"].get("completionMode") != "Indexed":
            raise ClusterError("this Kubernetes ignores Indexed Jobs: enable its feature gate "
                               "IndexedJob, or use Kubernetes 1.22 or newer")
        if job.torchrun and rendezvous is None:
            api.create_service(service_manifest(name, step.namespace, created["metadata"]["uid"]))
        show(f"job {name}: {job.indexes} pods, {job.parallelism} at a time")
        status = Follower(api, name, job.indexes).wait()
        end_lost_runs(name)
        return status
    except BaseException:
        api.delete_job(name)
        raise


def own_step(api: Api, mounts: Path = Path("/proc/self/mountinfo")) -> Step:
    """Return the step that this process runs in.

    Its names are not in its environment, but the path of the termination log, which Kubernetes
    mounts into each container, holds the pod's uid and the container's name. Raises ClusterError.
    """
    found = re.search(r"/pods/([^/]+)/containers/([^/]+)/\S* /dev/termination-log ",
                      mounts.read_text())
    uid, container = found.groups() if found else ("", "")
    pods = api.pods() if found else []
    pod = next((pod for pod in pods if pod["metadata"]["uid"] == uid), None)
    if pod is None:
        raise ClusterError("this process cannot find the pod that it runs in, which a wide job "
                           "needs; write LAB_CLUSTER: off into the step's environment")
    return read_step(pod, container)


def _rendezvous_server(job: WideJob, version: Version, address: str) -> Any:
    """Return a server in this step at which the processes of a distributed training meet.

    Returns None where they need none: the pods of the job have host names, or it is no training.
    """
    if not job.torchrun:
        return None
    with contextlib.suppress(OSError):
        if version >= HOST_NAMES and not job.host_network:
            socket.getaddrinfo("kubernetes.default.svc", 443)
            return None
    show("pods have no host names here: the processes of the training meet at the step")
    from torch import distributed

    return distributed.TCPStore(  # type: ignore[attr-defined]  # torch does not re-export it
        address, 0, is_master=True, wait_for_workers=False)
