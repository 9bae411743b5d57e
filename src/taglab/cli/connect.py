"""`lab connect URL`: makes a team's server `origin`, and lists what is left to set up there."""
from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from taglab.engines.drone.lint import lint
from taglab.engines.drone.source import Source, secrets_of
from taglab.errors import LabError
from taglab.runner.git import GitError, git
from taglab.runner.remote import REPOSITORY

TIMEOUT = 5  # seconds to wait for an address to answer
_ADDRESSES = {"MLFLOW_TRACKING_URI": "/health", "MLFLOW_URL": "/health",
              "MLFLOW_S3_ENDPOINT_URL": "/"}


@dataclass(frozen=True)
class Needs:
    """What the pipelines of a lab need on a server."""

    addresses: list[str]  # the URLs to request
    secrets: list[str]
    trusted: bool  # whether Drone must trust the repository
    clustered: list[str]  # the processes whose config.toml has a table [cluster]


@dataclass(frozen=True)
class Connected:
    """What was done, how each address answers as seen from this machine, and what is left to do."""

    origin: str
    commands: list[str]
    answers: dict[str, str]
    left: list[str]

    def __str__(self) -> str:
        return "\n".join([
            *(f"$ {command}" for command in self.commands),
            f"origin is {self.origin}, and local is this machine.",
            *(["As seen from this machine:"] if self.answers else []),
            *(f"  {address}  {answer}" for address, answer in self.answers.items()), *self.left])


def connect(lab: Path, url: str) -> Connected:
    """Make the repository at `url` the remote `origin` and this machine the remote `local`.

    Repeating this is harmless. Raises LabError before anything is changed.
    """
    try:
        needs = read_needs(lab)
        remotes = {name: git("config", f"remote.{name}.url", cwd=lab).strip()
                   for name in git("remote", cwd=lab).split()}
        commands = remote_commands(remotes, url)
        git("ls-remote", "--heads", url, cwd=lab)
        for command in commands:
            git(*command, cwd=lab)
        branch = git("branch", "--show-current", cwd=lab).strip() or "main"
    except GitError as error:
        raise LabError(f"{error}\nNothing was changed. Create the repository on the server, check "
                       "that `git ls-remote URL` works, and type this again") from error
    return Connected(url, [f"git {' '.join(command)}" for command in commands],
                     {address: probe(address) for address in needs.addresses},
                     remaining_tasks(needs, url, branch))


def remote_commands(remotes: Mapping[str, str], url: str) -> list[tuple[str, ...]]:
    """Return the git commands that make `url` the origin; `remotes` maps names to URLs.

    Raises LabError if `url` cannot be one or if a remote would be lost.
    """
    here = REPOSITORY.as_posix()
    if url.startswith("-") or not re.search(r"[/:]", url) or url == here:
        raise LabError(f"{url!r} is not the URL of a repository on a server. Type: "
                       "lab connect https://git.example/team/lab.git")
    origin = remotes.get("origin")
    if origin == url:
        return []
    if origin not in (None, here):
        raise LabError(f"origin is already {origin}. Type: git remote set-url origin {url}")
    if origin == here and remotes.get("local", here) != here:
        raise LabError("this machine is origin, and the name local is taken. Type: "
                       "git remote rename local OTHER-NAME, then this again")
    move = [] if origin is None else [
        ("remote", "remove", "origin") if "local" in remotes else
        ("remote", "rename", "origin", "local")]
    return [*move, ("remote", "add", "origin", url)]


def read_needs(lab: Path) -> Needs:
    """Return what the lab's `.drone.yml` and its processes' config.toml need."""
    text = (lab / ".drone.yml").read_text(encoding="utf-8")
    source = Source(text)
    secrets = {secret.name for step in source.steps for _, secret in secrets_of(step)}
    clustered = [file.parent.name for file in sorted(lab.glob("lab/processes/*/config.toml"))
                 if "cluster" in tomllib.loads(file.read_text(encoding="utf-8"))]
    trusted = any("untrusted" in finding.text for finding in lint(text))
    return Needs(server_addresses(source), sorted(secrets - source.given_secrets), trusted,
                 clustered)


def server_addresses(source: Source) -> list[str]:
    """Return the URLs to request of the servers that a `.drone.yml` names."""
    environments = [each.environment for each in (*source.kubernetes, *source.steps)]
    return list({str(environment[name]).rstrip("/") + path: None for environment in environments
                 for name, path in _ADDRESSES.items()
                 if str(environment.get(name)).startswith("http")})


def probe(address: str, timeout: float = TIMEOUT) -> str:
    """Request an HTTP address and describe the answer; any status below 500 is good."""
    import urllib.error  # not at the top: every push would pay for this slow import
    import urllib.request

    try:
        with urllib.request.urlopen(address, timeout=timeout) as reply:
            status = reply.status
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"no answer ({reason}); that is fine only for a name inside the cluster"
    return "answers" if status < 500 else f"answers with error {status}"


def remaining_tasks(needs: Needs, url: str, branch: str) -> list[str]:
    """Return what is left for a person to do, as commands of git, Drone and Kubernetes."""
    repository = "/".join(re.split(r"[/:]", url.removesuffix("/").removesuffix(".git"))[-2:])
    lines = ["Once, on Drone's web page or with its command:",
             f"  drone repo sync && drone repo enable {repository}",
             f"  drone repo update --timeout 24h {repository}    # by an admin; the default is 1h"]
    if needs.trusted:
        lines.append(f"  drone repo update --trusted {repository}    # by an admin; for the "
                     "lines that `lab lint` names")
    lines += [f"  drone secret add --repository {repository} --name {name} --data VALUE"
              for name in needs.secrets]
    if needs.clustered:
        lines += [f"Once, on the cluster, for {', '.join(needs.clustered)}:",
                  "  kubectl apply --namespace NAMESPACE -f runtimes/kubernetes/role.yaml"]
    return [*lines, "For the image of the steps, type: lab image", "Then:",
            f"  git push --set-upstream origin {branch}",
            "  git push origin TAG    # runs on the server; git push local TAG runs here"]
