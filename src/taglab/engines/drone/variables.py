"""The variables of a step: Drone's own, with those of a tag that is a version, and the file's."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from taglab.engines.drone.fields import Fields, Secret
from taglab.engines.drone.script import go_quote

_SAME = {  # the variables with the value of another
    "DRONE_SYSTEM_HOST": "DRONE_SYSTEM_HOSTNAME",
    "DRONE_REPO": "CI_REPO CI_REPO_NAME",
    "DRONE_REPO_NAMESPACE": "DRONE_REPO_OWNER",
    "DRONE_REPO_LINK": "CI_REPO_LINK",
    "DRONE_REPO_PRIVATE": "CI_REPO_PRIVATE",
    "DRONE_REMOTE_URL": "DRONE_GIT_HTTP_URL CI_REPO_REMOTE CI_REMOTE_URL",
    "DRONE_BRANCH": "DRONE_SOURCE_BRANCH DRONE_TARGET_BRANCH DRONE_COMMIT_BRANCH CI_COMMIT_BRANCH",
    "DRONE_COMMIT": "DRONE_COMMIT_SHA DRONE_COMMIT_AFTER CI_COMMIT_SHA",
    "DRONE_COMMIT_LINK": "CI_BUILD_LINK",
    **{f"DRONE_COMMIT_{name}": f"CI_COMMIT_{name}" for name in (
        "REF", "MESSAGE", "AUTHOR", "AUTHOR_NAME", "AUTHOR_EMAIL", "AUTHOR_AVATAR")},
    "DRONE_BUILD_NUMBER": "CI_BUILD_NUMBER",
    "DRONE_BUILD_PARENT": "CI_PARENT_BUILD_NUMBER",
    "DRONE_BUILD_EVENT": "CI_BUILD_EVENT",
    "DRONE_BUILD_STATUS": "DRONE_STAGE_STATUS",
    "DRONE_BUILD_CREATED": "CI_BUILD_CREATED",
    "DRONE_BUILD_STARTED": "CI_BUILD_STARTED DRONE_STAGE_STARTED",
    "DRONE_BUILD_FINISHED": "DRONE_STAGE_FINISHED",
}


@dataclass(frozen=True)
class Repository:
    """The repository that was pushed to and the server that runs its pipelines."""

    namespace: str
    name: str
    branch: str
    link: str
    remote: str
    ssh: str = ""
    visibility: str = "private"
    protocol: str = "http"
    host: str = "localhost"
    version: str = "2.25.0"

    @property
    def slug(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Commit:
    """What was pushed: a tag or a branch, and the commit it points at."""

    event: str
    ref: str
    sha: str
    before: str
    message: str
    author_login: str
    author_name: str
    author_email: str

    @property
    def tag(self) -> str:
        """The tag's name; "" for a branch."""
        return self.ref.removeprefix("refs/tags/") if self.event == "tag" else ""

    @property
    def branch(self) -> str:
        """The branch's name; "" for a tag."""
        return self.ref.removeprefix("refs/heads/") if self.event != "tag" else ""

    @property
    def action(self) -> str:
        """`create` for a tag; "" for a branch."""
        return "create" if self.event == "tag" else ""


@dataclass(frozen=True)
class Stage:
    """One pipeline of a build: its number among those that run, and when things began."""

    name: str
    number: int
    build: int
    parent: int
    trigger: str
    machine: str
    created: int
    started: int
    depends_on: tuple[str, ...] = ()


def drone_variables(repository: Repository, commit: Commit, stage: Stage,
                    now: int) -> dict[str, str]:
    """Return the variables that `${NAME}` may use in `.drone.yml` and that every step has."""
    variables = {**_of_repository(repository), **_of_commit(repository, commit),
                 **_of_build(repository, commit, stage, now)}
    for name, others in _SAME.items():
        variables |= dict.fromkeys(others.split(), variables[name])
    return variables


def step_variables(drone: Mapping[str, str], pipeline: Fields, commit: Commit, workspace: str,
                   environment: Mapping[str, str]) -> dict[str, str]:
    """Return a step's variables in Drone's order: what comes later wins.

    `environment` is the step's own, with its secrets looked up already.
    """
    name, email = commit.author_name or "drone", commit.author_email or "noreply@drone"
    return {**pipeline.environment, **drone,
            "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email,
            "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email, "GIT_TERMINAL_PROMPT": "0",
            "DRONE_WORKSPACE": workspace, **environment}


def step_environment(step: Fields) -> dict[str, str | Secret]:
    """Return the variables that a step names: its environment, then its settings as PLUGIN_…."""
    settings = {f"PLUGIN_{name.upper()}": value for name, value in step.settings.items()}
    return {name: value for name, value in {**step.environment, **settings}.items()
            if value is not None}


def _of_repository(repository: Repository) -> dict[str, str]:
    return {
        "CI": "true", "DRONE": "true", "DRONE_CARD_PATH": "/dev/stdout",
        "DRONE_SYSTEM_PROTO": repository.protocol, "DRONE_SYSTEM_HOST": repository.host,
        "DRONE_SYSTEM_VERSION": repository.version,
        "DRONE_REPO": repository.slug, "DRONE_REPO_SCM": "git",
        "DRONE_REPO_NAMESPACE": repository.namespace, "DRONE_REPO_NAME": repository.name,
        "DRONE_REPO_LINK": repository.link, "DRONE_REPO_BRANCH": repository.branch,
        "DRONE_REPO_VISIBILITY": repository.visibility,
        "DRONE_REPO_PRIVATE": str(repository.visibility == "private").lower(),
        "DRONE_REMOTE_URL": repository.remote, "DRONE_GIT_SSH_URL": repository.ssh,
    }


def _of_commit(repository: Repository, commit: Commit) -> dict[str, str]:
    variables = {
        "DRONE_BRANCH": commit.branch, "DRONE_COMMIT": commit.sha,
        "DRONE_COMMIT_BEFORE": commit.before, "DRONE_COMMIT_REF": commit.ref,
        "DRONE_COMMIT_LINK": f"{repository.link}/commit/{commit.sha}",
        "DRONE_COMMIT_MESSAGE": commit.message, "DRONE_COMMIT_AUTHOR": commit.author_login,
        "DRONE_COMMIT_AUTHOR_NAME": commit.author_name,
        "DRONE_COMMIT_AUTHOR_EMAIL": commit.author_email, "DRONE_COMMIT_AUTHOR_AVATAR": "",
    }
    if commit.event == "tag":
        variables |= {"DRONE_TAG": commit.tag, **version_variables(commit.tag)}
    return variables


def _of_build(repository: Repository, commit: Commit, stage: Stage, now: int) -> dict[str, str]:
    link = f"{repository.protocol}://{repository.host}/{repository.slug}/{stage.build}"
    return {
        "DRONE_BUILD_NUMBER": str(stage.build), "DRONE_BUILD_PARENT": str(stage.parent),
        "DRONE_BUILD_EVENT": commit.event, "DRONE_BUILD_ACTION": commit.action,
        "DRONE_BUILD_STATUS": "success", "DRONE_BUILD_DEBUG": "false",
        "DRONE_BUILD_CREATED": str(stage.created), "DRONE_BUILD_STARTED": str(stage.started),
        "DRONE_BUILD_FINISHED": str(now), "DRONE_BUILD_TRIGGER": stage.trigger,
        "DRONE_BUILD_LINK": link, "DRONE_DEPLOY_TO": "", "DRONE_DEPLOY_ID": "0",
        "DRONE_STAGE_KIND": "pipeline", "DRONE_STAGE_TYPE": "kubernetes",
        "DRONE_STAGE_NAME": stage.name, "DRONE_STAGE_NUMBER": str(stage.number),
        "DRONE_STAGE_MACHINE": stage.machine, "DRONE_STAGE_OS": "linux",
        "DRONE_STAGE_ARCH": "amd64", "DRONE_STAGE_VARIANT": "", "DRONE_STAGE_VERSION": "3",
        "DRONE_STAGE_DEPENDS_ON": ",".join(stage.depends_on),
        "CI_BUILD_FINISHED": "0", "CI_BUILD_STATUS": "running", "CI_BUILD_TARGET": "",
    }


def version_variables(tag: str) -> dict[str, str]:
    """Return DRONE_SEMVER… and DRONE_CALVER… for a tag; other tags give DRONE_SEMVER_ERROR."""
    version = tag.removeprefix("v")
    try:
        variables = _semver(version)
    except ValueError as error:
        variables = {"DRONE_SEMVER_ERROR": str(error)}
    return variables | _calver(version)


def _semver(text: str) -> dict[str, str]:
    """Read MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]. Raises ValueError with Drone's text."""
    rest, _, build = text.partition("+")
    core, _, prerelease = rest.partition("-")
    parts = core.split(".", 2)
    if len(parts) != 3:
        raise ValueError(f"{core} is not in dotted-tri format")
    for what, identifier in (("pre-release", prerelease), ("metadata", build)):
        if identifier and not re.fullmatch(r"[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*", identifier):
            raise ValueError(f"failed to validate {what}: {identifier} "
                             "is not a valid semver identifier")
    major, minor, patch = (str(_integer(part)) for part in parts)
    short = f"{major}.{minor}.{patch}"
    variables = {"DRONE_SEMVER": short + (f"-{prerelease}" if prerelease else "")
                 + (f"+{build}" if build else ""),
                 "DRONE_SEMVER_MAJOR": major, "DRONE_SEMVER_MINOR": minor,
                 "DRONE_SEMVER_PATCH": patch, "DRONE_SEMVER_SHORT": short}
    optional = {"DRONE_SEMVER_PRERELEASE": prerelease, "DRONE_SEMVER_BUILD": build}
    return variables | {name: value for name, value in optional.items() if value}


def _integer(text: str) -> int:
    if not re.fullmatch(r"[-+]?[0-9]+", text):
        raise ValueError(f"strconv.ParseInt: parsing {go_quote(text)}: invalid syntax")
    if not -2**63 <= int(text) < 2**63:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def _calver(text: str) -> dict[str, str]:
    """Read YEAR.MINOR[.MICRO][-MODIFIER], the year from 19 to 99 or from 2019 to 9998."""
    found = re.fullmatch(r"(([-+]?[0-9]+)\.([-+]?[0-9]+))(?:\.([^-]*)(?:-(.*))?)?", text, re.DOTALL)
    if not found or not (19 <= int(found[2]) <= 99 or 2019 <= int(found[2]) <= 9998) or not (
            -2**63 <= int(found[3]) < 2**63):
        return {}
    both, major, minor, micro, modifier = found.groups(default="")
    short = both + (f".{micro}" if micro else "")
    variables = {"DRONE_CALVER": short + (f"-{modifier}" if modifier else ""),
                 "DRONE_CALVER_MAJOR": major, "DRONE_CALVER_MINOR": minor,
                 "DRONE_CALVER_MICRO": micro, "DRONE_CALVER_MAJOR_MINOR": both,
                 "DRONE_CALVER_SHORT": short}
    return variables | ({"DRONE_CALVER_MODIFIER": modifier} if modifier else {})
