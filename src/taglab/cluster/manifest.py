"""What a wide job is: the table [cluster] of a process, and the Kubernetes Job that it becomes.

lab/docs/scaling.md explains how to use it.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from taglab.ci import DRONE, LOGIN, SCRIPT
from taglab.config import ConfigError, override

# Variables in each pod of a wide job.
JOB_INDEX = "JOB_COMPLETION_INDEX"  # from 0, set by Kubernetes
JOB_NAME = "JOB_NAME"
CONTAINER = "process"  # the name of the container in each pod
PORT = 29500  # at which the processes of a distributed training meet
Version = tuple[int, int]
Manifest = dict[str, Any]

# The Kubernetes version since which a field needs no feature gate, and what its absence means.
INDEXED, HOST_NAMES, IGNORE, PER_INDEX = (1, 22), (1, 22), (1, 26), (1, 29)
MISSING = {
    INDEXED: "Indexed Jobs need the feature gate IndexedJob, since only 1.22 made them standard",
    IGNORE: "a pod lost with its node counts as a failure, since podFailurePolicy needs 1.26",
    PER_INDEX: "all indexes share one limit of failures, and the first beyond it ends the job, "
               "since backoffLimitPerIndex needs 1.29",
}

# Clones the tagged commit and no other, as Drone's own first step does. The login of a private
# repository comes from the environment and is unset before the process starts.
CLONE = f"""\
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
git init --quiet
git config --local credential.helper '!f() {{ echo "username=${LOGIN.username}"; \
echo "password=${LOGIN.password}"; }}; f'
git fetch --quiet --depth=1 "${DRONE.remote}" "${DRONE.ref}"
git -c advice.detachedHead=false checkout --quiet "${DRONE.commit}" || {{
  echo "error: ${DRONE.ref} is not commit ${DRONE.commit} any more; push a new tag"
  exit 1
}}
unset {" ".join(LOGIN)}
exec "$@"
"""
# torchrun mistakes two pods for one when they share a node's address and, each in its own PID
# namespace, have the same process id: use up a hundred ids for each index.
DISTINCT_PIDS = """\
for number in $(seq $((JOB_COMPLETION_INDEX * 100))); do /bin/true; done
exec "$@"
"""


@dataclass(frozen=True)
class WideJob:
    """A table [cluster]; names and units are those of Kubernetes where it has them."""

    parallelism: int = 1  # pods at a time
    completions: int = 0  # pods in all, each with its index; 0: as many as parallelism
    torchrun: int = 0  # processes in each pod of a distributed training; 0: it is none
    image: str = ""  # "": the image of the step
    cpu: str = "1"
    memory: str = "2Gi"
    shared_memory: str = ""  # size of /dev/shm, part of `memory`; "": 64 MiB, all with torchrun
    gpu: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    node_required: dict[str, list[str]] = field(default_factory=dict)  # label: one of these values
    node_preferred: dict[str, list[str]] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    priority_class: str = ""
    backoff_limit_per_index: int = 1  # how often an index is retried
    active_deadline_seconds: int = 0  # 0: no limit
    ttl_seconds_after_finished: int = 3600
    ignore_disruptions: bool = True  # a pod lost with its (spot) node counts as no failure
    secrets: dict[str, str] = field(default_factory=dict)  # variable: name of the Secret/key
    claims: dict[str, str] = field(default_factory=dict)  # folder in the pod: volume claim
    host_paths: dict[str, str] = field(default_factory=dict)  # folder in the pod: on its node
    host_network: bool = False

    @property
    def indexes(self) -> int:
        """The number of pods that must succeed."""
        return self.completions or self.parallelism


@dataclass(frozen=True)
class Step:
    """What the pods of a job inherit from the pod of the step that starts it."""

    namespace: str
    pod: str
    uid: str
    ip: str
    image: str
    environment: list[Manifest]
    service_account: str
    pull_secrets: list[Manifest]

    @property
    def workspace(self) -> str:
        """The folder of the clone in the step's container."""
        values = {each["name"]: each.get("value") for each in self.environment}
        return values.get(DRONE.workspace) or "/drone/src"


def wide_job(config: Mapping[str, Any],
             environment: Mapping[str, str] = os.environ) -> WideJob | None:
    """Return the job that a process asks for, or None when it asks for none or is a pod of one.

    `config` are the parameters of the process, with or without a table `cluster`. LAB_CLUSTER holds
    `key=value` words that override the table, or `off`. Raises ConfigError.
    """
    words = environment.get("LAB_CLUSTER", "").split()
    if JOB_INDEX in environment or words == ["off"] or not (words or "cluster" in config):
        return None
    defaults, table = asdict(WideJob()), dict(config.get("cluster", {}))
    for key, value in table.items():
        if key not in defaults:
            raise ConfigError(f"[cluster] has no key {key!r}; known: {', '.join(defaults)}")
        if type(value) is int and isinstance(defaults[key], str):  # cpu = 4
            table[key] = str(value)
        elif type(value) is not type(defaults[key]):
            raise ConfigError(f"cluster.{key} needs a value of type "
                              f"{type(defaults[key]).__name__}, such as {defaults[key]!r}; got "
                              f"{value!r}")
    job = WideJob(**override({**defaults, **table}, words))
    if job.parallelism < 1 or job.completions < 0:
        raise ConfigError("cluster.parallelism must be 1 or more, cluster.completions 0 or more")
    if job.torchrun and job.indexes != job.parallelism:
        raise ConfigError("with cluster.torchrun all pods run at the same time: leave out "
                          "cluster.completions")
    return job


def missing_features(version: Version) -> list[str]:
    """Return what a version of Kubernetes lacks for wide jobs, a sentence for each feature."""
    return [text for since, text in MISSING.items() if version < since]


def read_step(pod: Manifest, container: str) -> Step:
    """Return the step that runs in a container of a pod, as the API server describes the pod."""
    spec = pod["spec"]
    found = next(each for each in spec["containers"] if each["name"] == container)
    return Step(pod["metadata"]["namespace"], pod["metadata"]["name"], pod["metadata"]["uid"],
                pod["status"]["podIP"], found["image"], found.get("env", []),
                spec.get("serviceAccountName", "default"), spec.get("imagePullSecrets", []))


def process_command(job: WideJob, name: str, address: str, words: list[str]) -> list[str]:
    """Return the command of each pod of the job `name`: Python, or torchrun, with `words`.

    The processes of a distributed training meet at `address`, or at the pod with index 0 when it
    is "".
    """
    if not job.torchrun:
        return ["python", *words]
    rendezvous = [f"--rdzv-endpoint={address}", "--rdzv-conf=is_host=0"] if address else [
        f"--rdzv-endpoint={name}-0.{name}:{PORT}"]
    shell = ["/bin/sh", "-c", DISTINCT_PIDS, "distinct-pids"] if job.host_network else []
    return [*shell, "torchrun", f"--nnodes={job.indexes}", f"--nproc-per-node={job.torchrun}",
            "--rdzv-backend=c10d", *rendezvous, f"--rdzv-id={name}", "--local-addr=$(POD_IP)",
            *words]


def job_manifest(job: WideJob, step: Step, version: Version, name: str,
                 command: list[str]) -> Manifest:
    """Return the Job `name`, with the fields that this version of Kubernetes knows.

    `command` is what `process_command` returns. Raises ConfigError.
    """
    owner = {"apiVersion": "v1", "kind": "Pod", "name": step.pod, "uid": step.uid}
    spec: Manifest = {
        "completionMode": "Indexed", "completions": job.indexes, "parallelism": job.parallelism,
        "ttlSecondsAfterFinished": job.ttl_seconds_after_finished,
        "template": {"spec": pod_spec(job, step, name, command)},
    }
    if job.active_deadline_seconds:
        spec["activeDeadlineSeconds"] = job.active_deadline_seconds
    if version >= PER_INDEX:
        spec["backoffLimitPerIndex"] = job.backoff_limit_per_index
    else:
        spec["backoffLimit"] = job.backoff_limit_per_index * job.indexes
    if job.ignore_disruptions and version >= IGNORE:
        lost = {"type": "DisruptionTarget", "status": "True"}
        spec["podFailurePolicy"] = {"rules": [{"action": "Ignore", "onPodConditions": [lost]}]}
    # With an owner, Kubernetes deletes the job when the step's pod is gone, for whatever reason.
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": spec,
            "metadata": {"name": name, "namespace": step.namespace, "ownerReferences": [owner]}}


def pod_spec(job: WideJob, step: Step, name: str, command: list[str]) -> Manifest:
    """Return the pod of the job `name`: a container that clones the commit and runs `command`."""
    volumes, mounts = _volumes(job, step.workspace)
    resources: Manifest = {"requests": {"cpu": job.cpu, "memory": job.memory},
                           "limits": {"memory": job.memory}}
    if job.gpu:
        resources["limits"][job.gpu_resource] = job.gpu
    container = {
        "name": CONTAINER, "image": job.image or step.image, "workingDir": step.workspace,
        "command": ["/bin/sh", "-ec", CLONE, "clone", *command],
        "env": _environment(job, step, name), "resources": resources, "volumeMounts": mounts,
    }
    affinity = _affinity(job)
    return {
        "restartPolicy": "Never", "serviceAccountName": step.service_account,
        "automountServiceAccountToken": False,
        "shareProcessNamespace": True,  # not PID 1: hears signals, need not reap orphans
        "containers": [container], "volumes": volumes,
        **({"imagePullSecrets": step.pull_secrets} if step.pull_secrets else {}),
        **({"affinity": {"nodeAffinity": affinity}} if affinity else {}),
        **({"tolerations": job.tolerations} if job.tolerations else {}),
        **({"priorityClassName": job.priority_class} if job.priority_class else {}),
        **({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
           if job.host_network else {}),
        **({"subdomain": name} if job.torchrun else {}),
    }


def service_manifest(name: str, namespace: str, job_uid: str) -> Manifest:
    """Return the headless Service that gives a job's pods host names: NAME-0.NAME, …"""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job_uid}
    return {"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner]},
            "spec": {"clusterIP": "None", "selector": {"job-name": name},
                     "publishNotReadyAddresses": True,  # pods meet before they are ready
                     "ports": [{"name": "rendezvous", "port": PORT}]}}


def _environment(job: WideJob, step: Step, name: str) -> list[Manifest]:
    """Return the variables of the step, and those that the job adds, secrets by reference."""
    added: list[Manifest] = [
        {"name": JOB_NAME, "value": name},
        {"name": "JOB_COMPLETIONS", "value": str(job.indexes)}]
    if job.torchrun:
        added.append({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    for variable, reference in job.secrets.items():
        secret, slash, key = reference.partition("/")
        if not slash:
            raise ConfigError(f"cluster.secrets.{variable} needs the name of a Secret and a key, "
                              f"'NAME/KEY'; got {reference!r}")
        added.append({"name": variable,
                      "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    replaced = {SCRIPT, JOB_INDEX, *(each["name"] for each in added)}
    return [each for each in step.environment if each["name"] not in replaced] + added


def _volumes(job: WideJob, workspace: str) -> tuple[list[Manifest], list[Manifest]]:
    """Return the volumes of a pod, and where its container mounts them."""
    sources: dict[str, Manifest] = {workspace: {"emptyDir": {}}}
    if job.shared_memory or job.torchrun:  # through it processes and their DataLoaders share data
        limit = {"sizeLimit": job.shared_memory} if job.shared_memory else {}
        sources["/dev/shm"] = {"emptyDir": {"medium": "Memory", **limit}}
    sources |= {folder: {"persistentVolumeClaim": {"claimName": claim}}
                for folder, claim in job.claims.items()}
    sources |= {folder: {"hostPath": {"path": path}} for folder, path in job.host_paths.items()}
    named = {folder: f"volume-{number}" for number, folder in enumerate(sources)}
    return ([{"name": named[folder], **source} for folder, source in sources.items()],
            [{"name": named[folder], "mountPath": str(PurePosixPath(folder))}
             for folder in sources])


def _affinity(job: WideJob) -> Manifest:
    """Return the nodeAffinity: all required labels, and each preferred one with weight 100."""
    found: Manifest = {}
    if job.node_required:
        found["requiredDuringSchedulingIgnoredDuringExecution"] = {
            "nodeSelectorTerms": [{"matchExpressions": _labels(job.node_required)}]}
    if job.node_preferred:
        found["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": 100, "preference": {"matchExpressions": [label]}}
            for label in _labels(job.node_preferred)]
    return found


def _labels(wanted: Mapping[str, list[str]]) -> list[Manifest]:
    """Return label selectors: each label must have one of its values. Raises ConfigError."""
    for label, values in wanted.items():
        if not isinstance(values, list):
            raise ConfigError(f"the values of the node label {label} must be a list, such as "
                              f"[{values!r}]")
    return [{"key": key, "operator": "In", "values": values} for key, values in wanted.items()]
