"""Adds a process to the pipelines of `.drone.yml`, as text: comments and layout stay."""
from __future__ import annotations

import re

from taglab.engines.drone.decide import all_pipelines
from taglab.engines.drone.documents import FileError
from taglab.engines.drone.fields import Fields
from taglab.engines.drone.globs import matches_any
from taglab.engines.drone.source import Source, judges_goals, processes_in
from taglab.errors import LabError

_ALL = "run-examples"  # the pipeline of all processes in labs where each has its own as well


def add_process(text: str, name: str) -> tuple[str, str]:
    """Return a `.drone.yml` with a process in it, and sentences on what runs it.

    A pipeline whose steps name their own tags in `when` gets a step. Where there is none, the last
    pipeline of a single process is copied. Raises LabError if there is nothing to copy.
    """
    tag = _tag(name)
    for pipeline in all_pipelines(text):
        if tag == pipeline.name or _pattern(name) in pipeline.trigger.ref.include:
            raise LabError(f".drone.yml already has a pipeline for {tag}. Choose another name")
    _check_tags(text, name)
    for pipeline in Source(text).kubernetes:
        for step, other in reversed(_processes(pipeline)):
            if _pattern(other) in step.when.ref.include:
                if joined := _with_step(text, pipeline, step, other, name):
                    return joined, f"The pipeline {pipeline.name} of .drone.yml has a step for it."
    copied = _copy_of_pipeline(text, name)
    said = f"The pipeline {tag} of .drone.yml runs it."
    for pipeline in Source(text).kubernetes:
        if pipeline.name == _ALL and (found := _processes(pipeline)):
            joined = _with_step(text, pipeline, *found[-1], name)
            text = joined or text
            said += (f" {_ALL} has a step for it, too." if joined else
                     f"\nTo have {_ALL} run it, too, copy its step there.")
    if not judges_goals(copied):
        said += ("\nTo have its goals checked, end its pipeline with a step that runs "
                 "`python -m taglab.goals`.")
    return f"{text.rstrip()}\n---\n{copied.strip()}\n", said


def _check_tags(text: str, name: str) -> None:
    """Raise LabError where one tag would start the process and another pipeline or step.

    So `refs/tags/svm-*` matches the tags of svm, and those of svm_search.
    """
    if clash := _clash(text, name):
        pattern, tag = clash
        free = [f"Type: lab new {each}" for each in (f"my_{name}", f"the_{name}", f"own_{name}")
                if not _clash(text, each)]
        raise LabError(f"the tag {tag} would start both {name} and what .drone.yml starts by"
                       f" {pattern}. {(free or ['Choose another name'])[0]}")


def _clash(text: str, name: str) -> tuple[str, str] | None:
    """Return a pattern of the file and a tag that both it and the process's own pattern match.

    A pattern that names no process, like `refs/tags/*`, is meant to match these tags, too.
    """
    own, tag, any_name = _pattern(name), f"{_tag(name)}-v1", "refs/tags/0-v1"
    for condition in [each for _, kind, each in Source(text).conditions if kind == "ref"]:
        for pattern in condition.include:
            other = pattern.replace("*", "v1")
            if matches_any([own], other):
                return pattern, other.removeprefix("refs/tags/")
            if (condition.match(f"refs/tags/{tag}") and matches_any([pattern], f"refs/tags/{tag}")
                    and not matches_any([pattern], any_name)):
                return pattern, tag
    return None


def _processes(pipeline: Fields) -> list[tuple[Fields, str]]:
    """Return the steps that run a single process, each with its process."""
    found = [(step, set(processes_in("\n".join(step.commands)))) for step in pipeline.steps]
    return [(step, *processes) for step, processes in found if len(processes) == 1]


def _copy_of_pipeline(text: str, name: str) -> str:
    """Return the last pipeline that runs a single process, renamed for the new one."""
    for document in reversed(re.split(r"(?m)^---.*\n", text)):
        processes = set(re.findall(r"lab/processes/(\w+)/main\.py", document))
        if len(processes) == 1:
            copied = _renamed(document, processes.pop(), name)
            if _tag(name) in [pipeline.name for pipeline in Source(copied).pipelines]:
                return copied
    raise LabError("no pipeline in .drone.yml runs only `python lab/processes/NAME/main.py`, so "
                   "there is none to copy. Write one, and copy a folder of lab/processes by hand")


def _with_step(text: str, pipeline: Fields, step: Fields, other: str, name: str) -> str | None:
    """Return the text with a copy of a step right after it, and with its tag in the trigger.

    Returns None where the file is written in a way that this does not know.
    """
    lines = text.split("\n")
    first, end = _span(lines, step)
    if old := _pattern(other) in pipeline.trigger.ref.include:
        _add_pattern(lines, pipeline.line_of("trigger") - 1, _pattern(other), _pattern(name))
    block = _renamed("\n".join(lines[first:end]), other, name)
    gap = [""] if end < len(lines) and not lines[end].strip() else []
    lines[end:end] = [*gap, re.sub(r"(: +)&[\w-]+ *", r"\1", block)]  # an anchor is set once
    changed = "\n".join(lines)
    names = [each.name for each in pipeline.steps]
    names.insert(pipeline.steps.index(step) + 1, _tag(name))
    try:
        [after] = [each for each in Source(changed).kubernetes if each.name == pipeline.name]
    except FileError:
        return None
    refs = [*pipeline.trigger.ref.include, *([_pattern(name)] if old else [])]
    right = ([each.name for each in after.steps] == names
             and name in [process for _, process in _processes(after)]
             and sorted(after.trigger.ref.include) == sorted(refs))
    return changed if right else None


def _span(lines: list[str], step: Fields) -> tuple[int, int]:
    """Return the index of a step's first line, and that of the line after its last."""
    first = end = step.line - 1
    for index in range(first, len(lines)):
        content = lines[index].lstrip()
        if content and not content.startswith("#"):
            if index > first and len(lines[index]) - len(content) <= lines[first].find("-"):
                break
            end = index + 1
    return first, end


def _add_pattern(lines: list[str], start: int, old: str, new: str) -> None:
    """Write a pattern next to another one: on a line of its own if that has one."""
    for index in range(start, len(lines)):
        found = re.search(rf"(?P<item>^ *- *)?(?P<quote>[\"']?){re.escape(old)}(?P=quote)",
                          lines[index].partition("#")[0])
        if found and found["item"]:
            lines[index] += "\n" + found[0].replace(old, new)
        elif found:
            end, quote = found.end(), found["quote"]
            lines[index] = f"{lines[index][:end]}, {quote}{new}{quote}{lines[index][end:]}"
        if found:
            return


def _renamed(text: str, other: str, name: str) -> str:
    """Return the text for another process: its file, its tags, and the names of its steps."""
    old, new = re.escape(_tag(other)), _tag(name)
    text = re.sub(rf"(?<=lab/processes/){other}(?=/)", name, text)
    return re.sub(rf"(?<=refs/tags/){old}(?=-)|(?<=name: ){old}(?=[\s,}}]|$)|"
                  rf"(?<=name: [\"']){old}(?=[\"'])|\b{old}(?=-v1\b)", new, text)


def _pattern(process: str) -> str:
    return f"refs/tags/{_tag(process)}-*"


def _tag(process: str) -> str:
    return process.replace("_", "-")
