"""`lint`: what Drone rejects in a `.drone.yml`, and what it accepts and nobody wants."""
from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from taglab.engines.drone.documents import FileError
from taglab.engines.drone.schema import is_kubernetes, read_documents, runner_schema, server_schema
from taglab.engines.drone.source import Source, sample_variables
from taglab.engines.drone.step_warnings import WARNINGS
from taglab.engines.drone.substitution import SubstitutionError, substitute
from taglab.engines.drone import rejections

_FIXES = {  # by how an error of the YAML ends
    "into a list": "write a list: `[a, b]`, or lines that begin with `- `",
    "into string": "write one text; put it in quotes where it holds `: ` or begins with one of "
                   "{[*&!%@; `from_secret` is for a step's variables",
    "into int": "write a whole number without unit or quotes: cpu in thousandths of a core (500, "
                "not 500m), user and group by number (root is 0)",
    "into bool": "write true or false, without quotes",
    "into a mapping": "write lines of `name: value`",
    "into a size": "write it like 512MiB or 4GiB",
    "": "look at this line and the one before: indentation by spaces (no tabs), a space after "
        "`:`, every quote and bracket closed",
}


@dataclass(frozen=True, order=True)
class Finding:
    """What is wrong on a line of `.drone.yml`, and the fix."""

    line: int
    level: str  # error or warning
    text: str
    file: str = ".drone.yml"


def lint(text: str, *, files: Collection[str] | None = None,
         secrets: Collection[str] | None = None, requirements: str = "") -> list[Finding]:
    """Return what Drone rejects in a `.drone.yml` and what it accepts and nobody wants, by line.

    `files` are the paths in the commit, `secrets` the names that this machine has a value for
    (None: not known), `requirements` the hash that the image's tag should carry.
    """
    found = {Finding(line, "error", words) for line, words in _errors(text)}
    source = Source(text, files, secrets, requirements)
    try:
        found |= {Finding(line, "warning", words)
                  for rule in WARNINGS for line, words in rule(source)}
        found |= {Finding(line, "warning", words) for pipeline in source.kubernetes
                  for line, words in rejections.without_trust(pipeline)}
    except FileError:
        pass  # an error, which is found already
    return sorted(found)


def _errors(text: str) -> rejections.Problems:
    """Yield what the server says of the file, and the runner of each of its pipelines."""
    try:
        documents = read_documents(text, server_schema)
        yield from rejections.by_server(documents)
        yield from rejections.as_old_file(text)
        yield from rejections.never_found(documents)
    except FileError as error:
        yield from _read_errors(str(error))
    try:
        documents = read_documents(substitute(text, sample_variables()), runner_schema)
        for pipeline in filter(is_kubernetes, documents):
            yield from [*rejections.when_read(pipeline)] or rejections.by_runner(pipeline)
    except SubstitutionError as error:
        yield error.line, (f"{error}: Drone reads `${{…}}` before any shell does; "
                           "write `$${…}` for what the shell should read, or `$NAME`")
    except FileError as error:
        yield from _read_errors(str(error))


def _read_errors(message: str) -> Iterator[tuple[int, str]]:
    """Turn the message of a FileError into findings, one for each line it names."""
    found = re.findall(r"^(?:yaml: | *)line (\d+): (.*)", message, re.MULTILINE)
    for line, words in found or [("1", message.replace("\n", " "))]:
        fix = next(fix for end, fix in _FIXES.items() if words.endswith(end))
        yield int(line), words if "not supported" in words else f"yaml: {words}: {fix}"
