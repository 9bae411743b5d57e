"""`lab launch PIPELINE`: tags the newest commit so that one pipeline runs, and pushes the tag."""
from __future__ import annotations

import re
import subprocess
from collections.abc import Collection
from pathlib import Path

from taglab.engines.drone.decide import all_pipelines
from taglab.engines.drone.fields import Fields
from taglab.errors import LabError
from taglab.runner.git import git, git_environment
from taglab.runner.remote import local_remote

_NEEDS_LITERAL = re.compile(r"[*?\[\]{}\\]")


def next_tag_commands(lab: Path, name: str) -> list[str]:
    """Return the commands that tag the newest commit for the pipeline and push the tag.

    Raises LabError when something is not committed, or no tag starts the pipeline.
    """
    pipelines = all_pipelines((lab / ".drone.yml").read_text(encoding="utf-8"))
    changes = git("status", "--porcelain", cwd=lab).splitlines()
    tags = git("tag", "--list", cwd=lab).split()
    tag = next_tag(tag_prefix(find_pipeline(pipelines, name)), tags)
    if changes:
        raise LabError("a tag holds what was committed, and this is not:\n"
                       + "\n".join(changes[:10])
                       + "\nType: git add -A && git commit -m 'What changed'")
    remote = local_remote(lab)
    if remote is None:
        raise LabError("the lab has no local remote. Type: lab init")
    return [f"git tag {tag}", f"git push {remote} refs/tags/{tag}"]


def find_pipeline(pipelines: list[Fields], name: str) -> Fields:
    """Return the pipeline with this name. Raises LabError with the names that there are."""
    known = {pipeline.name: pipeline for pipeline in pipelines}
    if name.replace("_", "-") in known:
        name = name.replace("_", "-")
    if name not in known:
        raise LabError(f"there is no pipeline {name!r} in .drone.yml. It has: "
                       + ", ".join(known))
    return known[name]


def tag_prefix(pipeline: Fields) -> str:
    """Return what a tag must begin with to start the pipeline. Raises LabError."""
    for pattern in pipeline.trigger.ref.include:
        prefix = pattern.removeprefix("refs/tags/").removesuffix("*")
        if pattern == f"refs/tags/{prefix}*" and not _NEEDS_LITERAL.search(prefix):
            return prefix
    raise LabError(f"no pattern refs/tags/NAME-* starts the pipeline {pipeline.name}; "
                   "tag and push by hand")


def next_tag(prefix: str, tags: Collection[str]) -> str:
    """Return the next free tag: PREFIXv1, or one more than the highest there is."""
    numbers = [int(tag.removeprefix(f"{prefix}v")) for tag in tags
               if re.fullmatch(re.escape(prefix) + "v[0-9]+", tag)]
    return f"{prefix}v{max(numbers, default=0) + 1}"


def run(lab: Path, commands: list[str]) -> int:
    """Show and run the commands; return the first exit status that is not 0."""
    for command in commands:
        print(f"$ {command}", flush=True)
        status = subprocess.run(command.split(), cwd=lab, env=git_environment()).returncode
        if status:
            return status
    return 0
