"""`lab launch NAME`: tags the current commit to run a process or pipeline, and pushes the tag."""
from __future__ import annotations

import re
import subprocess
from collections.abc import Collection
from pathlib import Path

from taglab.engines.drone.decide import all_pipelines
from taglab.engines.drone.fields import Fields
from taglab.errors import LabError
from taglab.git import git_environment
from taglab.runner.git import git
from taglab.runner.remote import REPOSITORY, local_remote

_WILDCARD = re.compile(r"[*?\[\]{}\\]")
# A launch asks for no message and no passphrase, and pushes its one tag alone.
OPTIONS = ("-c", "tag.gpgSign=false", "-c", "push.gpgSign=false", "-c", "push.followTags=false",
           "-c", "push.pushOption=")


def next_tag_commands(lab: Path, name: str) -> list[str]:
    """Return the commands that tag the current commit to run NAME, and push the tag.

    Raises LabError if something is not committed, or if no tag runs it.
    """
    pipelines = all_pipelines((lab / ".drone.yml").read_text(encoding="utf-8"))
    changes = git("status", "--porcelain", cwd=lab).splitlines()
    tags = git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/tags", cwd=lab).split()
    tag = next_tag(tag_prefix(pipelines, name), tags)
    if changes:
        raise LabError("a tag holds only what is committed, and this is not:\n"
                       + "\n".join(changes[:10])
                       + "\nType: git add -A && git commit -m 'What changed'")
    remote = local_remote(lab)
    if remote is None or not (lab / REPOSITORY / "HEAD").exists():  # as in a new worktree
        raise LabError("the lab has no local remote. Type: lab init")
    return [f"git tag {tag}", f"git push {remote} refs/tags/{tag}"]


def tag_prefix(pipelines: list[Fields], name: str) -> str:
    """Return the prefix of the tags that run a process or a pipeline: `NAME-`.

    Raises LabError, listing the names that exist, or if no such tags start the pipeline.
    """
    own = {pipeline.name: _tag_prefixes(pipeline) for pipeline in pipelines}
    known = {prefix.rstrip("-"): prefix for prefixes in own.values() for prefix in prefixes
             if prefix}
    known |= {each: prefixes[0] for each, prefixes in own.items() if len(prefixes) == 1}
    name = name if name in known else name.replace("_", "-")
    if name in known:
        return known[name]
    if not own.get(name, [""]):
        raise LabError(f"no pattern refs/tags/NAME-* triggers the pipeline {name}; "
                       "tag and push by hand")
    raise LabError(f"no tag {name}-* starts a pipeline of .drone.yml. It has: {', '.join(known)}")


def _tag_prefixes(pipeline: Fields) -> list[str]:
    """Return what the tags begin with that trigger a pipeline."""
    prefixes = [pattern.removeprefix("refs/tags/").removesuffix("*")
                for pattern in pipeline.trigger.ref.include]
    return [prefix for prefix, pattern in zip(prefixes, pipeline.trigger.ref.include)
            if pattern == f"refs/tags/{prefix}*" and not _WILDCARD.search(prefix)]


def next_tag(prefix: str, tags: Collection[str]) -> str:
    """Return PREFIXvN, where N is one more than the highest number among `tags`, or 1."""
    numbers = [int(tag.removeprefix(f"{prefix}v")) for tag in tags
               if re.fullmatch(re.escape(prefix) + "v[0-9]+", tag)]
    return f"{prefix}v{max(numbers, default=0) + 1}"


def run(lab: Path, commands: list[str]) -> int:
    """Print and run git commands up to the first that fails; return the last exit status.

    Tag and push are not signed, whatever the user's settings: who wants that tags by hand.
    """
    for command in commands:
        print(f"$ {command}", flush=True)
        program, *words = command.split()
        status = subprocess.run([program, *OPTIONS, *words], cwd=lab,
                                env=git_environment()).returncode
        if status:
            return status
    return 0
