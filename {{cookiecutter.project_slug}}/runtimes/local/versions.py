"""The variables that Drone derives from a tag that looks like a version."""
from __future__ import annotations

import re


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
        if not re.fullmatch(r"[0-9A-Za-z.-]*", identifier):
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
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if not -2**63 <= int(text) < 2**63:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def _calver(text: str) -> dict[str, str]:
    """Read YEAR.MINOR[.MICRO][-MODIFIER], the year from 19 to 99 or from 2019 to 9998."""
    core, _, modifier = text.partition("-")
    major, *rest = core.split(".", 2)
    if not rest or not re.fullmatch("[0-9]+", major):
        return {}
    if not (19 <= int(major) <= 99 or 2019 <= int(major) <= 9998):
        return {}
    minor, micro = rest[0], rest[1] if len(rest) > 1 else ""
    short = f"{major}.{minor}" + (f".{micro}" if micro else "")
    variables = {"DRONE_CALVER": short + (f"-{modifier}" if modifier else ""),
                 "DRONE_CALVER_MAJOR": major, "DRONE_CALVER_MINOR": minor,
                 "DRONE_CALVER_MICRO": micro, "DRONE_CALVER_MAJOR_MINOR": f"{major}.{minor}",
                 "DRONE_CALVER_SHORT": short}
    return variables | ({"DRONE_CALVER_MODIFIER": modifier} if modifier else {})
