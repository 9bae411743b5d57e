"""`lab launch NAME`: tags the current commit to run a process or pipeline, and pushes the tag."""
from __future__ import annotations

import re
import subprocess
import textwrap
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taglab.cli.parameter_words import combinations, processes_of
from taglab.engines.drone.decide import all_pipelines
from taglab.engines.drone.fields import Fields
from taglab.engines.drone.variables import Commit
from taglab.errors import LabError
from taglab.git import git_environment
from taglab.runner.build_run import drone_event
from taglab.runner.git import git
from taglab.runner.newest_tags import LAUNCHED
from taglab.runner.remote import REPOSITORY, local_remote
from taglab.tag_parameters import TagError, TagMessage, ending, marked, write_message

_WILDCARD = re.compile(r"[*?\[\]{}\\]")
# A launch asks for no message and no passphrase, and pushes its one tag alone.
OPTIONS = ("-c", "tag.gpgSign=false", "-c", "tag.forceSignAnnotated=false",
           "-c", "push.gpgSign=false", "-c", "push.followTags=false", "-c", "push.pushOption=")


@dataclass(frozen=True)
class NewTag:
    """A tag to make of the current commit; `message` is "" for a lightweight one."""

    name: str
    message: str = ""

    @property
    def command(self) -> list[str]:
        """The command that makes it, and reads the message."""
        return ["git", "tag", *(["--annotate", "--cleanup=verbatim", "--file=-"]
                                if self.message else []), self.name]


def new_tags(lab: Path, name: str, words: Sequence[str] = (), sweeps: Sequence[str] = (),
             question: str = "", limit: int = 1) -> tuple[str, list[NewTag]]:
    """Return the remote of this machine, and the tags that run NAME with other parameters.

    Without sweeps this is one tag. See `combinations` for the parameters; `limit` is how many tags
    there may be. Raises LabError if something is not committed, no tag runs NAME, or a parameter
    is wrong.
    """
    text = (lab / ".drone.yml").read_text(encoding="utf-8")
    changes = git("status", "--porcelain", cwd=lab).splitlines()
    tags = git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/tags", cwd=lab).split()
    prefix = tag_prefix(all_pipelines(text), name)
    if changes:
        raise LabError("a tag holds only what is committed, and this is not:\n"
                       + "\n".join(changes[:10])
                       + "\nType: git add -A && git commit -m 'What changed'")
    remote = local_remote(lab)
    if remote is None or not (lab / REPOSITORY / "HEAD").exists():  # as in a new worktree
        raise LabError("the lab has no local remote. Type: lab init")
    wanted: list[tuple[Any, ...]] = [()]
    if words or sweeps:
        wanted = combinations(_configs(lab, text, prefix), list(words), list(sweeps))
    if len(wanted) > limit:
        raise LabError(f"these are {len(wanted)} tags, each with a build of its own, and the limit "
                       f"is {limit}. For so many points use taglab.search, or type: --limit "
                       f"{len(wanted)}")
    first = next_number(prefix, tags)
    return remote, [_new_tag(f"{prefix}v{number}", TagMessage(question.strip(), parameters))
                    for number, parameters in enumerate(wanted, first)]


def _new_tag(name: str, message: TagMessage) -> NewTag:
    name = marked(name, message.parameters)
    try:
        message.question.encode()
        return NewTag(name, write_message(name, message))
    except (UnicodeEncodeError, TagError) as error:
        raise LabError(str(error)) from None


def _configs(lab: Path, text: str, prefix: str) -> dict[str, dict[str, Any]]:
    """Return the config.toml, in the current commit, of each process that such tags run."""
    commit = Commit("tag", f"refs/tags/{prefix}v1", "", "", "", "", "", "")
    processes = processes_of(text, drone_event(commit, lab))
    if not processes:
        raise LabError(f"no step that a tag {prefix}* starts runs lab/processes/NAME/main.py, so "
                       "there are no parameters to change")
    found = {}
    for process in processes:
        file = f"lab/processes/{process}/config.toml"
        try:
            found[process] = (tomllib.loads(git("show", f"HEAD:{file}", cwd=lab))
                              if git("ls-tree", "HEAD", file, cwd=lab) else {})
        except tomllib.TOMLDecodeError as error:
            raise LabError(f"{file}: {error}") from None
    return found


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


def next_number(prefix: str, tags: Collection[str]) -> int:
    """Return one more than the highest N among the tags PREFIXvN, or 1."""
    plain = [tag.removesuffix(f".p{ending(tag)}") for tag in tags]
    numbers = [int(tag.removeprefix(f"{prefix}v")) for tag in plain
               if re.fullmatch(re.escape(prefix) + "v[0-9]+", tag)]
    return max(numbers, default=0) + 1


def launch(lab: Path, remote: str, tags: Sequence[NewTag]) -> int:
    """Show, make and push the tags; return the exit status of the command that ended it.

    They are pushed at once, so each has its build before the first one ends. Where one cannot be
    made, none is. Tag and push are not signed, whatever the user's settings: who wants that tags by
    hand.
    """
    for number, tag in enumerate(tags):
        print(f"$ {' '.join(tag.command)}")
        print(textwrap.indent(tag.message, "  "), end="", flush=True)
        if status := _run(lab, tag.command, tag.message):
            for made in tags[:number]:
                git("tag", "--delete", made.name, cwd=lab)
            return status
    push = ["git", "push", remote, *(f"refs/tags/{tag.name}" for tag in tags)]
    print(f"$ {' '.join(push)}", flush=True)
    return _run(lab, push, **{LAUNCHED: str(len(tags))})


def _run(lab: Path, command: Sequence[str], text: str = "", **variables: str) -> int:
    return subprocess.run([command[0], *OPTIONS, *command[1:]], cwd=lab, input=text.encode(),
                          env={**git_environment(), **variables}).returncode
