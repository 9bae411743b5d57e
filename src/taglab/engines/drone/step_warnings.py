"""Rules of `lint` for pipelines and steps: likely mistakes that Drone accepts silently."""
from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sized
from difflib import get_close_matches

from taglab.engines.drone.fields import Fields, Schema
from taglab.engines.drone.outcome import FAIL_FAST
from taglab.engines.drone.rejections import Problems
from taglab.engines.drone.schema import PIPELINE, WORKSPACE
from taglab.engines.drone.source import Source, judges_goals, processes_in, secrets_of

_SYNONYMS = {"tag": "ref", "tags": "ref", "refs": "ref", "on": "trigger", "only": "trigger",
             "env": "environment", "variables": "environment", "secrets": "environment",
             "script": "commands", "run": "commands", "cmd": "commands", "needs": "depends_on",
             "if": "when", "with": "settings", "mem": "memory", "matrix": "steps"}
_EXAMPLES = {"ref": "ref: [refs/tags/NAME-*]",
             "environment": "environment: {NAME: {from_secret: name}}",
             "depends_on": "depends_on: [name]", "commands": "commands: [python x.py]"}
_ANCHOR = re.compile(r":\s*&")
_CORES = re.compile(r"[0-9]+\.[0-9]*|\.[0-9]+|[1-9]")
_PYTHON = re.compile(r"\b(python[0-9.]*|pytest)\b")
# The script that a command runs, or what pytest tests: a plain path inside the workspace.
_PATH = re.compile(r"\b(?:(?:python[0-9.]*|sh|bash)|pytest(?: -\S+)*) +(?:\./)?([\w][\w./:-]*)"
                   r"(?=[ ;&|]|$)")
_CHANGES_FOLDER = re.compile(r"\bcd\b")
_EXITS_WITH_2 = re.compile(r"(?:^|[;&|]|-m) *(pytest|make)\b")


def unknown_keys(source: Source) -> Problems:
    """Drone ignores keys that it does not know."""
    for pipeline in source.kubernetes:
        for line, name, known in _unknown_keys(pipeline, PIPELINE):
            is_private = name[:2] == "x-" or name[:1] in "._"
            if not is_private and not _ANCHOR.search(source.lines[line - 1]):  # used elsewhere
                yield line, f"Drone ignores `{name}`; {_did_you_mean(name, known)}"


def _unknown_keys(fields: Fields, schema: Schema) -> Iterator[tuple[int, str, Schema]]:
    """Yield the line and name of each unknown key, and the schema that lacks it."""
    for name, line in fields.lines.items():
        field_type = schema.get(name)
        if field_type is None:
            if name != "ports":  # which document a service, and do no harm
                yield line, name, schema
        elif isinstance(field_type, Mapping):
            yield from _unknown_keys(getattr(fields, name), field_type)
        elif isinstance(field_type, list) and isinstance(field_type[0], Mapping):
            for item in getattr(fields, name):
                yield from _unknown_keys(item, field_type[0])


def _did_you_mean(name: str, known: Collection[str]) -> str:
    near = _SYNONYMS.get(name.lower(), "")
    if near not in known:
        near = next(iter(get_close_matches(name.lower(), known, 1, 0.7)), "")
    return f"did you mean `{_EXAMPLES.get(near, near)}`?" if near else (
        f"remove it, or write one of: {', '.join(sorted(known))}")


def cpu_in_cores(source: Source) -> Problems:
    """`cpu` is a whole number of millicores."""
    for parent in (*source.kubernetes, *source.steps):
        for amounts in (parent.resources.requests, parent.resources.limits):
            text = amounts.cpu.written
            if _CORES.fullmatch(text):
                yield (amounts.line_of("cpu"), f"`cpu: {text}`: Drone reads `cpu` in whole "
                       f"millicores; write `cpu: {float(text) * 1000:.0f}` for {text} cores")


def ignored_requests(source: Source) -> Problems:
    """Only a pipeline can request resources."""
    for step in source.steps:
        if "requests" in step.resources.lines:
            yield (step.resources.line_of("requests"), "Drone ignores the requests of a step; "
                   "move it to `resources: {requests: …}` of the pipeline, or write "
                   "`limits` here")


def partial_depends_on(source: Source) -> Problems:
    """With a single `depends_on`, the order of the file no longer counts for any step."""
    for pipeline in source.kubernetes:
        steps = [step for step in pipeline.steps if not step.detach]
        needed = [name for step in steps for name in step.depends_on]
        roots = [step for step in steps if not step.depends_on]
        intended = roots == steps[:len(roots)] and all(step.name in needed for step in roots)
        if len(steps) > len(roots) > 1 and not intended:
            names = ", ".join(step.name for step in roots)
            yield (min(name.line for name in needed),
                   "with one `depends_on`, Drone ignores the order of the file for all steps: "
                   f"{names} start at once; give each step a `depends_on`, and `[clone]` to those "
                   "that should start at once")


def fail_fast_with_when(source: Source) -> Problems:
    """Drone's runner crashes when `when` excludes a step with `failure: fast`."""
    for step in source.steps:
        if step.failure in FAIL_FAST and step.when.lines.keys() - {"status"}:
            yield (step.line_of("failure"), f"if `when` excludes `{step.name}`, `failure: "
                   f"{step.failure}` crashes Drone's runner; move one of the two to another step")


def unknown_secrets(source: Source) -> Problems:
    """A secret that does not exist leaves its variable empty."""
    if source.secrets is None:
        return
    known = {name.lower() for name in (*source.secrets, *source.given_secrets)}
    missing: dict[tuple[str, str], list[int]] = {}  # the lines of each
    for step in source.steps:
        if not step.commands:
            continue  # it runs only on the cluster
        for name, secret in secrets_of(step):
            if secret.name.lower() not in known:
                missing.setdefault((name, secret.name), []).append(secret.line)
    for (name, wanted), lines in missing.items():
        yield (lines[0], f"there is no secret `{wanted}`, so {name} is empty{_count(lines)}; "
               f"write `{wanted} = \"VALUE\"` in .lab/secrets.toml")


def goals_unchecked(source: Source) -> Problems:
    """A goal guards the builds of a pipeline that judges it after the process."""
    for pipeline in source.kubernetes:
        unchecked: dict[str, None] = {}
        for step in pipeline.steps:
            for command in step.commands:
                unchecked |= dict.fromkeys(processes_in(command))
                if judges_goals(command):
                    unchecked.clear()
        if names := ", ".join(name for name in unchecked if name in source.goals):
            yield (pipeline.line_of("name"), f"the pipeline `{pipeline.name}` runs {names} and "
                   "never checks the goals in goals/goals.toml; end it with a step that has "
                   "`commands: [python -m taglab.goals]`")


def unpinned_images(source: Source) -> Problems:
    """An image without a version changes over time."""
    for image, steps in _by_image(source.steps).items():
        tag = image.rpartition("/")[2].partition(":")[2]
        if "@" not in image and "${" not in image and tag in ("", "latest"):
            yield (steps[0].image.line, f"`{image}`{_count(steps)} changes with every release; "
                   "write the tag of a version, `image: NAME:TAG`")


def differing_images(source: Source) -> Problems:
    """On this machine, all steps share one environment; on the cluster, each has its image's."""
    for pipeline in source.kubernetes:
        by_image = _by_image(filter(uses_python, pipeline.steps))
        for image, steps in list(by_image.items())[1:]:
            first, others = next(iter(by_image.items()))
            yield (steps[0].line_of("image"), f"the step `{others[0].name}` has another image than "
                   f"`{image}`{_count(steps)}, but on this machine all steps have the packages of "
                   f"requirements.txt; write `image: {first}`")


def outdated_images(source: Source) -> Problems:
    """The tag of an image contains the hash of the requirements that it was built from."""
    for image, steps in _by_image(filter(uses_python, source.steps)).items():
        if "${" not in image and source.requirements not in image:
            yield (steps[0].image.line, f"`{image}`{_count(steps)} was not built from this "
                   f"requirements.txt; write the tag `:{source.requirements}`, as `lab image` "
                   "does, and build it")


def _by_image(steps: Iterable[Fields]) -> dict[str, list[Fields]]:
    """Return the steps that have an image, by the image."""
    found: dict[str, list[Fields]] = {}
    for step in steps:
        if step.image:
            found.setdefault(str(step.image), []).append(step)
    return found


def _count(places: Sized) -> str:
    """Return in how many steps the cause of one finding is, if in several."""
    return f" in {len(places)} steps" if len(places) > 1 else ""


def uncommitted_paths(source: Source) -> Problems:
    """A step finds only what was committed, and what an earlier command may have created."""
    if source.files is None:
        return
    for step in source.steps:
        folder = posixpath.relpath(posixpath.join(WORKSPACE, step.working_dir), WORKSPACE)
        earlier = ""
        for command in step.commands:
            if _CHANGES_FOLDER.search(earlier + command):
                break
            for path in _paths(command, folder, earlier):
                if not any(f"{file}/".startswith(f"{path}/") for file in source.files):
                    near = get_close_matches(path, source.files, 1)
                    yield (command.line, f"`{path}` is not in the commit; " + (
                        f"did you mean `{near[0]}`?" if near else "git add and commit it"))
            earlier += command


def _paths(command: str, folder: str, earlier: str) -> list[str]:
    """Return the paths, from the workspace, that a command runs and no earlier one names."""
    return [posixpath.normpath(posixpath.join(folder, name.partition("::")[0]))
            for name in _PATH.findall(command) if name not in earlier]


def exit_code_2(source: Source) -> Problems:
    """The Kubernetes runner mistakes exit code 2 for a failure of its own, after a minute's wait.
    """
    for step in source.steps:
        for command in step.commands:
            found = _EXITS_WITH_2.search(command)
            if found and "||" not in command:
                yield (command.line, f"`{found[1]}` can exit with 2, which the cluster mistakes "
                       f"for a failure of its own; write `{found[1]} … || exit 1`")


def uses_python(step: Fields) -> bool:
    """Return whether a step needs the lab's packages, judging by its commands."""
    return any(_PYTHON.search(command) for command in step.commands)


RULES = (unknown_keys, partial_depends_on, unknown_secrets, uncommitted_paths, goals_unchecked)
SERVER_RULES = (cpu_in_cores, ignored_requests, fail_fast_with_when, unpinned_images,
                differing_images, outdated_images, exit_code_2)
