"""`lint`: what Drone rejects in a `.drone.yml`, and likely mistakes that it accepts silently."""
from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from taglab.engines.drone import condition_warnings, rejections, step_warnings
from taglab.engines.drone.documents import FileError
from taglab.engines.drone.rejections import Problems
from taglab.engines.drone.schema import is_kubernetes, read_documents, runner_schema, server_schema
from taglab.engines.drone.source import Source, sample_variables
from taglab.engines.drone.substitution import SubstitutionError, substitute

Rule = Callable[[Source], Problems]
SERVER_RULES: tuple[Rule, ...] = step_warnings.SERVER_RULES  # they mean nothing on this machine
RULES: tuple[Rule, ...] = (*condition_warnings.RULES, *step_warnings.RULES, *SERVER_RULES)
_FIXES = {  # by the end of a YAML error
    "into a list": "write a list: `[a, b]`, or lines that begin with `- `",
    "into string": "write a single string; quote it if it contains `: ` or begins with one of "
                   "{[*&!%@; `from_secret` works only in `environment` and `settings`",
    "into int": "write a whole number without unit or quotes: cpu in millicores (500, not 500m), "
                "user and group by number (root is 0)",
    "into bool": "write true or false, without quotes",
    "into a mapping": "write lines of the form `name: value`",
    "into a size": "write a size such as 512MiB or 4GiB",
    "": "check this line and the one before it: indent with spaces (no tabs), put a space after "
        "`:`, close every quote and bracket",
}


@dataclass(frozen=True, order=True)
class Finding:
    """A mistake on a line of `.drone.yml`, and how to fix it."""

    line: int
    level: str  # error or warning
    text: str
    file: str = ".drone.yml"
    server: bool = False  # whether it concerns a server alone, and nothing on this machine


def lint(text: str, *, files: Collection[str] | None = None,
         secrets: Collection[str] | None = None, requirements: str = "",
         goals: Collection[str] = (), server: bool = True) -> list[Finding]:
    """Return the findings for a `.drone.yml`, by line: errors and likely mistakes.

    `files` are the paths in the commit, `secrets` the names of the secrets on this machine; None
    skips the rules that need them. `requirements` is the hash that image tags should contain, and
    `goals` are the processes that have goals. Without `server`, what concerns a server alone is
    left out; what Drone rejects never is.
    """
    source = Source(text, files, secrets, requirements, goals)
    return sorted({*(Finding(line, "error", message) for line, message in _errors(text)),
                   *(found for found in _warnings(source) if server or not found.server)})


def _errors(text: str) -> Problems:
    """Yield what the server rejects in the file, and the runner in each of its pipelines."""
    try:
        documents = read_documents(text, server_schema)
        yield from rejections.by_server(documents)
        yield from rejections.legacy_format(text)
        yield from rejections.never_found(documents)
    except FileError as error:
        yield from _yaml_errors(str(error))
    try:
        documents = read_documents(substitute(text, sample_variables()), runner_schema)
        for pipeline in filter(is_kubernetes, documents):
            yield from [*rejections.on_parsing(pipeline)] or rejections.by_runner(pipeline)
    except SubstitutionError as error:
        yield error.line, (f"{error}: Drone expands `${{…}}` before the shell runs; "
                           "to leave it to the shell, write `$${…}` or `$NAME`")
    except FileError as error:
        yield from _yaml_errors(str(error))


def _yaml_errors(message: str) -> Problems:
    """Split the message of a FileError by the lines that it names, and add a fix to each."""
    found = re.findall(r"^(?:yaml: | *)line (\d+): (.*)", message, re.MULTILINE)
    for line, error in found or [("1", message.replace("\n", " "))]:
        fix = next(fix for end, fix in _FIXES.items() if error.endswith(end))
        yield int(line), error if "not supported" in error else f"yaml: {error}: {fix}"


def _warnings(source: Source) -> Iterator[Finding]:
    try:
        for rule in RULES:
            for line, message in rule(source):
                yield Finding(line, "warning", message, server=rule in SERVER_RULES)
        for pipeline in source.kubernetes:
            for line, message in rejections.untrusted(pipeline):
                yield Finding(line, "warning", message)
    except FileError:
        pass  # _errors reports it
