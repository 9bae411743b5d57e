"""The Kubernetes Job that a table [cluster] becomes, field by field."""

import pytest

from taglab.cluster.manifest import (
    CLONE, DISTINCT_PIDS, Step, WideJob, job_manifest, missing_features, process_command,
    read_step, service_manifest, wide_job)
from taglab.cluster.status import ending, pending_reasons, pod_failure
from taglab.config import ConfigError

NEW, OLD = (1, 35), (1, 21)
SECRET = {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {
    "name": "drone-abc", "key": "aws_secret_access_key", "optional": True}}}
POD = {
    "metadata": {"name": "drone-abc", "namespace": "pipelines", "uid": "123"},
    "status": {"podIP": "10.0.0.7"},
    "spec": {"serviceAccountName": "wide-jobs", "imagePullSecrets": [{"name": "registry"}],
             "containers": [
                 {"name": "drone-1", "image": "drone/git"},
                 {"name": "drone-2", "image": "lab-runner:0123456789ab", "env": [
                     {"name": "DRONE_TAG", "value": "exp-1"},
                     {"name": "DRONE_SCRIPT", "value": "python main.py"}, SECRET]}]}}
STEP = read_step(POD, "drone-2")
COMMAND = ["python", "/drone/src/main.py", "folds=5"]


def manifest(version=NEW, **fields) -> dict:
    """Return the Job of a table with these fields."""
    return job_manifest(wide_job({"cluster": fields}, {}), STEP, version, "wide", COMMAND)


def pod_of(job: dict) -> dict:
    return job["spec"]["template"]["spec"]


def test_a_small_job_field_by_field() -> None:
    assert manifest(parallelism=8, completions=40, cpu=4) == {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "wide", "namespace": "pipelines", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "drone-abc", "uid": "123"}]},
        "spec": {
            "completionMode": "Indexed", "completions": 40, "parallelism": 8,
            "ttlSecondsAfterFinished": 3600, "backoffLimitPerIndex": 1,
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [
                {"type": "DisruptionTarget", "status": "True"}]}]},
            "template": {"spec": {
                "restartPolicy": "Never", "serviceAccountName": "wide-jobs",
                "automountServiceAccountToken": False, "shareProcessNamespace": True,
                "imagePullSecrets": [{"name": "registry"}],
                "containers": [{
                    "name": "process", "image": "lab-runner:0123456789ab",
                    "workingDir": "/drone/src",
                    "command": ["/bin/sh", "-ec", CLONE, "clone", *COMMAND],
                    "env": [{"name": "DRONE_TAG", "value": "exp-1"}, SECRET,
                            {"name": "JOB_NAME", "value": "wide"},
                            {"name": "JOB_COMPLETIONS", "value": "40"}],
                    "resources": {"requests": {"cpu": "4", "memory": "2Gi"},
                                  "limits": {"memory": "2Gi"}},
                    "volumeMounts": [{"name": "volume-0", "mountPath": "/drone/src"}]}],
                "volumes": [{"name": "volume-0", "emptyDir": {}}]}}}}


def test_a_job_with_everything_on_gpus_of_spot_nodes() -> None:
    toleration = {"key": "gpu", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
    job = manifest(parallelism=110, gpu=1, image="other:1", priority_class="low",
                   active_deadline_seconds=600, ttl_seconds_after_finished=60,
                   backoff_limit_per_index=3, ignore_disruptions=False, host_network=True,
                   shared_memory="1Gi", tolerations=[toleration],
                   node_required={"gpu_mem_size": ["8GB", "11GB"]},
                   node_preferred={"tensor_cores": ["true"]}, claims={"/data": "lab-data"},
                   host_paths={"/mnt": "/mnt"}, secrets={"DJ_PASS": "credentials/password"})
    spec, pod = job["spec"], pod_of(job)
    container = pod["containers"][0]
    assert (spec["completions"], spec["parallelism"]) == (110, 110)
    assert (spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (600, 60)
    assert spec["backoffLimitPerIndex"] == 3 and "podFailurePolicy" not in spec
    assert pod["hostNetwork"] is True and pod["priorityClassName"] == "low"
    assert pod["tolerations"] == [toleration] and container["image"] == "other:1"
    assert pod["affinity"] == {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [
                {"key": "gpu_mem_size", "operator": "In", "values": ["8GB", "11GB"]}]}]},
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "preference": {"matchExpressions": [
                {"key": "tensor_cores", "operator": "In", "values": ["true"]}]}}]}}
    assert container["resources"]["limits"] == {"memory": "2Gi", "nvidia.com/gpu": 1}
    assert {"name": "DJ_PASS", "valueFrom": {"secretKeyRef": {
        "name": "credentials", "key": "password"}}} in container["env"]
    assert pod["volumes"][1:] == [
        {"name": "volume-1", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "volume-2", "persistentVolumeClaim": {"claimName": "lab-data"}},
        {"name": "volume-3", "hostPath": {"path": "/mnt"}}]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == [
        "/drone/src", "/dev/shm", "/data", "/mnt"]


def test_an_old_kubernetes_gets_the_fields_it_knows_and_the_others_are_named() -> None:
    spec = manifest(OLD, parallelism=8, backoff_limit_per_index=2)["spec"]
    assert spec["backoffLimit"] == 16
    assert not {"backoffLimitPerIndex", "podFailurePolicy"} & set(spec)
    assert ["IndexedJob" in text for text in missing_features(OLD)] == [True, False, False]
    assert ["backoffLimitPerIndex" in text for text in missing_features((1, 26))] == [True]
    assert missing_features(NEW) == []


def test_the_processes_of_a_training_meet_under_a_name() -> None:
    job = WideJob(parallelism=2, torchrun=4)
    command = process_command(job, "wide", "", COMMAND[1:])
    assert command == [
        "torchrun", "--nnodes=2", "--nproc-per-node=4", "--rdzv-backend=c10d",
        "--rdzv-endpoint=wide-0.wide:29500", "--rdzv-id=wide", "--local-addr=$(POD_IP)",
        "/drone/src/main.py", "folds=5"]
    nameless = process_command(job, "wide", "10.0.0.7:1234", COMMAND[1:])
    assert nameless[4:6] == ["--rdzv-endpoint=10.0.0.7:1234", "--rdzv-conf=is_host=0"]
    on_the_node = process_command(WideJob(parallelism=2, torchrun=4, host_network=True), "wide",
                                  "10.0.0.7:1234", COMMAND[1:])
    assert on_the_node[2:] == [DISTINCT_PIDS, "distinct-pids", *nameless]
    pod = pod_of(job_manifest(job, STEP, NEW, "wide", command))
    service = service_manifest("wide", "pipelines", "456")
    assert pod["subdomain"] == service["metadata"]["name"] == "wide"
    assert {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}} \
        in pod["containers"][0]["env"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["metadata"]["ownerReferences"][0]["uid"] == "456"


@pytest.mark.parametrize("options, source", [
    ({"torchrun": 4}, {"emptyDir": {"medium": "Memory"}}),
    ({"torchrun": 1}, {"emptyDir": {"medium": "Memory"}}),
    ({"torchrun": 4, "shared_memory": "1Gi"},
     {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}),
    ({"torchrun": 4, "host_paths": {"/dev/shm": "/dev/shm"}}, {"hostPath": {"path": "/dev/shm"}}),
    ({}, None)])
def test_the_processes_of_a_training_share_the_memory_of_their_pod(
        options: dict, source: dict | None) -> None:
    pod = pod_of(manifest(**options))
    mounts = {each["mountPath"]: each["name"] for each in pod["containers"][0]["volumeMounts"]}
    volumes = {each.pop("name"): each for each in pod["volumes"]}
    assert volumes.get(mounts.get("/dev/shm")) == source


@pytest.mark.parametrize("environment, pods", [
    ({}, 8), ({"LAB_CLUSTER": "parallelism=3"}, 3), ({"LAB_CLUSTER": "off"}, None),
    ({"JOB_COMPLETION_INDEX": "0"}, None)])
def test_the_environment_overrides_the_table(environment: dict, pods: int | None) -> None:
    job = wide_job({"cluster": {"parallelism": 8}}, environment)
    assert (job and job.indexes) == pods


def test_without_a_table_the_environment_can_ask_for_a_job() -> None:
    assert wide_job({}, {}) is None
    job = wide_job({}, {"LAB_CLUSTER": "parallelism=4 gpu=1"})
    assert (job.indexes, job.gpu) == (4, 1)


@pytest.mark.parametrize("table, words", [
    ({"paralelism": 8}, "paralelism"),
    ({"parallelism": "8"}, "cluster.parallelism needs a value of type int"),
    ({"parallelism": 0}, "1 or more"), ({"node_required": {"gpu": "yes"}}, "label gpu must be"),
    ({"torchrun": 1, "parallelism": 2, "completions": 4}, "completions"),
    ({"secrets": {"KEY": "credentials"}}, "cluster.secrets.KEY needs")])
def test_a_mistake_in_the_table_is_named(table: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        manifest(**table)


def test_the_clone_may_be_in_another_folder() -> None:
    step = Step("a", "b", "c", "d", "e", [{"name": "DRONE_WORKSPACE", "value": "/src"}], "f", [])
    container = pod_of(job_manifest(WideJob(), step, NEW, "wide", COMMAND))["containers"][0]
    assert container["workingDir"] == container["volumeMounts"][0]["mountPath"] == "/src"


def test_how_a_job_ends() -> None:
    def pod(index: int, phase: str) -> dict:
        return {"metadata": {"annotations": {"batch.kubernetes.io/job-completion-index":
                                             str(index)}}, "status": {"phase": phase}}

    def job(kind: str, **status: str) -> dict:
        return {"status": {"conditions": [{"type": kind, "status": "True", "message": "Why"}],
                           **status}}

    assert ending({"status": {}}, []) is None
    assert ending(job("FailureTarget"), []) is None
    assert ending(job("Complete"), []) == (0, "succeeded")
    new = job("Failed", failedIndexes="1,3-5")
    assert ending(new, []) == (1, "failed: Why; failed indexes: 1, 3, 4, 5")
    old = job("Failed", completedIndexes="0,2")
    pods = [pod(2, "Failed"), pod(2, "Succeeded"), pod(1, "Failed"), pod(3, "Running")]
    assert ending(old, pods) == (1, "failed: Why; failed indexes: 1")


def test_why_a_pod_waits_and_why_it_failed() -> None:
    waits = {"status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
         "message": "0/3 nodes have 1 nvidia.com/gpu"},
        {"type": "Ready", "status": "False", "message": "not ready"}]}}
    assert pending_reasons(waits) == ["Unschedulable: 0/3 nodes have 1 nvidia.com/gpu"]
    pulls = {"status": {"containerStatuses": [
        {"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]}}
    assert pending_reasons(pulls) == ["ErrImagePull: no such image"]
    killed = {"status": {"containerStatuses": [
        {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}}
    assert pod_failure(killed) == "failed with exit status 137 (OOMKilled)"
    lost = {"status": {"reason": "Evicted", "message": "The node was low on memory"}}
    assert pod_failure(lost) == "failed: Evicted The node was low on memory"
