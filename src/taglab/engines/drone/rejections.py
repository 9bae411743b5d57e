"""What Drone rejects, the server for the whole file and the runner for one pipeline, and what this
machine refuses. Each rule gives lines, Drone's words, and the fix.
"""
from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from taglab.engines.drone.fields import Fields
from taglab.engines.drone.outcome import CLONE
from taglab.engines.drone.schema import NOT_PIPELINES

Problems = Iterator[tuple[int, str]]  # line, and what is wrong with its fix

_SYSTEMS = ("linux", "windows")
_ARCHITECTURES = ("arm", "arm64", "amd64", "ppc64le", "s390x")
_RESERVED = ("workspace", "_workspace", "_docker_socket", "_status")
_TRUSTED_VOLUMES = {"host": "host volumes", "claim": "PVC", "config_map": "configMap volumes",
                    "secret": "secret volumes"}
_TRUST = "or push to the team's server, where an admin can make the repository trusted"
_WAY_OUT = "remove it for this machine, or push the tag to the team's server"
_NOT_HERE = {"privileged": "privileged steps", "entrypoint": "an entrypoint",
             "command": "arguments of an image", "user": "another user", "group": "another group"}


def by_server(documents: Sequence[Fields]) -> Problems:
    """Drone's server rejects the file, also for pipelines that no push starts."""
    names: set[str] = set()
    for document in documents:
        if not document.kind:
            yield (document.line, "yaml: missing kind attribute: comments and blank lines before "
                   "the first `---` are a document too, and so is what follows the last; remove "
                   "the `---`, or write `kind: pipeline`")
        if not document.kind or document.kind in NOT_PIPELINES:
            continue
        if document.kind == "template":
            yield (document.line, "`kind: template`: not supported on this machine; write the "
                   "pipeline that it stands for")
        name = document.name if document.name.line else ""  # no name is none of the others
        if name in names:
            yield (document.line_of("name"), "linter: duplicate pipeline names: "
                   f"`{document.name}` is above already; give this one another name")
        names.add(name)
        for needed in document.depends_on:
            if needed not in names:
                yield (needed.line, "linter: invalid or unknown pipeline dependency: "
                       f"`{document.name}` names `{needed}`, which must be a pipeline above it; "
                       "move it up")
            elif needed == name:
                yield (needed.line, "linter: pipeline cannot have a dependency on itself: "
                       f"take `{needed}` out of its own depends_on")
        if document.kind == "pipeline" and document.type == "docker":
            yield from _bad_platform(document.platform)


def _bad_platform(platform: Fields) -> Problems:
    for value, known, what in ((platform.os, _SYSTEMS, "os"),
                               (platform.arch, _ARCHITECTURES, "architecture")):
        if value and value not in known:
            yield (value.line,
                   f"linter: unsupported {what}: {value}: write one of {', '.join(known)}")


def as_old_file(text: str) -> Problems:
    """Drone's server takes a file with this line for one of Drone 0.8, and converts it."""
    for found in re.finditer(r"^pipeline:\s*$", text, re.MULTILINE):
        yield (text.count("\n", 0, found.start()) + 1, "a line `pipeline:` makes Drone read the "
               "file as one of Drone 0.8: not supported on this machine; give it another name")


def never_found(documents: Sequence[Fields]) -> Problems:
    """The runner looks for the pipeline that the server has read."""
    for document in documents:
        if document.kind and document.kind not in ("pipeline", *NOT_PIPELINES):
            yield document.kind.line, "resource not found: write `kind: pipeline`"
        elif "${" in getattr(document, "name", ""):
            yield (document.name.line, "resource not found: Drone's server does not replace "
                   "`${…}`; write a name without it")


def when_read(pipeline: Fields) -> Problems:
    """The runner reads every pipeline of the file before it looks for the one to run."""
    names: set[str] = set()
    for step in pipeline.steps:
        if not step.lines:
            yield step.line, "Linter: detected nil step: remove the lone `-`"
        elif not step.name:
            yield step.line, "Linter: invalid or missing step name: add `name:` to the step"
        elif len(step.name.encode()) > 100:
            yield step.name.line, "Linter: step name cannot exceed 100 characters: shorten it"
        elif step.name in names:
            yield (step.name.line, "Linter: duplicate step name: "
                   f"`{step.name}` is above already; give this one another name")
        names.add(step.name)


def by_runner(pipeline: Fields) -> Problems:
    """The runner rejects the pipeline that it is to run."""
    limits = pipeline.resources.limits
    for name, given in (("cpu", limits.cpu), ("memory", limits.memory not in ("", "0"))):
        if given:
            yield (limits.line_of(name), f"linter: {name} limit cannot be applied at stage level: "
                   "move `limits` into the steps; `requests` stays here")
    names = set() if pipeline.clone.disable else {CLONE}
    for step in (*pipeline.services, *pipeline.steps):
        yield from _bad_step(step, names)
        names.add(step.name)
    for volume in pipeline.volumes:
        if not volume.name:
            yield volume.line, "linter: missing volume name: add `name:` to the volume"
        elif volume.name in (*_RESERVED, "_addons"):
            yield _reserved(volume)


def _bad_step(step: Fields, earlier: set[str]) -> Problems:
    if not step.lines:
        yield step.line, "linter: nil step: remove the lone `-`"
    if step.name in earlier:
        yield (step.line_of("name"), f"linter: duplicate step names: `{step.name}` is the name of "
               "another step, of a service or of Drone's own first step")
    if not step.image:
        yield (step.line, "linter: invalid or missing image: "
               "add `image:`; this machine does not use it, the cluster does")
    for mount in step.volumes:
        if mount.name in _RESERVED:
            yield _reserved(mount)
        if posixpath.normpath(mount.path).startswith("/run/drone"):
            yield mount.line, "linter: cannot mount volume at /run/drone: choose another path"
    for needed in step.depends_on:
        if needed == step.name:
            yield (needed.line, f"linter: cyclical step dependency detected: {needed}: "
                   f"take `{needed}` out of its own depends_on")
        elif needed not in earlier:
            yield (needed.line, "linter: unknown step dependency detected: "
                   f"{step.name} references {needed}: `{needed}` must be a step above this one; "
                   "move it up or correct the name")


def _reserved(volume: Fields) -> tuple[int, str]:
    return (volume.line, f"linter: invalid volume name: {volume.name}: "
            "Drone uses this name itself; choose another")


def without_trust(pipeline: Fields) -> Problems:
    """The runner rejects it unless an admin has made the repository trusted."""
    for step in (*pipeline.services, *pipeline.steps):
        if step.privileged:
            yield (step.line_of("privileged"), "linter: untrusted repositories cannot enable "
                   f"privileged mode: remove `privileged`; {_TRUST}")
    for volume in pipeline.volumes:
        kinds = {kind: words for kind, words in _TRUSTED_VOLUMES.items() if kind in volume.lines}
        if volume.temp.medium == "memory":
            kinds["temp"] = "in-memory volumes"
        for kind, words in kinds.items():
            yield (volume.line_of(kind), f"linter: untrusted repositories cannot mount {words}: "
                   f"read and write through MLflow or S3 instead; {_TRUST}")


def here(pipeline: Fields) -> Problems:
    """This machine cannot run it as the cluster does."""
    workspace = pipeline.workspace.path
    if pipeline.platform.os == "windows":
        yield (pipeline.platform.os.line,
               f"`platform.os`: this machine has no PowerShell; {_WAY_OUT}")
    if pipeline.volumes:
        yield (pipeline.line_of("volumes"),
               f"`volumes`: volumes belong to the cluster; {_WAY_OUT}")
    if pipeline.host_aliases:
        yield (pipeline.line_of("host_aliases"),
               f"`host_aliases`: names of hosts cannot be changed here; {_WAY_OUT}")
    if not workspace.startswith("/"):
        yield workspace.line, "`workspace.path` must be absolute here"
    for step in (*pipeline.services, *pipeline.steps):
        for line, words in _step_here(step, workspace):
            yield line, f"step `{step.name}`: {words}; {_WAY_OUT}"


def _step_here(step: Fields, workspace: str) -> Problems:
    for name, words in _NOT_HERE.items():
        if getattr(step, name) or name in ("user", "group") and name in step.lines:
            yield step.line_of(name), f"`{name}`: {words} cannot be had on this machine"
    if not step.name:
        yield step.line, "it has no name"
    if not step.commands:
        yield (step.line, "no `commands`: what an image does by itself cannot be run without the "
               "image")
    if step.working_dir and not PurePosixPath(step.working_dir).is_relative_to(workspace):
        yield step.working_dir.line, f"`working_dir` must be below {workspace} on this machine"
