"""What is installed besides the manifests: passwords, addresses, compose, databases; removal."""
from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from .conftest import COMPOSE, PLATFORM, load
from .servers import PASSWORDS, databases, make_databases, psql

INSTALL, REMOVE, CONVERT = load("install"), load("remove"), load("compose_convert.py")
ADDRESSES = INSTALL.Addresses(*(f"http://node1.example:{port}" for port in (1, 2, 3, 4)))
Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return a function that runs a program of the platform, with a cluster that is not there."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "the-cluster",
              "contexts": [{"name": "the-cluster", "context": {"cluster": "c", "user": "u"}}],
              "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
              "users": [{"name": "u", "user": {"token": "none"}}]}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))

    def run(name: str, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([PLATFORM / name, *arguments], capture_output=True, text=True,
                              input=answer, cwd=tmp_path,
                              env={**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig")})
    return run


def printed_objects(text: str) -> list[dict]:
    """Return the printed objects; those of a List one by one."""
    return [item for document in yaml.safe_load_all(text)
            for item in document.get("items", [document])]


def printed_secrets(text: str) -> dict[str, dict[str, str]]:
    """Return the decoded Secrets among printed objects, by name."""
    return {item["metadata"]["name"]: {key: base64.b64decode(value).decode()
                                       for key, value in item["data"].items()}
            for item in printed_objects(text) if item["kind"] == "Secret"}


def test_programs_without_a_suffix_are_clean_too() -> None:
    subprocess.run([sys.executable, "-m", "flake8", PLATFORM / "install", PLATFORM / "remove"],
                   cwd=PLATFORM.parent, check=True)


def test_passwords_are_long_and_different_and_known_ones_stay() -> None:
    first = INSTALL.make_passwords({})
    assert len(set(first.values())) == len(INSTALL.PASSWORDS)
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in first.values())
    assert INSTALL.make_passwords(first) == first
    assert INSTALL.make_passwords({"s3-lab": "kept", "drone-client-id": "id"}).items() >= {
        "s3-lab": "kept", "drone-client-id": "id"}.items()


def test_print_renders_everything_without_a_cluster(program: Program) -> None:
    once, again = (program("install", "node1.example", "--print") for _ in range(2))
    assert once.returncode == 0, once.stderr
    for document in printed_objects(once.stdout):
        kubernetes_validate.validate(document, "1.32", strict=True)
    secrets, others = printed_secrets(once.stdout), printed_secrets(again.stdout)
    assert set(secrets["passwords"]) == set(INSTALL.PASSWORDS)
    assert not set(secrets["passwords"].values()) & set(others["passwords"].values())
    assert secrets["lab"]["AWS_SECRET_ACCESS_KEY"] == secrets["passwords"]["s3-lab"]
    storage = urlsplit(secrets["lab"]["LAB_SEARCH_STORAGE"])
    assert storage.password == secrets["passwords"]["postgres-search"]
    assert (storage.username, storage.hostname, storage.path) == ("search", "postgres", "/search")


@pytest.mark.parametrize("host, word", [
    ("localhost", "inside a container"), ("127.0.0.1", "inside a container"),
    ("http://node1", "bare name"), ("a b", "bare name"), ("x;rm", "bare name")])
def test_a_host_that_cannot_work_is_refused(program: Program, host: str, word: str) -> None:
    done = program("install", host)
    assert done.returncode == 2 and word in done.stderr and host in done.stderr


def test_an_unreachable_cluster_is_one_clear_error(program: Program) -> None:
    done = program("install", "node1.example")
    assert done.returncode == 1
    assert "`kubectl apply" in done.stderr and "type the same command again" in done.stderr
    assert "Traceback" not in done.stderr


def test_addresses_come_from_the_host_or_as_given() -> None:
    options = INSTALL.parse(["node1.example", "--gitea", "https://git.example/"])
    found = INSTALL.find_addresses(options)
    assert (found.gitea, found.drone) == ("https://git.example", "http://node1.example:30380")
    settings = found.settings()
    assert (settings["drone-host"], settings["drone-protocol"]) == ("node1.example:30380", "http")
    assert settings["mlflow-hosts"].split(",")[-1] == "node1.example:30500"
    assert {"mlflow-server:5000", "localhost:*"} <= set(settings["mlflow-hosts"].split(","))


def test_ports_are_those_of_the_services() -> None:
    texts = {name: (PLATFORM / f"{name}.yaml").read_text(encoding="utf-8")
             for name in ("gitea", "drone", "mlflow", "s3")}
    assert tuple(int(re.search(r"nodePort: (\d+)", text).group(1)) for text in texts.values()) == (
        INSTALL.PORTS["kubernetes"])
    names = ("gitea", "drone", "mlflow-server", "s3")
    assert tuple(int(COMPOSE["services"][name]["ports"][0].split(":")[0]) for name in names) == (
        INSTALL.PORTS["compose"])


def test_drone_is_registered_with_its_login_address() -> None:
    asked = []

    def in_gitea(application: str) -> str:
        asked.append(json.loads(application))
        return '{"id": 1, "client_id": "the-id", "client_secret": "the-secret"}'
    assert INSTALL.register_drone(ADDRESSES, in_gitea) == {
        "drone-client-id": "the-id", "drone-client-secret": "the-secret"}
    assert asked[0]["redirect_uris"] == ["http://node1.example:2/login"]


@pytest.mark.parametrize("script", ["databases.sh", "buckets.sh", "REGISTER_DRONE"])
def test_shell_scripts_parse(script: str) -> None:
    text = (INSTALL.REGISTER_DRONE if script == "REGISTER_DRONE"
            else (PLATFORM / script).read_text(encoding="utf-8"))
    done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--shell=sh", "-"], input=text, text=True, check=True)


def test_the_environment_file_comes_back_and_is_private(tmp_path: Path) -> None:
    passwords = {**INSTALL.make_passwords({}), "drone-client-id": "id", "drone-client-secret": "s"}
    text = INSTALL.environment_file(ADDRESSES, passwords)
    assert INSTALL.read_environment_file(text) == passwords
    INSTALL._write_privately(tmp_path / ".env", text)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    done = subprocess.run(["git", "check-ignore", "platform/.env"], cwd=PLATFORM.parent)
    assert done.returncode == 0


def test_compose_takes_only_what_the_environment_file_has() -> None:
    text = (PLATFORM / "compose.yml").read_text(encoding="utf-8")
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    given = INSTALL.environment_file(ADDRESSES, INSTALL.make_passwords({
        "drone-client-id": "id", "drone-client-secret": "secret"}))
    assert asked == set(re.findall(r"(?m)^(\w+)=", given))


def test_compose_fits_together() -> None:
    for name, service in COMPOSE["services"].items():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert {each["source"] for each in service.get("configs", [])} <= set(COMPOSE["configs"])
        volumes = {each.split(":")[0] for each in service.get("volumes", []) if each[0] != "/"}
        assert volumes <= set(COMPOSE["volumes"]), name
        assert set(service.get("depends_on", [])) <= set(COMPOSE["services"])
    for config in COMPOSE["configs"].values():
        assert (PLATFORM / config["file"]).is_file()


def test_docker_compose_reads_the_file(tmp_path: Path) -> None:
    if subprocess.run("docker compose version", shell=True, capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    (tmp_path / "env").write_text(INSTALL.environment_file(ADDRESSES, INSTALL.make_passwords({})))
    subprocess.run(["docker", "compose", "--env-file", tmp_path / "env", "--file",
                    PLATFORM / "compose.yml", "config", "--quiet"], check=True)


def test_the_converter_changes_the_type_alone() -> None:
    lab = PLATFORM.parent / "{{cookiecutter.project_slug}}" / ".drone.yml"
    text = lab.read_text(encoding="utf-8")
    after = CONVERT.convert(text)
    changed = [pair for pair in zip(text.splitlines(), after.splitlines(), strict=True)
               if pair[0] != pair[1]]
    assert changed and set(changed) == {("type: kubernetes", "type: docker")}
    for line in ("type: 'kubernetes'", 'type:  "kubernetes"', "type: kubernetes  # where it runs"):
        assert CONVERT.convert(line).startswith("type: docker")
    for line in ("type: exec", "  type: kubernetes", "- type: kubernetes", "type: kubernetesx"):
        assert CONVERT.convert(line) == line


def test_the_converter_answers_as_drone_expects() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), CONVERT.Converter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    body = {"build": {"id": 1}, "repo": {"slug": "ann/lab"},
            "config": {"data": "kind: pipeline\ntype: kubernetes\nname: ü\n"}}
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/",
                                     json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer) == {"data": "kind: pipeline\ntype: docker\nname: ü\n"}
    server.shutdown()


def test_each_part_enters_its_own_database_only(tmp_path: Path) -> None:
    parts = ("gitea", "drone", "mlflow", "search")
    with databases(tmp_path / "postgres") as port:
        for user in parts:
            password = PASSWORDS[f"postgres-{user}"]
            for database in parts:
                done = psql(port, user, database, "SELECT 1", password)
                assert (done.returncode == 0) == (user == database), done.stderr
            assert psql(port, user, user, "CREATE TABLE t (x int)", password).returncode == 0
            assert psql(port, user, user, "SELECT 1", "wrong").returncode
        make_databases(port)  # again: nothing is lost
        assert psql(port, "gitea", "gitea", "SELECT * FROM t",
                    PASSWORDS["postgres-gitea"]).returncode == 0
        limits = psql(port, "lab", "postgres", "SELECT sum(rolconnlimit) FROM pg_roles "
                                               "WHERE rolconnlimit > 0").stdout
        most = re.search(r"max_connections=(\d+)", (PLATFORM / "postgres.yaml").read_text())
        assert int(limits) < int(most.group(1)) - 3  # three are the administrator's


def test_a_password_may_hold_any_character(tmp_path: Path) -> None:
    odd = {**PASSWORDS, "postgres-search": "it's a $(new) one"}
    with databases(tmp_path / "postgres") as port:
        make_databases(port, odd)
        for password in (odd["postgres-search"], PASSWORDS["postgres-search"]):
            done = psql(port, "search", "search", "SELECT 1", password)
            assert (done.returncode == 0) == (password == odd["postgres-search"])


def test_remove_asks_for_the_name_of_the_cluster_and_says_what_is_lost(program: Program) -> None:
    done = program("remove", answer="yes\n")
    assert done.returncode == 1
    assert "all repositories" in done.stdout and "Type the-cluster" in done.stdout
    assert "Nothing was removed" in done.stdout
    done = program("remove", answer="the-cluster\n")
    assert done.returncode and "Nothing was removed" not in done.stdout
    assert "127.0.0.1:1" in done.stderr  # it went to the cluster


def test_remove_can_keep_volumes_and_passwords() -> None:
    kept = REMOVE.targets(keep_data=True)
    names = {Path(each.partition("=")[2]).name for each in kept}
    everything = yaml.safe_load((PLATFORM / "kustomization.yaml").read_text())["resources"]
    assert names == set(everything) - {"namespaces.yaml", "volumes.yaml"}
    texts = "".join((PLATFORM / name).read_text() for name in names)
    assert not re.search("kind: (Namespace|PersistentVolumeClaim|Secret)$", texts, re.MULTILINE)
    assert REMOVE.targets(keep_data=False) == [f"--kustomize={PLATFORM}"]
