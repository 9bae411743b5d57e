"""What Drone rejects: the server for the whole file, the runner for one pipeline; and `lint`."""
from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from local.drone.documents import Document, Fields, FileError, read_documents
from local.drone.outcome import CLONE
from local.drone.pipeline import UNNAMED
from local.drone.schema import (NOT_PIPELINES, check_documents, is_kubernetes, runner_schema,
                                server_schema)
from local.drone.source import Source, sample_variables
from local.drone.step_warnings import WARNINGS
from local.drone.substitution import SubstitutionError, substitute

_SYSTEMS = ("linux", "windows")
_ARCHITECTURES = ("arm", "arm64", "amd64", "ppc64le", "s390x")
_RESERVED = ("workspace", "_workspace", "_docker_socket", "_status")
_TRUSTED_VOLUMES = {"host": "host volumes", "claim": "PVC", "config_map": "configMap volumes",
                    "secret": "secret volumes"}
_TRUST = "or push to the team's server, where an admin can make the repository trusted"
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


class PipelineError(Exception):
    """Drone rejects the pipeline; the message is Drone's."""


@dataclass(frozen=True, order=True)
class Finding:
    """What is wrong on a line of `.drone.yml`, and the fix."""

    line: int
    level: str  # error or warning
    text: str


Problem = tuple[int, str, str]  # line, Drone's words, what to do


def lint(text: str, *, files: Collection[str] | None = None,
         secrets: Collection[str] | None = None, requirements: str = "") -> list[Finding]:
    """Return what Drone rejects in a `.drone.yml` and what it accepts and nobody wants, by line.

    `files` are the paths in the commit, `secrets` the names that this machine has a value for
    (None: not known), `requirements` the hash that the image's tag should carry.
    """
    found = list(_errors(text))
    try:
        documents = read_documents(text)
    except FileError:
        return sorted(set(found))
    source = Source(text, documents, files, secrets, requirements)
    found += [Finding(line, "warning", words) for rule in WARNINGS for line, words in rule(source)]
    found += [Finding(line, "warning", f"{drones}: {fix}")
              for line, drones, fix in _needs_trust(documents)]
    return sorted(set(found))


def check_file(documents: Sequence[Document]) -> None:
    """Raise FileError for what Drone's server rejects, also in pipelines that no push starts."""
    for line, drones, fix in _rejected_by_server(documents):
        raise FileError(f"{drones} (line {line}: {fix})")


def check_pipeline(documents: Sequence[Document], name: str, trusted: bool = False) -> None:
    """Raise PipelineError for what Drone's runner rejects when it is to run a pipeline."""
    pipelines = [document.fields for document in documents
                 if document.fields.text("kind") == "pipeline"]
    for fields in filter(is_kubernetes, pipelines):
        _raise_first(_rejected_when_read(fields))
    asked = [fields for fields in pipelines if (fields.text("name") or UNNAMED) == name]
    if not asked:
        raise PipelineError("resource not found: `${…}` cannot be used in a pipeline's name")
    if is_kubernetes(asked[0]):
        _raise_first(_rejected_by_runner(asked[0], trusted))


def _raise_first(problems: Iterator[Problem]) -> None:
    for line, drones, fix in problems:
        raise PipelineError(f"{drones} (line {line}: {fix})")


def _errors(text: str) -> Iterator[Finding]:
    """Yield what the server says of the file, and the runner of each of its pipelines."""
    problems: list[Problem] = []
    try:
        documents = read_documents(text)
        check_documents(documents, server_schema)
        problems += [*_rejected_by_server(documents), *_never_found(documents)]
    except FileError as error:
        yield from _read_errors(str(error))
    try:
        documents = read_documents(substitute(text, sample_variables()))
        check_documents(documents, runner_schema)
        for fields in filter(is_kubernetes, (document.fields for document in documents)):
            problems += ([*_rejected_when_read(fields)]
                         or [*_rejected_by_runner(fields, trusted=True)])
    except FileError as error:
        yield from _read_errors(str(error))
    except SubstitutionError as error:
        yield Finding(error.line, "error", f"{error}: Drone reads `${{…}}` before any shell does; "
                      "write `$${…}` for what the shell should read, or `$NAME`")
    for line, drones, fix in problems:
        yield Finding(line, "error", f"{drones}: {fix}")


def _needs_trust(documents: Sequence[Document]) -> Iterator[Problem]:
    for fields in filter(is_kubernetes, (document.fields for document in documents)):
        fine = [*_rejected_by_runner(fields, trusted=True)]
        yield from (problem for problem in _rejected_by_runner(fields, trusted=False)
                    if problem not in fine)


def _read_errors(message: str) -> Iterator[Finding]:
    """Turn the message of a FileError into findings, one for each line it names."""
    found = re.findall(r"^(?:yaml: | *)line (\d+): (.*)", message, re.MULTILINE)
    for line, words in found or [("1", message.replace("\n", " "))]:
        fix = next(fix for end, fix in _FIXES.items() if words.endswith(end))
        yield Finding(int(line), "error",
                      words if "not supported" in words else f"yaml: {words}: {fix}")


def _rejected_by_server(documents: Sequence[Document]) -> Iterator[Problem]:
    names: set[str] = set()
    for document in documents:
        fields = document.fields
        name, kind = fields.text("name"), fields.text("kind")
        if not kind:
            yield (document.line, "yaml: missing kind attribute", "comments and blank lines before "
                   "the first `---` are a document too, and so is what follows the last; remove "
                   "the `---`, or write `kind: pipeline`")
        if kind in ("", *NOT_PIPELINES):
            continue
        if name in names:
            yield (fields.line_of("name"), "linter: duplicate pipeline names",
                   f"`{name}` is above already; give this one another name")
        names.add(name)
        yield from _bad_pipeline_dependencies(fields, name, names)
        if kind == "pipeline" and fields.text("type") in ("", "docker"):
            yield from _bad_platform(fields.fields("platform"))


def _never_found(documents: Sequence[Document]) -> Iterator[Problem]:
    """The runner looks for the pipeline that the server has read."""
    for fields in (document.fields for document in documents):
        if fields.text("kind") not in ("", "pipeline", *NOT_PIPELINES):
            yield fields.line_of("kind"), "resource not found", "write `kind: pipeline`"
        elif "${" in fields.text("name"):
            yield (fields.line_of("name"), "resource not found",
                   "Drone's server does not replace `${…}`; write a name without it")


def _bad_pipeline_dependencies(fields: Fields, name: str, names: set[str]) -> Iterator[Problem]:
    for line, needed in fields.text_lines("depends_on"):
        if needed not in names:
            yield (line, "linter: invalid or unknown pipeline dependency",
                   f"`{name}` names `{needed}`, which must be a pipeline above it; move it up")
        elif needed == name:
            yield (line, "linter: pipeline cannot have a dependency on itself",
                   f"take `{name}` out of its own depends_on")


def _bad_platform(platform: Fields) -> Iterator[Problem]:
    for name, known, what in (("os", _SYSTEMS, "os"), ("arch", _ARCHITECTURES, "architecture")):
        value = platform.text(name)
        if value and value not in known:
            yield (platform.line_of(name), f"linter: unsupported {what}: {value}",
                   f"write one of {', '.join(known)}")


def _rejected_when_read(pipeline: Fields) -> Iterator[Problem]:
    """The runner reads every pipeline of the file before it looks for the one to run."""
    names: set[str] = set()
    for step in pipeline.items("steps"):
        name = step.text("name")
        if step.is_nothing:
            yield step.line, "Linter: detected nil step", "remove the lone `-`"
        elif not name:
            yield step.line, "Linter: invalid or missing step name", "add `name:` to the step"
        elif len(name.encode()) > 100:
            yield (step.line_of("name"), "Linter: step name cannot exceed 100 characters",
                   "shorten it")
        elif name in names:
            yield (step.line_of("name"), "Linter: duplicate step name",
                   f"`{name}` is above already; give this one another name")
        names.add(name)


def _rejected_by_runner(pipeline: Fields, trusted: bool) -> Iterator[Problem]:
    limits = pipeline.fields("resources").fields("limits")
    for name, given in (("cpu", limits.integer("cpu")),
                        ("memory", limits.text("memory") not in ("", "0"))):
        if given:
            yield (limits.line_of(name), f"linter: {name} limit cannot be applied at stage level",
                   "move `limits` into the steps; `requests` stays here")
    names = set() if pipeline.fields("clone").boolean("disable") else {CLONE}
    for step in (*pipeline.items("services"), *pipeline.items("steps")):
        yield from _bad_step(step, names, trusted)
        names.add(step.text("name"))
    for volume in pipeline.items("volumes"):
        yield from _bad_volume(volume, trusted)


def _bad_step(step: Fields, earlier: set[str], trusted: bool) -> Iterator[Problem]:
    name = step.text("name")
    if step.is_nothing:
        yield step.line, "linter: nil step", "remove the lone `-`"
    if name in earlier:
        yield (step.line_of("name"), "linter: duplicate step names",
               f"`{name}` is the name of another step, of a service or of Drone's own first step")
    if not step.text("image"):
        yield (step.line, "linter: invalid or missing image",
               "add `image:`; this machine does not use it, the cluster does")
    if step.boolean("privileged") and not trusted:
        yield (step.line_of("privileged"), "linter: untrusted repositories cannot enable "
               "privileged mode", f"remove `privileged`; {_TRUST}")
    for mount in step.items("volumes"):
        if mount.text("name") in _RESERVED:
            yield (mount.line, f"linter: invalid volume name: {mount.text('name')}",
                   "Drone uses this name itself; choose another")
        if posixpath.normpath(mount.text("path")).startswith("/run/drone"):
            yield (mount.line, "linter: cannot mount volume at /run/drone", "choose another path")
    for line, needed in step.text_lines("depends_on"):
        if needed == name:
            yield (line, f"linter: cyclical step dependency detected: {name}",
                   f"take `{name}` out of its own depends_on")
        elif needed not in earlier:
            yield (line, f"linter: unknown step dependency detected: {name} references {needed}",
                   f"`{needed}` must be a step above this one; move it up or correct the name")


def _bad_volume(volume: Fields, trusted: bool) -> Iterator[Problem]:
    name = volume.text("name")
    kinds = {kind: words for kind, words in _TRUSTED_VOLUMES.items() if volume.is_mapping(kind)}
    if volume.fields("temp").text("medium") == "memory":
        kinds = {"temp": "in-memory volumes", **kinds}
    for kind, words in () if trusted else kinds.items():
        yield (volume.line_of(kind), f"linter: untrusted repositories cannot mount {words}",
               f"read and write through MLflow or S3 instead; {_TRUST}")
    if not name:
        yield volume.line, "linter: missing volume name", "add `name:` to the volume"
    elif name in (*_RESERVED, "_addons"):
        yield (volume.line_of("name"), f"linter: invalid volume name: {name}",
               "Drone uses this name itself; choose another")
