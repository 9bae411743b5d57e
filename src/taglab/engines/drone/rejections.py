"""What Drone rejects, with its messages, and what this machine cannot run; each with a fix.

The server judges the whole file, the runner one pipeline.
"""
from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath

from taglab.engines.drone.fields import Fields
from taglab.engines.drone.outcome import CLONE
from taglab.engines.drone.schema import NOT_PIPELINES, services_and_steps

Problem = tuple[int, str]  # a line of the file, and the message with its fix
Problems = Iterator[Problem]

_SYSTEMS = ("linux", "windows")
_ARCHITECTURES = ("arm", "arm64", "amd64", "ppc64le", "s390x")
_RESERVED_MOUNTS = ("workspace", "_workspace", "_docker_socket", "_status")
_RESERVED_VOLUMES = (*_RESERVED_MOUNTS, "_addons")
_TRUSTED_VOLUMES = {"host": "host volumes", "claim": "PVC", "config_map": "configMap volumes",
                    "secret": "secret volumes"}
_LONGEST_NAME = 100  # bytes
_ASK_FOR_TRUST = "or push to the team's server, where an admin can mark the repository as trusted"
_EXPANDED = re.compile(r"\$[${]|\\")
_WAY_OUT = "remove it to run on this machine, or push the tag to the team's server"
_NOT_HERE = {"privileged": "privileged steps are", "entrypoint": "an entrypoint is",
             "command": "arguments of an image are", "user": "another user is",
             "group": "another group is"}


def by_server(documents: Sequence[Fields]) -> Problems:
    """Yield why the server rejects the file, including pipelines that no push starts."""
    names: set[str] = set()
    for document in documents:
        if not document.kind:
            yield (document.line, "yaml: missing kind attribute: comments or blank lines before "
                   "the first `---` count as a document, and so does anything after the last; "
                   "remove the `---`, or add `kind: pipeline`")
        elif document.kind not in NOT_PIPELINES:
            yield from _bad_pipeline(document, names)
            names.add(_given_name(document))


def _bad_pipeline(pipeline: Fields, earlier: Collection[str]) -> Problems:
    if pipeline.kind == "template":
        yield (pipeline.line, "`kind: template`: not supported on this machine; write out the "
               "pipeline that the template generates")
    name = _given_name(pipeline)
    if name in earlier:
        yield (pipeline.line_of("name"), "linter: duplicate pipeline names: "
               f"`{pipeline.name}` is defined above; rename this one")
    for needed in pipeline.depends_on:
        if needed == name:
            yield (needed.line, "linter: pipeline cannot have a dependency on itself: "
                   f"remove `{needed}` from its own depends_on")
        elif needed not in earlier:
            yield (needed.line, "linter: invalid or unknown pipeline dependency: "
                   f"`{pipeline.name}` depends on `{needed}`, which must be a pipeline above it; "
                   "move it up or correct the name")
    if pipeline.kind == "pipeline" and pipeline.type == "docker":
        for value, known, what in ((pipeline.platform.os, _SYSTEMS, "os"),
                                   (pipeline.platform.arch, _ARCHITECTURES, "architecture")):
            if value and value not in known:
                yield (value.line, f"linter: unsupported {what}: {value}: "
                       f"write one of {', '.join(known)}")


def _given_name(pipeline: Fields) -> str:
    """Return the name in the file; without one, "", which differs from a given `default`."""
    return str(pipeline.name) if pipeline.name.line else ""


def legacy_format(text: str) -> Problems:
    """Yield the lines that make the server take the file for Drone 0.8's and convert it."""
    for found in re.finditer(r"^pipeline:\s*$", text, re.MULTILINE):
        yield (text.count("\n", 0, found.start()) + 1, "a line `pipeline:` makes Drone read the "
               "file as Drone 0.8 syntax: not supported on this machine; rename the key")


def never_found(documents: Sequence[Fields]) -> Problems:
    """Yield why the runner cannot find a pipeline that the server has accepted."""
    for document in documents:
        if document.kind and document.kind not in ("pipeline", *NOT_PIPELINES):
            yield document.kind.line, "resource not found: write `kind: pipeline`"
        elif _EXPANDED.search(getattr(document, "name", "")):
            yield (document.name.line, "resource not found: Drone's server does not expand "
                   "`${…}`, `$$` and `\\` in a name, as its runner does; write a name without")


def on_parsing(pipeline: Fields) -> Problems:
    """Yield why the runner rejects a file for one of its pipelines, even if it runs another."""
    names: set[str] = set()
    for step in pipeline.steps:
        if not step.lines:
            yield step.line, "Linter: detected nil step: remove the lone `-`"
        elif not step.name:
            yield step.line, "Linter: invalid or missing step name: add `name:` to the step"
        elif len(step.name.encode()) > _LONGEST_NAME:
            yield step.name.line, "Linter: step name cannot exceed 100 characters: shorten it"
        elif step.name in names:
            yield (step.name.line, "Linter: duplicate step name: "
                   f"`{step.name}` is defined above; rename this one")
        names.add(step.name)


def by_runner(pipeline: Fields) -> Problems:
    """Yield why the runner rejects the pipeline that it is to run."""
    limits = pipeline.resources.limits
    for name, given in (("cpu", limits.cpu), ("memory", limits.memory not in ("", "0"))):
        if given:
            yield (limits.line_of(name), f"linter: {name} limit cannot be applied at stage level: "
                   "move `limits` into the steps; `requests` stays here")
    names = set() if pipeline.clone.disable else {CLONE}
    for step in services_and_steps(pipeline):
        yield from _bad_step(step, names)
        names.add(step.name)
    for volume in pipeline.volumes:
        if not volume.name:
            yield volume.line, "linter: missing volume name: add `name:` to the volume"
        elif volume.name in _RESERVED_VOLUMES:
            yield _reserved(volume)


def _bad_step(step: Fields, earlier: Collection[str]) -> Problems:
    if not step.lines:
        yield step.line, "linter: nil step: remove the lone `-`"
    if step.name in earlier:
        yield (step.line_of("name"), f"linter: duplicate step names: `{step.name}` is the name of "
               "another step or service, or of Drone's implicit `clone` step; rename this one")
    if not step.image:
        yield (step.line, "linter: invalid or missing image: "
               "add `image:`; this machine ignores it, but the cluster needs it")
    for mount in step.volumes:
        if mount.name in _RESERVED_MOUNTS:
            yield _reserved(mount)
        if posixpath.normpath(mount.path).startswith("/run/drone"):
            yield mount.line, "linter: cannot mount volume at /run/drone: choose another path"
    for needed in step.depends_on:
        if needed == step.name:
            yield (needed.line, f"linter: cyclical step dependency detected: {needed}: "
                   f"remove `{needed}` from its own depends_on")
        elif needed not in earlier:
            yield (needed.line, "linter: unknown step dependency detected: "
                   f"{step.name} references {needed}: `{needed}` must be a step above this one; "
                   "move it up or correct the name")


def _reserved(volume: Fields) -> Problem:
    return (volume.line, f"linter: invalid volume name: {volume.name}: "
            "Drone reserves this name; choose another")


def untrusted(pipeline: Fields) -> Problems:
    """Yield why the runner rejects the pipeline of a repository that no admin has trusted."""
    for step in services_and_steps(pipeline):
        if step.privileged:
            yield (step.line_of("privileged"), "linter: untrusted repositories cannot enable "
                   f"privileged mode: remove `privileged`; {_ASK_FOR_TRUST}")
    for volume in pipeline.volumes:
        kinds = {kind: words for kind, words in _TRUSTED_VOLUMES.items() if kind in volume.lines}
        if volume.temp.medium == "memory":
            kinds["temp"] = "in-memory volumes"
        for kind, words in kinds.items():
            yield (volume.line_of(kind), f"linter: untrusted repositories cannot mount {words}: "
                   f"read and write through MLflow or S3 instead; {_ASK_FOR_TRUST}")


def unsupported_here(pipeline: Fields) -> Problems:
    """Yield why this machine cannot run the pipeline as the cluster does."""
    workspace = pipeline.workspace.path
    if pipeline.platform.os == "windows":
        yield (pipeline.platform.os.line,
               f"`platform.os`: this machine has no PowerShell; {_WAY_OUT}")
    if pipeline.volumes:
        yield (pipeline.line_of("volumes"),
               f"`volumes`: volumes exist only on the cluster; {_WAY_OUT}")
    if pipeline.host_aliases:
        yield (pipeline.line_of("host_aliases"),
               f"`host_aliases`: host names cannot be changed on this machine; {_WAY_OUT}")
    if not workspace.startswith("/"):
        yield workspace.line, "`workspace.path` must be absolute on this machine"
    for step in services_and_steps(pipeline):
        for line, message in _unsupported_step(step, workspace):
            yield line, f"step `{step.name}`: {message}; {_WAY_OUT}"


def _unsupported_step(step: Fields, workspace: str) -> Problems:
    for name, words in _NOT_HERE.items():
        if getattr(step, name) or name in ("user", "group") and name in step.lines:
            yield step.line_of(name), f"`{name}`: {words} not available on this machine"
    if not step.name:
        yield step.line, "no `name`"
    if not step.commands:
        yield step.line, "no `commands`: this machine cannot run an image's own entrypoint"
    for command in step.commands:
        if workspace.strip("/") and _path(workspace).search(command):
            yield (command.line, f"`{workspace}` in `commands`: the workspace is elsewhere on this "
                   "machine; write `$DRONE_WORKSPACE`, which is right on both")
    if step.working_dir and not PurePosixPath(step.working_dir).is_relative_to(workspace):
        yield step.working_dir.line, f"`working_dir` must be below {workspace} on this machine"


def _path(folder: str) -> re.Pattern[str]:
    """Return a pattern for the folder, or what is in it, within a shell command."""
    return re.compile(r"(?<![\w./-])" + re.escape(folder.rstrip("/")) + r"(?![\w.-])")
