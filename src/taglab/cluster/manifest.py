"""What a wide job is: the table [cluster] of a process, and the Kubernetes Job made from it.

lab/docs/scaling.md says how to use it.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from taglab.ci import DRONE, LOGIN, SCRIPT
from taglab.config import ConfigError, override

INDEX = "JOB_COMPLETION_INDEX"  # Kubernetes sets it in each pod, from 0
NAME = "JOB_NAME"
PROCESS = "process"  # the container of a pod
PORT = 29500  # where the processes of a distributed training meet
Version = tuple[int, int]
Manifest = dict[str, Any]

# From which Kubernetes on a field is there without being switched on, and what its lack means.
INDEXED, HOST_NAMES, IGNORE, PER_INDEX = (1, 22), (1, 22), (1, 26), (1, 29)
MISSING = {
    INDEXED: "Indexed Jobs need its feature gate IndexedJob, which 1.22 does not",
    IGNORE: "a pod lost with its node counts as a failure, before podFailurePolicy (1.26)",
    PER_INDEX: "all indexes share one number of failures, and the job ends at the first one too "
               "many, before backoffLimitPerIndex (1.29)",
}

# The tagged commit and no other, as Drone's own first step fetches it. The password of a private
# repository comes from the environment and is gone before the process starts.
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
# torchrun takes two pods for one when they have a node's address and, each in a world of its own,
# the same process number: use up a hundred numbers for each index.
NUMBERS_APART = """\
for number in $(seq $((JOB_COMPLETION_INDEX * 100))); do /bin/true; done
exec "$@"
"""


@dataclass(frozen=True)
class WideJob:
    """What a table [cluster] says; names and units are those of Kubernetes where it has them."""

    parallelism: int = 1  # pods at a time
    completions: int = 0  # pods in all, each with its index; 0: as many as at a time
    torchrun: int = 0  # processes in each pod of one distributed training; 0: none
    image: str = ""  # "": the image of the step
    cpu: str = "1"
    memory: str = "2Gi"
    shared_memory: str = ""  # the size of /dev/shm, part of `memory`; "": 64 MiB
    gpu: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    node_required: dict[str, list[str]] = field(default_factory=dict)  # label: one of these values
    node_preferred: dict[str, list[str]] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    priority_class: str = ""
    backoff_limit_per_index: int = 1  # how often an index is tried again
    active_deadline_seconds: int = 0  # 0: no limit
    ttl_seconds_after_finished: int = 3600
    ignore_disruptions: bool = True  # a pod lost with its (spot) node is no failure
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
    """What the pods of a job have from the pod of the step that starts it."""

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
        """The folder of the clone."""
        values = {each["name"]: each.get("value") for each in self.environment}
        return values.get(DRONE.workspace) or "/drone/src"


def wide_job(config: Mapping[str, Any],
             environment: Mapping[str, str] = os.environ) -> WideJob | None:
    """Return the job that a process asks for; None when it asks for none or is part of one.

    LAB_CLUSTER holds `key=value` words that win over the table, or `off`.
    """
    words = environment.get("LAB_CLUSTER", "").split()
    if INDEX in environment or words == ["off"] or not (words or "cluster" in config):
        return None
    defaults, table = asdict(WideJob()), dict(config.get("cluster", {}))
    for key, value in table.items():
        if key not in defaults:
            raise ConfigError(f"[cluster] has no key {key!r}; known: {', '.join(defaults)}")
        if type(value) is int and isinstance(defaults[key], str):  # cpu = 4
            table[key] = str(value)
        elif type(value) is not type(defaults[key]):
            raise ConfigError(f"cluster.{key} needs a {type(defaults[key]).__name__}, like "
                              f"{defaults[key]!r}; got {value!r}")
    job = WideJob(**override({**defaults, **table}, words))
    if job.parallelism < 1 or job.completions < 0:
        raise ConfigError("cluster.parallelism must be 1 or more, cluster.completions 0 or more")
    if job.torchrun and job.indexes != job.parallelism:
        raise ConfigError("with cluster.torchrun all pods run at a time: leave out "
                          "cluster.completions")
    return job


def missing(version: Version) -> list[str]:
    """Return what a Kubernetes lacks for wide jobs."""
    return [text for since, text in MISSING.items() if version < since]


def read_step(pod: Manifest, container: str) -> Step:
    """Return the step that runs in a container of a pod, as the API server describes the pod."""
    spec = pod["spec"]
    found = next(each for each in spec["containers"] if each["name"] == container)
    return Step(pod["metadata"]["namespace"], pod["metadata"]["name"], pod["metadata"]["uid"],
                pod["status"]["podIP"], found["image"], found.get("env", []),
                spec.get("serviceAccountName", "default"), spec.get("imagePullSecrets", []))


def process_command(job: WideJob, name: str, address: str, words: list[str]) -> list[str]:
    """Return what each pod of the job `name` runs: the words of the step, perhaps many times.

    The processes of a training meet at `address`, or else in the pod with index 0.
    """
    if not job.torchrun:
        return ["python", *words]
    meeting_point = [f"--rdzv-endpoint={address}", "--rdzv-conf=is_host=0"] if address else [
        f"--rdzv-endpoint={name}-0.{name}:{PORT}"]
    apart = ["/bin/sh", "-c", NUMBERS_APART, "apart"] if job.host_network else []
    return [*apart, "torchrun", f"--nnodes={job.indexes}", f"--nproc-per-node={job.torchrun}",
            "--rdzv-backend=c10d", *meeting_point, f"--rdzv-id={name}", "--local-addr=$(POD_IP)",
            *words]


def job_manifest(job: WideJob, step: Step, version: Version, name: str,
                 command: list[str]) -> Manifest:
    """Return the Job, with what the Kubernetes of that version has."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": step.pod, "uid": step.uid}
    spec = {
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
    # The owner: when the step's pod is gone, however that came, Kubernetes deletes the job too.
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": spec,
            "metadata": {"name": name, "namespace": step.namespace, "ownerReferences": [owner]}}


def pod_spec(job: WideJob, step: Step, name: str, command: list[str]) -> Manifest:
    """Return the pod of the job `name`: one container that clones the commit and runs a command."""
    volumes, mounts = _volumes(job, step.workspace)
    resources: Manifest = {"requests": {"cpu": job.cpu, "memory": job.memory},
                           "limits": {"memory": job.memory}}
    if job.gpu:
        resources["limits"][job.gpu_resource] = job.gpu
    container = {
        "name": PROCESS, "image": job.image or step.image, "workingDir": step.workspace,
        "command": ["/bin/sh", "-ec", CLONE, "clone", *command],
        "env": _environment(job, step, name), "resources": resources, "volumeMounts": mounts,
    }
    affinity = _affinity(job)
    return {
        "restartPolicy": "Never", "serviceAccountName": step.service_account,
        "automountServiceAccountToken": False,
        "shareProcessNamespace": True,  # another process then reaps orphans and passes signals on
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
    """Return the headless Service that gives the pods of a job names: NAME-0.NAME, …"""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job_uid}
    return {"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner]},
            "spec": {"clusterIP": "None", "selector": {"job-name": name},
                     "publishNotReadyAddresses": True,  # they meet before they are ready
                     "ports": [{"name": "meeting-point", "port": PORT}]}}


def _environment(job: WideJob, step: Step, name: str) -> list[Manifest]:
    """Return the variables of the step, secrets by reference, and those that the job adds."""
    added = [{"name": NAME, "value": name},
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
    replaced = {SCRIPT, INDEX, *(each["name"] for each in added)}
    return [each for each in step.environment if each["name"] not in replaced] + added


def _volumes(job: WideJob, workspace: str) -> tuple[list[Manifest], list[Manifest]]:
    sources: dict[str, Manifest] = {workspace: {"emptyDir": {}}}
    if job.shared_memory:
        sources["/dev/shm"] = {"emptyDir": {"medium": "Memory", "sizeLimit": job.shared_memory}}
    sources |= {folder: {"persistentVolumeClaim": {"claimName": claim}}
                for folder, claim in job.claims.items()}
    sources |= {folder: {"hostPath": {"path": path}} for folder, path in job.host_paths.items()}
    named = {folder: f"volume-{number}" for number, folder in enumerate(sources)}
    return ([{"name": named[folder], **source} for folder, source in sources.items()],
            [{"name": named[folder], "mountPath": str(PurePosixPath(folder))}
             for folder in sources])


def _affinity(job: WideJob) -> Manifest:
    """Return nodeAffinity: all of the required labels, and weight 100 for each preferred one."""
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
    for label, values in wanted.items():
        if not isinstance(values, list):
            raise ConfigError(f"the values of the node label {label} must be a list, like "
                              f"[{values!r}]")
    return [{"key": key, "operator": "In", "values": values} for key, values in wanted.items()]
