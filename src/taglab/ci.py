"""What the CI engine tells a process: the build it belongs to, with its commit and tag.

No other module reads the engine's variables, except those that play the engine: engines, runner.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple


@dataclass(frozen=True)
class Build:
    """The build that a process belongs to; what the engine does not tell is ""."""

    tag: str = ""
    commit: str = ""
    ref: str = ""
    event: str = ""
    number: str = ""
    link: str = ""
    step: str = ""
    remote: str = ""  # the URL of the repository
    workspace: str = ""  # the folder of the clone


class Login(NamedTuple):
    """The names of the variables that hold the login of a private repository."""

    machine: str = "DRONE_NETRC_MACHINE"
    username: str = "DRONE_NETRC_USERNAME"
    password: str = "DRONE_NETRC_PASSWORD"
    file: str = "DRONE_NETRC_FILE"


# For each fact of a build, the name of Drone's variable.
DRONE = Build(
    tag="DRONE_TAG", commit="DRONE_COMMIT_SHA", ref="DRONE_COMMIT_REF", event="DRONE_BUILD_EVENT",
    number="DRONE_BUILD_NUMBER", link="DRONE_BUILD_LINK", step="DRONE_STEP_NAME",
    remote="DRONE_REMOTE_URL", workspace="DRONE_WORKSPACE")
LOGIN = Login()
SCRIPT = "DRONE_SCRIPT"  # the variable that holds the commands of a step


def read_build(environment: Mapping[str, str] = os.environ) -> Build:
    """Return the build that the environment of a step describes."""
    return Build(**{each.name: environment.get(getattr(DRONE, each.name), "")
                    for each in fields(Build)})


def is_engine_variable(name: str) -> bool:
    """Return whether an environment variable of this name comes from an engine."""
    return name.startswith("DRONE_")
