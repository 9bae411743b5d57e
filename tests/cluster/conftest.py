"""A lab and its servers in a namespace of the cluster that KUBECONFIG names."""
from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from tests.lab.servers import postgresql
from tests.tracking.conftest import empty_store, lab_folder, own_store  # noqa: F401  fixtures

TEMPLATE = Path(__file__).parents[2]
PROCESSES = Path(__file__).with_name("processes")
TAG = "wide-v1"
AUTHOR = {"GIT_AUTHOR_NAME": "Ann Lee", "GIT_AUTHOR_EMAIL": "ann@lab.example",
          "GIT_COMMITTER_NAME": "Ann Lee", "GIT_COMMITTER_EMAIL": "ann@lab.example",
          "GIT_CONFIG_GLOBAL": os.devnull}
ENDED = ("Succeeded", "Failed")
# The services that the pods need: the lab's repository and a tracking server. Installs nothing.
SERVER = """\
cd /tmp
git clone --quiet --mirror /bundle/lab.bundle repositories/lab.git
git daemon --export-all --base-path=/tmp/repositories --reuseaddr --detach
exec mlflow server --host 0.0.0.0 --port 5000 --workers 1 --allowed-hosts '*' \
  --backend-store-uri sqlite:////tmp/mlflow.db --artifacts-destination /tmp/artifacts
"""


@dataclass
class Cluster:
    """The API server of a cluster, and one namespace in it."""

    session: requests.Session
    address: str
    namespace: str
    image: str

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Send a request; return its JSON, or None where nothing is found."""
        reply = self.session.request(method, self.address + path, json=body, params=query,
                                     timeout=60)
        if reply.status_code == 404:
            return None
        assert reply.ok, reply.text
        return reply.json()

    def core(self, kind: str) -> str:
        """Return the path of a kind of core resources in the namespace."""
        return f"/api/v1/namespaces/{self.namespace}/{kind}"

    def jobs(self) -> list[dict]:
        """Return the jobs of the namespace."""
        return self.ask("GET", f"/apis/batch/v1/namespaces/{self.namespace}/jobs")["items"]

    def pods(self, labels: str = "") -> list[dict]:
        """Return the pods of the namespace."""
        return self.ask("GET", self.core("pods"), labelSelector=labels)["items"]

    def pod(self, name: str) -> dict:
        """Return a pod."""
        return self.ask("GET", f"{self.core('pods')}/{name}")

    def delete_pod(self, name: str, seconds: int = 30) -> None:
        """Delete a pod, giving its processes `seconds` to end."""
        self.ask("DELETE", f"{self.core('pods')}/{name}", {"gracePeriodSeconds": seconds})

    def log(self, pod: str) -> str:
        """Return what a pod's first container has printed."""
        reply = self.session.get(f"{self.address}{self.core('pods')}/{pod}/log", timeout=60)
        return reply.content.decode(errors="replace") if reply.ok else ""

    def start(self, name: str, script: str, environment: dict | None = None,
              **spec: Any) -> None:
        """Start a pod that runs a shell script in an empty folder."""
        variables = [{"name": key, "value": value} for key, value in (environment or {}).items()]
        mounts = [{"name": volume["name"], "mountPath": f"/{volume['name']}"}
                  for volume in spec.get("volumes", [])]
        self.ask("POST", self.core("pods"), {"metadata": {"name": name}, "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, **spec,
            "volumes": [*spec.get("volumes", []), {"name": "workspace", "emptyDir": {}}],
            "containers": [{
                "name": "main", "image": self.image, "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-ec", script], "env": variables,
                "workingDir": "/drone/src", "volumeMounts": [
                    *mounts, {"name": "workspace", "mountPath": "/drone/src"}]}]}})

    def finish(self, pod: str, seconds: float = 300) -> tuple[int, str]:
        """Wait until a pod ends; return its exit status and what it printed."""
        self.wait(lambda: self.pod(pod)["status"]["phase"] in ENDED, seconds,
                  lambda: self.log(pod))
        state = self.pod(pod)["status"]["containerStatuses"][0]["state"]["terminated"]
        return state["exitCode"], self.log(pod)

    def wait(self, condition: Callable[[], object], seconds: float = 120,
             explain: Callable[[], str] = str) -> None:
        """Wait until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s\n{explain()}"
            time.sleep(1)

    def apply(self, file: Path) -> None:
        """Create the resources of one of the lab's manifests in the namespace."""
        kinds = {"ServiceAccount": self.core("serviceaccounts")}
        group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}"
        kinds |= {"Role": f"{group}/roles", "RoleBinding": f"{group}/rolebindings"}
        for manifest in yaml.safe_load_all(file.read_text()):
            self.ask("POST", kinds[manifest["kind"]], manifest)

    def python(self, code: str, **environment: str) -> str:
        """Run Python code in a pod and return what it printed."""
        name = f"ask-{uuid.uuid4().hex[:6]}"
        self.start(name, 'exec python -c "$CODE"', {"CODE": code, **environment})
        status, printed = self.finish(name)
        assert status == 0, printed
        return printed


@pytest.fixture
def storage(cluster: Cluster, tmp_path: Path) -> Iterator[None]:
    """A PostgreSQL on this machine, a Secret with its address; skips where no pod reaches it."""
    api = urlsplit(cluster.address)
    with socket.create_connection((api.hostname, api.port or 443)) as to_cluster:
        own_address = to_cluster.getsockname()[0]
    secrets = cluster.core("secrets")
    with postgresql(tmp_path / "postgresql", own_address) as address:
        cluster.ask("POST", secrets, {"metadata": {"name": "lab"},
                                      "stringData": {"LAB_SEARCH_STORAGE": address}})
        try:
            cluster.start("reach", 'exec python -c "import os, sqlalchemy; '
                          "sqlalchemy.create_engine(os.environ['STORAGE'],"
                          " connect_args={'connect_timeout': 10}).connect()\"",
                          {"STORAGE": address})
            status, printed = cluster.finish("reach")
            if "OperationalError" in printed:
                pytest.skip(f"the pods do not reach PostgreSQL at {own_address}, this machine")
            assert status == 0, printed
            yield
        finally:
            cluster.ask("DELETE", f"{secrets}/lab")


@dataclass
class Server:
    """The lab's repository and the tracking server, as the pods see them."""

    cluster: Cluster
    address: str
    commit: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables that Drone and `.drone.yml` set for a step."""
        return {
            "DRONE_REMOTE_URL": f"git://{self.address}/lab.git", "DRONE_TAG": TAG,
            "DRONE_COMMIT_REF": f"refs/tags/{TAG}", "DRONE_COMMIT_SHA": self.commit,
            "DRONE_WORKSPACE": "/drone/src", "DRONE_BUILD_NUMBER": "7",
            "PYTHONPATH": "/drone/src/lab:/drone/src/vendor", "PYTHONUNBUFFERED": "1",
            "LAB_STATE": "/tmp/state",
            "MLFLOW_TRACKING_URI": f"http://{self.address}:5000"}

    def start_step(self, process: str, script: str = "exec python $MAIN", **more: str) -> str:
        """Start the pod of a step that runs a process of the lab; return its name."""
        pod = f"step-{process.replace('_', '-')}-{uuid.uuid4().hex[:6]}"
        self.cluster.start(
            pod, "git -c safe.directory='*' clone --quiet --branch $DRONE_TAG $DRONE_REMOTE_URL . "
            f"2>/dev/null\n{script}",
            {**self.environment, "MAIN": f"lab/processes/{process}/main.py",
             "MLFLOW_EXPERIMENT_NAME": process, "AUTHOR_SECRET": "a", **more},
            serviceAccountName="wide-jobs")
        return pod

    def runs(self, experiment: str) -> list[dict]:
        """Return the runs of an experiment: status, tags, params and metrics."""
        return yaml.safe_load(self.cluster.python(
            "import json, mlflow\n"
            f"runs = mlflow.search_runs(experiment_names=['{experiment}'], output_format='list')\n"
            "print(json.dumps([{'status': r.info.status, 'tags': r.data.tags,"
            " 'params': r.data.params, 'metrics': r.data.metrics} for r in runs]))",
            MLFLOW_TRACKING_URI=f"http://{self.address}:5000").splitlines()[-1])


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A namespace of its own, removed at the end."""
    kubeconfig, image = os.environ.get("KUBECONFIG"), os.environ.get("CLUSTER_IMAGE")
    if not kubeconfig or not image:
        pytest.skip("KUBECONFIG must name a cluster, CLUSTER_IMAGE an image that its nodes have")
    found = Cluster(*connection(Path(kubeconfig), tmp_path_factory.mktemp("keys")),
                    f"lab-test-{uuid.uuid4().hex[:6]}", image)
    found.ask("POST", "/api/v1/namespaces", {"metadata": {"name": found.namespace}})
    try:
        found.apply(TEMPLATE / "{{cookiecutter.project_slug}}/runtimes/kubernetes/role.yaml")
        found.wait(lambda: found.ask("GET", f"{found.core('serviceaccounts')}/default"))
        yield found
    finally:
        found.ask("DELETE", f"/api/v1/namespaces/{found.namespace}")


def connection(kubeconfig: Path, keys: Path) -> tuple[requests.Session, str]:
    """Return a session and the address of the cluster of a kubeconfig's current context."""
    config = yaml.safe_load(kubeconfig.read_text())

    def named(kind: str, name: str) -> dict:
        return next(each[kind] for each in config[f"{kind}s"] if each["name"] == name)

    def file(of: dict, key: str) -> str | None:
        if f"{key}-data" in of:
            (keys / key).write_bytes(base64.b64decode(of[f"{key}-data"]))
            return str(keys / key)
        return str(kubeconfig.parent / of[key]) if key in of else None

    context = named("context", config["current-context"])
    server, user = named("cluster", context["cluster"]), named("user", context["user"])
    session = requests.Session()
    session.trust_env = False
    session.verify = (not server.get("insecure-skip-tls-verify")
                      and (file(server, "certificate-authority") or True))
    if certificate := file(user, "client-certificate"):
        session.cert = (certificate, file(user, "client-key"))
    if "token" in user:
        session.headers["Authorization"] = f"Bearer {user['token']}"
    return session, server["server"].rstrip("/")


@pytest.fixture(scope="session")
def lab(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with the processes of this folder, and the tag that holds them."""
    folder = tmp_path_factory.mktemp("labs")
    subprocess.run(
        [Path(sys.executable).with_name("cookiecutter"), TEMPLATE, "--no-input", "--output-dir",
         folder, "project_name=Wide Lab", f"runner_image={cluster.image}",
         "mlflow_tracking_uri=http://tracking-server:5000"],
        env={**os.environ, **AUTHOR}, check=True, capture_output=True)
    path = folder / "wide-lab"
    for file in PROCESSES.rglob("*.*"):
        if file.suffix in (".py", ".toml"):
            copy = path / "lab" / "processes" / file.relative_to(PROCESSES)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text())
    for command in ("add -A", "commit -q -m Processes", f"tag {TAG}"):
        subprocess.run(["git", *command.split()], cwd=path, env={**os.environ, **AUTHOR},
                       check=True)
    return path


@pytest.fixture(scope="session")
def server(cluster: Cluster, lab: Path) -> Server:
    """A pod with the lab's repository and a tracking server."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "lab.bundle")
        subprocess.run(["git", "bundle", "create", "-q", bundle, "--all"], cwd=lab, check=True)
        data = base64.b64encode(bundle.read_bytes()).decode()
    commit = subprocess.run(["git", "rev-parse", TAG], cwd=lab, check=True, text=True,
                            capture_output=True).stdout.strip()
    cluster.ask("POST", cluster.core("configmaps"), {
        "metadata": {"name": "lab"}, "binaryData": {"lab.bundle": data}})
    cluster.start("server", SERVER, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                  volumes=[{"name": "bundle", "configMap": {"name": "lab"}}])
    cluster.wait(lambda: "Uvicorn running" in cluster.log("server")
                 or "startup complete" in cluster.log("server"), 240,
                 lambda: cluster.log("server"))
    return Server(cluster, cluster.pod("server")["status"]["podIP"], commit)
