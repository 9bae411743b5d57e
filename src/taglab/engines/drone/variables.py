"""The variables of a step: those that Drone sets, and those that `.drone.yml` adds."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from taglab.engines.drone.fields import Fields, Secret
from taglab.engines.drone.tag_versions import version_variables

_ALIASES = {  # the other names of a variable
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
    """The repository that was pushed to, and the server that runs its pipelines."""

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
        """The full name, `namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Commit:
    """The tag or branch that was pushed, and the commit it points to.

    `event` is "tag" or "push"; `before` is the hash that the ref pointed to until now.
    """

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
        """The tag's name, or "" for a branch."""
        return self.ref.removeprefix("refs/tags/") if self.event == "tag" else ""

    @property
    def branch(self) -> str:
        """The branch's name, or "" for a tag."""
        return self.ref.removeprefix("refs/heads/") if self.event != "tag" else ""

    @property
    def action(self) -> str:
        """`create` for a tag, or "" for a branch."""
        return "create" if self.event == "tag" else ""


@dataclass(frozen=True)
class Stage:
    """One pipeline of a build; `number` counts those that run from 1.

    `parent` is the build that was restarted, or 0; `created` and `started` are Unix seconds.
    """

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
    """Return the variables that every step has and that `${NAME}` may use in `.drone.yml`.

    `now`, in Unix seconds, is what Drone reports as the end of a build that has not ended.
    """
    variables = {**_of_repository(repository), **_of_commit(repository, commit),
                 **_of_build(repository, commit, stage, now)}
    for name, aliases in _ALIASES.items():
        variables |= dict.fromkeys(aliases.split(), variables[name])
    return variables


def step_variables(drone: Mapping[str, str], pipeline: Fields, commit: Commit, workspace: str,
                   environment: Mapping[str, str]) -> dict[str, str]:
    """Return all variables of a step, by Drone's precedence.

    `drone` has the result of `drone_variables`; `environment` that of `step_environment`, with
    the secrets filled in. It wins over everything else.
    """
    name, email = commit.author_name or "drone", commit.author_email or "noreply@drone"
    return {**pipeline.environment, **drone,
            "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email,
            "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email, "GIT_TERMINAL_PROMPT": "0",
            "DRONE_WORKSPACE": workspace, **environment}


def step_environment(step: Fields) -> dict[str, str | Secret]:
    """Return the variables that a step defines: `environment`, and `settings` as PLUGIN_…."""
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
