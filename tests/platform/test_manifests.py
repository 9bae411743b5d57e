"""The manifests: valid, complete, pinned, without passwords, with no more rights than needed."""
from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest

from .conftest import (
    COMPOSE, KUSTOMIZATION, MANIFESTS, PLATFORM, containers, load, of_kind, workloads)

SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
VERSIONS = sorted({tuple(map(int, re.findall(r"\d+", folder.name)[:2]))
                   for folder in SCHEMAS.iterdir()})
IDS = [f"{document['kind']}-{document['metadata']['name']}" for _, document in MANIFESTS]
NOT_IN_A_VERSION = {"drone/kubernetes-secrets:latest"}  # its makers have published no other tag
RIGHTS = {
    "drone-runner": {"pods": {"create", "delete", "get", "list", "update", "watch"},
                     "pods/log": {"get"}, "secrets": {"create", "delete"}},
    "drone-secrets": {"secrets": {"get"}},
}


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]], ids=lambda pair: "1.%d" % pair[1])
@pytest.mark.parametrize("document", [document for _, document in MANIFESTS], ids=IDS)
def test_every_object_is_valid_in_the_oldest_and_the_newest_schema(
        document: dict, version: tuple[int, int]) -> None:
    kubernetes_validate.validate(document, "{}.{}".format(*version), strict=True)


def test_a_wrong_field_is_not_valid() -> None:
    wrong = {**MANIFESTS[0][1], "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "{}.{}".format(*VERSIONS[-1]), strict=True)


def test_the_kustomization_lists_every_file() -> None:
    assert set(KUSTOMIZATION["resources"]) | {"kustomization.yaml"} == {
        file.name for file in PLATFORM.glob("*.yaml")}
    generated = {file for item in KUSTOMIZATION["configMapGenerator"] for file in item["files"]}
    assert generated == {file.name for file in PLATFORM.iterdir()
                         if file.suffix in (".sh", ".json")}


def test_every_object_says_its_namespace() -> None:
    for document in of_kind("Deployment", "StatefulSet", "Job", "Service", "NetworkPolicy", "Role",
                            "RoleBinding", "ServiceAccount", "PersistentVolumeClaim"):
        assert document["metadata"]["namespace"] in ("taglab", "taglab-pipelines")


@pytest.mark.parametrize("image", sorted(
    {container["image"] for _, container in containers()}
    | {service["image"] for service in COMPOSE["services"].values()}))
def test_images_are_pinned(image: str) -> None:
    assert image in NOT_IN_A_VERSION or re.search(r":\w*[.-]?\d+[.-]\d+[.\w-]*$", image), image


def test_compose_runs_the_same_versions_as_the_cluster() -> None:
    there = dict(image.rsplit(":", 1) for image in (item["image"] for _, item in containers()))
    for service in COMPOSE["services"].values():
        name, tag = service["image"].rsplit(":", 1)
        assert there.get(name, tag) == tag
    texts = [(PLATFORM / file).read_text(encoding="utf-8")
             for file in ("compose.yml", "runner.yaml")]
    assert len({re.search(r"drone/git:[\w.]+", text).group() for text in texts}) == 1


@pytest.mark.parametrize("file", sorted(  # .env is made by install, and not in git
    file for file in PLATFORM.iterdir() if file.is_file() and file.name != ".env"),
    ids=lambda file: file.name)
def test_no_file_holds_a_password(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.findall(r"[0-9a-fA-F]{24,}|[A-Za-z0-9+/]{40,}={0,2}(?![\w/])", text)
    given = re.findall(r"(?i)(?:password|passwd|secret|token)[\w-]*['\"]?\s*[:=]\s*(\S+)", text)
    assert not [value for value in given if re.fullmatch(r"[\"']?\w{8,}[\"']?", value)
                and re.search(r"\d", value)]


def test_variables_that_hold_a_password_take_it_from_elsewhere() -> None:
    secret = re.compile("(PASSWORD|PASSWD|SECRETS?|SECRET_KEY|TOKEN|DATASOURCE|STORE_URI)$")
    for _, container in containers():
        for entry in container.get("env", []):
            if secret.search(entry["name"]):
                source = entry.get("valueFrom") or "$(" in entry["value"]
                assert source and "configMapKeyRef" not in str(source), entry
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not secret.search(name) or "${" in value, name


@pytest.mark.parametrize("name, container", list(containers()), ids=[n for n, _ in containers()])
def test_containers_are_bounded_probed_and_unprivileged(name: str, container: dict) -> None:
    pod = workloads()[name]["spec"]["template"]["spec"]
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False,
                                            "readOnlyRootFilesystem": True,
                                            "capabilities": {"drop": ["ALL"]}}
    assert pod["enableServiceLinks"] is False
    assert ("serviceAccountName" in pod) != (pod.get("automountServiceAccountToken") is False)
    if workloads()[name]["kind"] != "Job":
        assert "readinessProbe" in container
        assert pod["priorityClassName"] == "taglab-platform"


def test_services_and_workloads_fit() -> None:
    for service in of_kind("Service"):
        if service["spec"].get("type") == "ExternalName":
            name = service["metadata"]["name"]
            assert service["spec"]["externalName"] == f"{name}.taglab.svc.cluster.local"
            continue
        template = workloads()[service["metadata"]["name"]]["spec"]["template"]
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for name, item in workloads().items():
        if item["kind"] != "Job":
            labels = item["spec"]["template"]["metadata"]["labels"]
            assert item["spec"]["selector"]["matchLabels"] == labels == {"app": name}


def test_what_pods_refer_to_is_there() -> None:
    claims = {item["metadata"]["name"] for item in of_kind("PersistentVolumeClaim")}
    maps = {item["name"] for item in KUSTOMIZATION["configMapGenerator"]}
    for name, item in workloads().items():
        pod = item["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for volume in volumes.values():
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
            assert volume.get("configMap", {}).get("name") in {None, *maps}
        mounted = {mount["name"] for mount in pod["containers"][0].get("volumeMounts", [])}
        assert mounted == set(volumes), name


def keys_read(source: str) -> set[str]:
    """Return the keys that containers read from Secrets or from ConfigMaps."""
    return {entry["valueFrom"][source]["key"] for _, container in containers()
            for entry in container.get("env", []) if source in entry.get("valueFrom", {})}


def test_every_password_is_made_and_used() -> None:
    install = load("install")
    made = {*install.PASSWORDS, "drone-client-id", "drone-client-secret"}
    assert keys_read("secretKeyRef") == made
    settings = install.Addresses("http://a", "http://b", "http://c", "http://d").settings()
    assert keys_read("configMapKeyRef") == set(settings)


def test_rights_are_the_documented_ones() -> None:
    assert not of_kind("ClusterRole", "ClusterRoleBinding")
    roles = {role["metadata"]["name"]: role for role in of_kind("Role")}
    assert {name: {resource: set(rule["verbs"]) for rule in role["rules"]
                   for resource in rule["resources"]} for name, role in roles.items()} == RIGHTS
    for item in (*roles.values(), *of_kind("RoleBinding")):
        assert item["metadata"]["namespace"] == "taglab-pipelines"
    for binding in of_kind("RoleBinding"):
        name = binding["metadata"]["name"]
        assert binding["roleRef"]["name"] == name
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": name, "namespace": "taglab"}]


def test_kubectl_reads_the_kustomization() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(PLATFORM)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count = len(MANIFESTS) + len(KUSTOMIZATION["configMapGenerator"])
    assert len(re.findall(r"(?m)^kind: ", done.stdout)) == count
