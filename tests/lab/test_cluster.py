"""What a lab gives to a cluster, against the schemas of Kubernetes and the rules of Drone."""
from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from taglab.cluster import manifest as jobs

from .conftest import ONE_KIND, TEMPLATE, BakedLab

LAB = TEMPLATE / "{{cookiecutter.project_slug}}"
KUBERNETES = LAB / "runtimes" / "kubernetes"
MANIFESTS = [(file.name, manifest) for file in sorted(KUBERNETES.glob("*.yaml"))
             for manifest in yaml.safe_load_all(file.read_text())]
VERSIONS = [(1, minor) for minor in range(21, 38)]  # the oldest and all newer ones
TABLES = {"small": {}, "training": {"parallelism": 2, "torchrun": 4, "gpu": 4},
          "host": {"parallelism": 2, "torchrun": 1, "host_network": True},
          "everything": tomllib.loads((KUBERNETES / "wide_job.toml").read_text())["cluster"]
          | {"claims": {"/data": "lab-data"}}}


@pytest.fixture(scope="module")
def wide() -> SimpleNamespace:
    """The manifests of a wide job, as a step would make them."""
    step = jobs.Step("pipelines", "drone-abc", "123", "10.0.0.7", "runner:1", [
        {"name": "DRONE_TAG", "value": "exp-1"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {
            "name": "drone-abc", "key": "key", "optional": True}}}], "wide-jobs", [])

    def job(table: dict, version: tuple[int, int]) -> dict:
        made = jobs.wide_job({"cluster": table}, {})
        command = jobs.process_command(made, "wide", "", ["main.py"])
        return jobs.job_manifest(made, step, version, "wide", command)

    return SimpleNamespace(job=job, service=jobs.service_manifest("wide", "pipelines", "456"))


def check(manifest: dict, version: tuple[int, int]) -> None:
    """Judge a manifest by the schema of a version of Kubernetes, the oldest that is there."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    schemas = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    known = sorted(int(re.search(r"v1\.(\d+)", each.name)[1]) for each in schemas.iterdir())
    minor = min(max(version[1], known[0]), known[-1])
    kubernetes_validate.validate(manifest, f"1.{minor}", strict=True)


@pytest.mark.parametrize("version", VERSIONS, ids="{0[0]}.{0[1]}".format)
def test_jobs_are_valid_in_every_kubernetes(wide: SimpleNamespace, version: tuple) -> None:
    for table in TABLES.values():
        check(wide.job(table, version), version)
    check(wide.service, version)


@pytest.mark.parametrize("name, manifest", MANIFESTS, ids=[
    f"{name}-{manifest['kind']}" for name, manifest in MANIFESTS])
def test_manifests_are_valid_in_the_oldest_and_the_newest(name: str, manifest: dict) -> None:
    for version in (VERSIONS[0], VERSIONS[-1]):
        check(manifest, version)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not on PATH")
@pytest.mark.parametrize("file", ["role.yaml", "gpu.yaml"])
def test_kubectl_reads_the_manifests(file: str, tmp_path: Path) -> None:
    done = subprocess.run(["kubectl", "create", "--dry-run=client", "--validate=false",
                           "--output=name", f"--filename={KUBERNETES / file}"],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "KUBECACHEDIR": str(tmp_path)})
    if re.search("refused|couldn't get|unable to connect", done.stdout, re.IGNORECASE):
        pytest.skip("this kubectl asks a cluster even for a dry run")
    assert done.returncode == 0, done.stdout


def test_the_example_is_the_job_of_110_pods_field_for_field(wide: SimpleNamespace) -> None:
    spec = wide.job(TABLES["everything"], (1, 35))["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert spec["parallelism"] == spec["completions"] == 110
    assert pod["restartPolicy"] == "Never" and pod["hostNetwork"] is True
    assert pod["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "true", "effect": "NoSchedule"}]
    affinity = pod["affinity"]["nodeAffinity"]
    assert affinity["requiredDuringSchedulingIgnoredDuringExecution"] == {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "gpu_mem_size", "operator": "In", "values": [
            "8GB", "11GB", "12GB", "24GB", "32GB"]}]}]}
    assert affinity["preferredDuringSchedulingIgnoredDuringExecution"] == [
        {"weight": 100, "preference": {"matchExpressions": [
            {"key": "tensor_cores", "operator": "In", "values": ["true"]}]}}]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    mount = next(each for each in container["volumeMounts"] if each["mountPath"] == "/mnt")
    assert {"name": mount["name"], "hostPath": {"path": "/mnt"}} in pod["volumes"]
    for name in ("DJ_HOST", "DJ_USER", "DJ_PASS"):
        assert {"name": name, "valueFrom": {"secretKeyRef": {
            "name": "datajoint-credentials", "key": name}}} in container["env"]


def blocks(page: str, language: str) -> list[str]:
    """Return the code of one language on a page of the documents."""
    text = (LAB / "lab" / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


def test_what_the_pages_show_is_right(wide: SimpleNamespace) -> None:
    from taglab.engines.drone.lint import lint

    (pipeline,) = blocks("moving_to_a_server.md", "yaml")
    found = [each for each in lint(pipeline) if "was not built from" not in each.text]
    assert [each.level for each in found] == ["warning"], found
    assert "untrusted repositories cannot mount PVC" in found[0].text
    tables = [tomllib.loads(block)["cluster"] for block in blocks("scaling.md", "toml")]
    assert len(tables) == 3
    for table in tables:
        check(wide.job(table, (1, 35)), (1, 35))


@ONE_KIND
def test_a_pod_finds_the_library_in_its_clone(lab: BakedLab, tmp_path: Path) -> None:
    """What a pod of a wide job runs, run here: the clone, and a search with its workers."""
    workspace = tmp_path / "src"
    workspace.mkdir()
    [pipeline] = [each for each in yaml.safe_load_all((lab.path / ".drone.yml").read_text())
                  if each["name"] == "experiments"]
    values = {
        "PYTHONPATH": pipeline["environment"]["PYTHONPATH"].replace("/drone/src", str(workspace)),
        "DRONE_REMOTE_URL": f"file://{lab.path}/.lab/origin.git", "DRONE_WORKSPACE": str(workspace),
        "DRONE_COMMIT_REF": "refs/tags/run-examples-v1", "DRONE_TAG": "wide-v1",
        "DRONE_COMMIT_SHA": lab.ok("git rev-parse run-examples-v1^{commit}").strip()}
    variables = [{"name": name, "value": value} for name, value in values.items()]
    step = jobs.Step("pipelines", "drone-abc", "123", "10.0.0.7", "runner:1", variables,
                     "wide-jobs", [])
    job = jobs.wide_job({"cluster": {}}, {})
    assert job
    main = f"{workspace}/lab/processes/svm_search/main.py"
    words = jobs.process_command(job, "wide", "", [main, "default.trials=4"])
    [pod] = jobs.pod_spec(job, step, "wide", words)["containers"]
    shell = {each["name"]: each["value"] for each in pod["env"]}
    lab.ok(f"cd {workspace} && env -u LAB_ROOT {shlex.join(pod['command'])}", **shell,
           JOB_COMPLETION_INDEX="0", LAB_STATE=str(tmp_path / "state"), HOME=str(tmp_path),
           MLFLOW_TRACKING_URI=f"sqlite:///{lab.path}/mlflow.db")
    runs = lab.runs(job="wide")
    assert len(runs) == 5 and {run["status"] for run in runs} == {"FINISHED"}
    assert {run["tags"]["tag"] for run in runs} == {"wide-v1"}
