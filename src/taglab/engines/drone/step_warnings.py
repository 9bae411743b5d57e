"""What Drone accepts and nobody wants: one rule a function, each with the fix in its words."""
from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches

from taglab.engines.drone.condition_warnings import (
    bad_patterns, branch_with_tags, emptied_variables, matches_everything, matches_nothing,
    star_and_slash)
from taglab.engines.drone.fields import Fields, Schema
from taglab.engines.drone.outcome import FAST
from taglab.engines.drone.rejections import Problems
from taglab.engines.drone.schema import PIPELINE, WORKSPACE
from taglab.engines.drone.source import Source, secrets_of

_MEANT = {"tag": "ref", "tags": "ref", "refs": "ref", "on": "trigger", "only": "trigger",
          "env": "environment", "variables": "environment", "secrets": "environment",
          "script": "commands", "run": "commands", "cmd": "commands", "needs": "depends_on",
          "if": "when", "with": "settings", "mem": "memory", "matrix": "steps"}
_EXAMPLES = {"ref": "ref: [refs/tags/NAME-*]", "environment": "environment: {NAME: {from_secret: "
             "name}}", "depends_on": "depends_on: [name]", "commands": "commands: [python x.py]"}
_PYTHON = re.compile(r"\b(python[0-9.]*|pytest)\b")
# The script that a command runs, or what pytest is to test: a plain path inside the workspace.
_NAMED = re.compile(r"\b(?:(?:python[0-9.]*|sh|bash)|pytest(?: -\S+)*) +(?:\./)?([\w][\w./:-]*)"
                    r"(?=[ ;&|]|$)")
_MOVES = re.compile(r"\bcd\b")
_EXITS_WITH_2 = re.compile(r"(?:^|[;&|]|-m) *(pytest|make)\b")


def unknown_keys(source: Source) -> Problems:
    """What Drone does not know it ignores."""
    lines = source.text.split("\n")
    for pipeline in source.kubernetes:
        for line, name, known in _unknown_keys(pipeline, PIPELINE):
            if name[:2] != "x-" and name[:1] not in "._" and not re.search(
                    r":\s*&", lines[line - 1]):  # what holds an anchor is meant for others
                yield line, f"Drone ignores `{name}`; {_did_you_mean(name, known)}"


def _unknown_keys(fields: Fields, schema: Schema) -> Iterator[tuple[int, str, Schema]]:
    for name, line in fields.lines.items():
        kind = schema.get(name)
        if kind is None and name != "ports":  # which documents a service and does no harm
            yield line, name, schema
        inner = getattr(fields, name) if kind else None
        if isinstance(inner, Fields):
            yield from _unknown_keys(inner, kind)
        elif isinstance(kind, list) and isinstance(kind[0], dict):
            for item in inner:
                yield from _unknown_keys(item, kind[0])


def _did_you_mean(name: str, known: Collection[str]) -> str:
    near = _MEANT.get(name.lower(), "")
    if near not in known:
        near = next(iter(get_close_matches(name.lower(), known, 1, 0.7)), "")
    return f"did you mean `{_EXAMPLES.get(near, near)}`?" if near else (
        f"remove it, or write one of: {', '.join(sorted(known))}")


def odd_cpu(source: Source) -> Problems:
    """`cpu` counts whole thousandths of a core."""
    for place in (*source.kubernetes, *source.steps):
        for amounts in (place.resources.requests, place.resources.limits):
            text = amounts.cpu.written
            if re.fullmatch(r"[0-9]+\.[0-9]*|\.[0-9]+|[1-9]", text):
                yield (amounts.line_of("cpu"), f"`cpu: {text}` counts thousandths of a core, whole "
                       f"ones; write `cpu: {float(text) * 1000:.0f}` for {text} cores")


def ignored_requests(source: Source) -> Problems:
    """Only a whole pipeline can request."""
    for step in source.steps:
        if "requests" in step.resources.lines:
            yield (step.resources.line_of("requests"), "Drone ignores what a step requests; move "
                   "it to `resources: {requests: …}` of the pipeline, or write `limits` here")


def sudden_graph(source: Source) -> Problems:
    """One `depends_on` ends the order of the file for all steps."""
    for pipeline in source.kubernetes:
        steps = [step for step in pipeline.steps if not step.detach]
        needed = [name for step in steps for name in step.depends_on]
        roots = [step for step in steps if not step.depends_on]
        meant = roots == steps[:len(roots)] and all(step.name in needed for step in roots)
        if len(steps) > len(roots) > 1 and not meant:
            yield (min(name.line for name in needed),
                   "one `depends_on` ends the order of the file for all steps: "
                   + ", ".join(step.name for step in roots) + " start at once; give each "
                   "step a `depends_on`, `[clone]` to those that should start at once")


def fast_and_left_out(source: Source) -> Problems:
    """Drone's runner crashes when it leaves out a step that is to fail fast."""
    for step in source.steps:
        if step.failure in FAST and step.when.lines.keys() - {"status"}:
            yield (step.line_of("failure"), f"where its `when` leaves `{step.name}` out, `failure: "
                   f"{step.failure}` crashes Drone's runner; move one of the two to another step")


def unknown_secrets(source: Source) -> Problems:
    """A secret that exists nowhere is an empty variable."""
    if source.secrets is None:
        return
    known = {name.lower() for name in (*source.secrets, *source.given_secrets)}
    for step in source.steps:
        for name, secret in secrets_of(step) if step.commands else ():  # else it runs elsewhere
            if secret.name.lower() not in known:
                yield (secret.line, f"there is no secret `{secret.name}`, which leaves {name} "
                       f"empty; write `{secret.name} = \"VALUE\"` in .lab/secrets.toml")


def image_without_tag(source: Source) -> Problems:
    """Without a tag an image is another one tomorrow."""
    for step in source.steps:
        image = step.image
        tag = image.rpartition("/")[2].partition(":")[2]
        if image and "@" not in image and "${" not in image and tag in ("", "latest"):
            yield (image.line, f"`{image}` is another image whenever it is built anew; "
                   "write the tag of one version, `image: NAME:TAG`")


def differing_images(source: Source) -> Problems:
    """Here all steps of a pipeline have one environment; on the cluster each has its image."""
    for pipeline in source.kubernetes:
        first, *others = [step for step in pipeline.steps if uses_python(step)] or [None]
        for step in others:
            if step.image != first.image:
                yield (step.line_of("image"), f"the step `{first.name}` has another image, while "
                       "here all steps have the packages of requirements.txt; write "
                       f"`image: {first.image}`")


def image_of_other_requirements(source: Source) -> Problems:
    """The image's tag carries the hash of the requirements that it was built from."""
    for step in filter(uses_python, source.steps):
        image = step.image
        if image and "${" not in image and source.requirements not in image:
            yield (image.line, f"`{image}` was not built from this requirements.txt; "
                   f"build that image and give it, here too, the tag `:{source.requirements}`")


def missing_paths(source: Source) -> Problems:
    """A step finds only what was committed. What an earlier command names, it may have made."""
    for step in source.steps if source.files is not None else ():
        folder = posixpath.relpath(posixpath.join(WORKSPACE, step.working_dir), WORKSPACE)
        before = ""
        for command in step.commands:
            for name in () if _MOVES.search(before + command) else _NAMED.findall(command):
                path = posixpath.normpath(posixpath.join(folder, name.partition("::")[0]))
                if name not in before and not any(
                        f"{file}/".startswith(f"{path}/") for file in source.files):
                    near = get_close_matches(path, source.files, 1)
                    yield (command.line, f"`{path}` is not in the commit; " + (
                        f"did you mean `{near[0]}`?" if near else "git add and commit it"))
            before += command


def exit_code_2(source: Source) -> Problems:
    """A cluster takes exit code 2 for a fault of its own: it waits a minute, then says `error`."""
    for step in source.steps:
        for command in step.commands:
            found = _EXITS_WITH_2.search(command)
            if found and "||" not in command:
                yield (command.line, f"a failing `{found[1]}` exits with 2, which the cluster "
                       f"takes for a fault of its own; write `{found[1]} … || exit 1`")


def uses_python(step: Fields) -> bool:
    """Say whether a step needs the lab's packages, as far as its commands show it."""
    return any(_PYTHON.search(command) for command in step.commands)


WARNINGS: tuple[Callable[[Source], Problems], ...] = (
    unknown_keys, matches_everything, branch_with_tags, bad_patterns,
    star_and_slash, matches_nothing, emptied_variables, odd_cpu, ignored_requests, sudden_graph,
    fast_and_left_out, unknown_secrets, image_without_tag, differing_images,
    image_of_other_requirements, missing_paths, exit_code_2)
