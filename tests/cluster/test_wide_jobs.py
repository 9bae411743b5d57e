"""Wide jobs on a real cluster: searches, a failure, cancellation, permissions, a training."""
from __future__ import annotations

import itertools
import re

import pytest

from .conftest import TEMPLATE, Cluster, Server, yaml

POINTS = 40
VERBS = ("create", "get", "list", "watch", "update", "patch", "delete", "deletecollection")
RESOURCES = (("", "pods", ""), ("", "pods", "log"), ("", "pods", "exec"), ("", "services", ""),
             ("", "secrets", ""), ("", "configmaps", ""), ("", "nodes", ""),
             ("", "serviceaccounts", "token"), ("batch", "jobs", ""), ("batch", "cronjobs", ""),
             ("apps", "deployments", ""), ("rbac.authorization.k8s.io", "roles", ""))


def test_a_search_in_eight_pods_of_which_one_is_deleted(cluster: Cluster, server: Server) -> None:
    step = server.start_step("wide_search")
    cluster.wait(lambda: "[5] trial" in cluster.log(step), 300, lambda: cluster.log(step))
    (pod,) = pods_of(cluster, step, 5)
    cluster.delete_pod(pod, 1)
    status, log = cluster.finish(step, 600)
    assert status == 0, log
    assert "[0] best: x=3" in log and " succeeded" in log
    runs = server.runs("wide_search")
    trials = [run for run in runs if "trial" in run["tags"] and run["status"] == "FINISHED"]
    assert sorted(int(run["params"]["x"]) for run in trials) == list(range(POINTS))
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run["tags"]]
    assert parent["status"] == "FINISHED" and parent["tags"]["commit"] == server.commit
    assert parent["tags"]["tag"] == "wide-v1" and parent["tags"]["build"] == "7"
    own = {run["tags"]["index"]: run["status"] for run in runs if "index" in run["tags"]}
    assert own == {str(index): "FINISHED" for index in range(8)} and len(runs) == POINTS + 8


def test_an_adaptive_search_in_four_pods_of_which_two_are_deleted(
        cluster: Cluster, server: Server, storage: None) -> None:
    step = server.start_step("wide_adaptive")
    for index in (2, 0):
        cluster.wait(lambda: f"[{index}] trial" in cluster.log(step), 300,
                     lambda: cluster.log(step))
        (pod,) = pods_of(cluster, step, index)
        cluster.delete_pod(pod, 1)
    status, log = cluster.finish(step, 600)
    assert status == 0 and "[0] 24 trials" in log, log
    runs = server.runs("wide_adaptive")
    finished = [int(run["tags"]["trial"]) for run in runs
                if "trial" in run["tags"] and run["status"] == "FINISHED"]
    assert sorted(finished) == list(range(24)), "each trial ends once"
    assert {run["status"] for run in runs} <= {"FINISHED", "KILLED"}
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run["tags"]]
    assert parent["status"] == "FINISHED" and parent["tags"]["index"] == "0"
    own = {run["tags"]["index"]: run["status"] for run in runs if "index" in run["tags"]}
    assert own == {str(index): "FINISHED" for index in range(4)}


def pods_of(cluster: Cluster, step: str, index: int) -> list[str]:
    """Return the names of the pods with this index of the job that a step started."""
    (job,) = [each["metadata"]["name"] for each in cluster.jobs()
              if each["metadata"]["name"].startswith(step)]
    return [pod["metadata"]["name"] for pod in cluster.pods(f"job-name={job}")
            if pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
            == str(index)]


def test_a_failed_index_is_named(server: Server) -> None:
    status, log = server.cluster.finish(server.start_step("wide_failure"))
    assert status == 1, log
    assert "failed indexes: 1" in log and "[1] failed with exit status 4" in log
    assert f"[0] this is 0 of 3, commit {server.commit}" in log
    assert log.count("[1] this is 1 of 3") >= 2  # it was retried
    assert log.count("[2] this is 2 of 3") == 1  # no line twice


def test_a_job_is_deleted_when_its_step_is_terminated(cluster: Cluster, server: Server) -> None:
    step = server.start_step("wide_sleep", "exec timeout --signal=TERM 40 python $MAIN")
    status, log = cluster.finish(step)
    job = re.search(r"^job (\S+):", log, re.MULTILINE)[1]
    assert status == 124, log
    nothing_left(cluster, job)


def test_a_job_is_deleted_when_its_step_is_deleted(cluster: Cluster, server: Server) -> None:
    step = server.start_step("wide_sleep")
    cluster.wait(lambda: "[1] asleep" in cluster.log(step), 240, lambda: cluster.log(step))
    job = re.search(r"^job (\S+):", cluster.log(step), re.MULTILINE)[1]
    cluster.delete_pod(step, 0)
    nothing_left(cluster, job)


def nothing_left(cluster: Cluster, job: str) -> None:
    """Wait until a job and its pods are gone."""
    cluster.wait(lambda: job not in [each["metadata"]["name"] for each in cluster.jobs()])
    cluster.wait(lambda: not cluster.pods(f"job-name={job}"))


@pytest.mark.parametrize("experiment, words", [("named", ""), ("nameless", "host_network=true")])
def test_a_training_in_two_pods(
        experiment: str, words: str, cluster: Cluster, server: Server) -> None:
    step = server.start_step("wide_training", LAB_CLUSTER=words, MLFLOW_EXPERIMENT_NAME=experiment)
    status, log = cluster.finish(step)
    assert status == 0, log
    assert log.count("sum 3 of 2 processes") == 2
    assert [run["status"] for run in server.runs(experiment)] == ["FINISHED"]


def test_a_step_without_the_role_says_what_to_type(cluster: Cluster, server: Server) -> None:
    cluster.start("no-role", "git -c safe.directory='*' clone --quiet $DRONE_REMOTE_URL . "
                  "2>/dev/null\npython lab/processes/wide_sleep/main.py",
                  {**server.environment, "MLFLOW_EXPERIMENT_NAME": "no_role"})
    status, log = cluster.finish("no-role")
    assert status == 3 and "kubectl apply" in log and "wide-jobs" in log, log


def test_the_role_grants_what_is_needed_and_no_more(cluster: Cluster) -> None:
    file = TEMPLATE / "{{cookiecutter.project_slug}}/runtimes/kubernetes/role.yaml"
    role = next(each for each in yaml.safe_load_all(file.read_text()) if each["kind"] == "Role")
    allowed = {(group, resource, verb) for rule in role["rules"] for group, resource, verb
               in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])}
    found = set()
    for (group, resource, part), verb in itertools.product(RESOURCES, VERBS):
        reply = cluster.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {
            "user": f"system:serviceaccount:{cluster.namespace}:wide-jobs",
            "resourceAttributes": {
                "namespace": cluster.namespace, "verb": verb, "group": group,
                "resource": resource, "subresource": part}}})
        if reply["status"]["allowed"]:
            found.add((group, f"{resource}/{part}".rstrip("/"), verb))
    assert found == allowed == {
        ("batch", "jobs", "create"), ("batch", "jobs", "get"), ("batch", "jobs", "delete"),
        ("", "pods", "list"), ("", "pods/log", "get"), ("", "services", "create")}
