"""The network policies: each connection a part needs is open, the others are not."""
from __future__ import annotations

import pytest

from .conftest import COMPOSE, of_kind, workloads

OUTSIDE = ("elsewhere", "any pod or person")
PLATFORM_PARTS = ("gitea", "drone", "drone-runner", "drone-secrets", "mlflow-server", "s3",
                  "s3-buckets", "postgres")
PIPELINE = ("taglab-pipelines", "a pipeline")
PUBLIC = {"gitea": 3000, "drone": 8080, "mlflow-server": 5000, "s3": 9000}
NEEDED = [
    ("gitea", "postgres", 5432), ("gitea", "drone", 8080), ("drone", "postgres", 5432),
    ("drone", "gitea", 3000), ("drone-runner", "drone", 8080), ("mlflow-server", "postgres", 5432),
    ("drone-runner", "drone-secrets", 3000), ("mlflow-server", "s3", 9000),
    ("s3-buckets", "s3", 9000), (PIPELINE, "postgres", 5432),
    (PIPELINE, ("taglab-pipelines", "another"), 29500),
    *((person, part, port) for part, port in PUBLIC.items() for person in (OUTSIDE, PIPELINE)),
]
# To these a rule names no pod: DNS, the API server, and addresses that people chose.
TO_ANYWHERE = {"drone-runner": {443, 6443}, "drone-secrets": {443, 6443},
               "drone": {30300, 80, 443, 8000, 8443}}
Pod = tuple[str, str]


def _labels(pod: Pod) -> tuple[dict, dict]:
    namespace, name = pod
    spaces = {item["metadata"]["name"]: item["metadata"]["labels"] for item in of_kind("Namespace")}
    return spaces.get(namespace, {}), {"app": name}


def _selects(selector: dict, labels: dict) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", []))


def _is_peer(peer: dict, pod: Pod, namespace: str) -> bool:
    spaces, labels = _labels(pod)
    if "namespaceSelector" in peer:
        return _selects(peer["namespaceSelector"], spaces)
    return "podSelector" in peer and pod[0] == namespace and _selects(peer["podSelector"], labels)


def _opens(direction: str, own: Pod, other: Pod, port: int) -> bool:
    """Say whether the policies of a pod let it talk with another; without a policy all is open."""
    policies = [item for item in of_kind("NetworkPolicy") if item["metadata"]["namespace"] == own[0]
                and direction in item["spec"]["policyTypes"]
                and _selects(item["spec"]["podSelector"], _labels(own)[1])]
    peers = {"Ingress": "from", "Egress": "to"}[direction]
    return not policies or any(
        ("ports" not in rule or port in {each["port"] for each in rule["ports"]})
        and (peers not in rule or any(_is_peer(peer, other, own[0]) for peer in rule[peers]))
        for policy in policies for rule in policy["spec"].get(direction.lower(), []))


def _connects(source: Pod, target: Pod, port: int) -> bool:
    return _opens("Egress", source, target, port) and _opens("Ingress", target, source, port)


def _pod(pod: str | Pod) -> Pod:
    return ("taglab", pod) if isinstance(pod, str) else pod


@pytest.mark.parametrize("source, target, port", NEEDED)
def test_what_a_part_needs_is_open(source: str | Pod, target: str | Pod, port: int) -> None:
    assert _connects(_pod(source), _pod(target), port)


def test_nothing_else_is_open() -> None:
    listening = {item["metadata"]["name"]: {port["port"] for port in item["spec"]["ports"]}
                 for item in of_kind("Service") if "ports" in item["spec"]}
    everybody = [*map(_pod, PLATFORM_PARTS), PIPELINE, OUTSIDE]
    open_ones = {(source, _pod(target), port) for target, ports in listening.items()
                 for port in ports for source in everybody
                 if source != _pod(target) and _connects(source, _pod(target), port)}
    needed = {(_pod(source), _pod(target), port) for source, target, port in NEEDED}
    assert open_ones == {each for each in needed if each[1][0] == "taglab"}
    assert not _connects(OUTSIDE, PIPELINE, 29500)


def test_the_list_has_every_workload() -> None:
    assert set(PLATFORM_PARTS) == set(workloads())


def test_ports_to_anywhere_are_the_documented_ones() -> None:
    found = {}
    for policy in of_kind("NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            if "to" not in rule and {each["port"] for each in rule["ports"]} != {53}:
                name = policy["spec"]["podSelector"]["matchLabels"]["app"]
                found[name] = {each["port"] for each in rule["ports"]}
    assert found == TO_ANYWHERE
    node_ports = {port["nodePort"] for item in of_kind("Service")
                  for port in item["spec"].get("ports", []) if "nodePort" in port}
    assert TO_ANYWHERE["drone"] & set(range(30000, 32768)) <= node_ports


def test_pipelines_cannot_ask_a_cloud_for_the_rights_of_its_node() -> None:
    default, = (item for item in of_kind("NetworkPolicy")
                if item["metadata"]["namespace"] == "taglab-pipelines")
    blocks = [peer["ipBlock"] for rule in default["spec"]["egress"] for peer in rule.get("to", [])
              if "ipBlock" in peer]
    assert {block["cidr"]: block["except"] for block in blocks}["0.0.0.0/0"] == ["169.254.0.0/16"]


def test_steps_of_compose_reach_one_port_of_the_storage() -> None:
    beside = {name for name, service in COMPOSE["services"].items()
              if "storage" in service["networks"]}
    assert beside == {"seaweedfs", "s3"} and "ports" not in COMPOSE["services"]["seaweedfs"]
    assert COMPOSE["services"]["seaweedfs"]["networks"] == ["storage"]


def test_steps_of_compose_see_no_drone_and_no_gitea() -> None:
    beside_steps = {name for name, service in COMPOSE["services"].items()
                    if "labs" in service["networks"]}
    assert beside_steps == {"mlflow-server", "s3", "postgres", "buckets"}
    assert COMPOSE["services"]["drone-runner"]["environment"]["DRONE_RUNNER_NETWORKS"] == (
        COMPOSE["networks"]["labs"]["name"])
