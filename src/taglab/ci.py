"""What the CI engine tells a process: which build it is part of, of which commit and tag.

Nothing else in this library reads such variables.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple


@dataclass(frozen=True)
class Build:
    """The build that a process is part of; what the engine does not tell is empty."""

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
    """The variables that hold the login of a private repository."""

    machine: str = "DRONE_NETRC_MACHINE"
    username: str = "DRONE_NETRC_USERNAME"
    password: str = "DRONE_NETRC_PASSWORD"
    file: str = "DRONE_NETRC_FILE"


# The same facts by the names of Drone's variables.
DRONE = Build(
    tag="DRONE_TAG", commit="DRONE_COMMIT_SHA", ref="DRONE_COMMIT_REF", event="DRONE_BUILD_EVENT",
    number="DRONE_BUILD_NUMBER", link="DRONE_BUILD_LINK", step="DRONE_STEP_NAME",
    remote="DRONE_REMOTE_URL", workspace="DRONE_WORKSPACE")
LOGIN = Login()
SCRIPT = "DRONE_SCRIPT"  # what a step runs


def read_build(environment: Mapping[str, str] = os.environ) -> Build:
    """Return what the engine tells in the environment of a step."""
    return Build(**{each.name: environment.get(getattr(DRONE, each.name), "")
                    for each in fields(Build)})


def is_engine_variable(name: str) -> bool:
    """Return whether an engine sets an environment variable of this name."""
    return name.startswith("DRONE_")
