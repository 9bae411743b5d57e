"""DRONE_SEMVER… and DRONE_CALVER…: the variables of a tag that is a version."""
from __future__ import annotations

import re

from taglab.engines.drone.golang import parse_int64

_SEMVER_SUFFIX = re.compile(r"[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*")
_CALVER = re.compile(r"(([-+]?[0-9]+)\.([-+]?[0-9]+))(?:\.([^-]*)(?:-(.*))?)?", re.DOTALL)


def version_variables(tag: str) -> dict[str, str]:
    """Return the variables for a tag; one that is no semantic version has DRONE_SEMVER_ERROR."""
    version = tag.removeprefix("v")
    try:
        variables = _semver(version)
    except ValueError as error:
        variables = {"DRONE_SEMVER_ERROR": str(error)}
    return variables | _calver(version)


def _semver(text: str) -> dict[str, str]:
    """Parse MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]. Raises ValueError with Drone's message."""
    rest, _, build = text.partition("+")
    core, _, prerelease = rest.partition("-")
    parts = core.split(".", 2)
    if len(parts) != 3:
        raise ValueError(f"{core} is not in dotted-tri format")
    for name, suffix in (("pre-release", prerelease), ("metadata", build)):
        if suffix and not _SEMVER_SUFFIX.fullmatch(suffix):
            raise ValueError(f"failed to validate {name}: {suffix} "
                             "is not a valid semver identifier")
    major, minor, patch = (str(parse_int64(part)) for part in parts)
    short = f"{major}.{minor}.{patch}"
    variables = {"DRONE_SEMVER": short + (f"-{prerelease}" if prerelease else "")
                 + (f"+{build}" if build else ""),
                 "DRONE_SEMVER_MAJOR": major, "DRONE_SEMVER_MINOR": minor,
                 "DRONE_SEMVER_PATCH": patch, "DRONE_SEMVER_SHORT": short}
    optional = {"DRONE_SEMVER_PRERELEASE": prerelease, "DRONE_SEMVER_BUILD": build}
    return variables | {name: value for name, value in optional.items() if value}


def _calver(text: str) -> dict[str, str]:
    """Parse YEAR.MINOR[.MICRO][-MODIFIER], the year in 19 to 99 or 2019 to 9998."""
    found = _CALVER.fullmatch(text)
    if not found or not _is_calver(found[2], found[3]):
        return {}
    both, major, minor, micro, modifier = found.groups(default="")
    short = both + (f".{micro}" if micro else "")
    variables = {"DRONE_CALVER": short + (f"-{modifier}" if modifier else ""),
                 "DRONE_CALVER_MAJOR": major, "DRONE_CALVER_MINOR": minor,
                 "DRONE_CALVER_MICRO": micro, "DRONE_CALVER_MAJOR_MINOR": both,
                 "DRONE_CALVER_SHORT": short}
    return variables | ({"DRONE_CALVER_MODIFIER": modifier} if modifier else {})


def _is_calver(major: str, minor: str) -> bool:
    try:
        year = parse_int64(major)
        parse_int64(minor)
    except ValueError:
        return False
    return 19 <= year <= 99 or 2019 <= year <= 9998
