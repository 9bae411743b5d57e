"""Which of many tags that are pushed at once run: the newest of each experiment."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from taglab.runner.git import git
from taglab.runner.remote import REPOSITORY
from taglab.runner.settings import FILE as SETTINGS

LAUNCHED = "LAB_LAUNCHED"  # a variable: how many tags `lab launch` pushes at once; all of them run
_FEW = 5  # skipped builds that are named one by one


def older_tags(pipelines: Mapping[str, Sequence[str]], newest_first: Sequence[str],
               limit: int) -> set[str]:
    """Return the tags that do not run when all keys of `pipelines` are pushed at once.

    `pipelines` has what each tag triggers: a pipeline, by one of its patterns. Up to `limit` tags
    that trigger any all run; of more, those that are the newest to trigger something. A tag that
    `newest_first` does not list counts as older than those that it lists.
    """
    triggering = [tag for tag, names in pipelines.items() if names]
    if len(triggering) <= limit:
        return set()
    place = {tag: index for index, tag in enumerate(newest_first)}
    newest: dict[str, str] = {}
    for tag in sorted(triggering, key=lambda tag: place.get(tag, len(place))):
        for name in pipelines[tag]:
            newest.setdefault(name, tag)
    return set(triggering) - set(newest.values())


def tags_newest_first(lab: Path) -> list[str]:
    """Return the full names of the tags of the local remote.

    The date is that of an annotated tag, or of the commit. Of one date, the highest version is
    first.
    """
    return git("for-each-ref", "--sort=-version:refname", "--sort=-creatordate",
               "--format=%(refname)", "refs/tags", cwd=lab / REPOSITORY).splitlines()


def skipped_note(numbers: Sequence[int], limit: int) -> str:
    """Return what to say of the builds that a push recorded and did not start."""
    one_by_one = [f"build {each} is skipped. To run it, type: lab restart {each}"
                  for each in numbers] if len(numbers) <= _FEW else [
        f"{len(numbers)} builds are skipped: {numbers[0]} to {numbers[-1]} in lab builds. "
        f"To run one, type: lab restart {numbers[0]}"]
    return "\n".join((
        "note: only the newest tag of each experiment runs, since this push has more tags than "
        f"tags_per_push = {limit} ([limits] in {SETTINGS})", *one_by_one))
