"""What Drone accepts and nobody wants in `trigger`, `when` and `${…}`."""
from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from taglab.engines.drone.conditions import TRIGGER, BadPattern, Condition, glob_match
from taglab.engines.drone.fields import Fields
from taglab.engines.drone.rejections import Problems
from taglab.engines.drone.source import EVENTS, Source, builds_of, sample_variables
from taglab.engines.drone.substitution import SubstitutionError, used_names


def matches_everything(source: Source) -> Problems:
    """A condition in which Drone sees no pattern always holds."""
    for place, name, condition in source.conditions:
        if condition.dropped or not (condition.include or condition.exclude):
            yield (place.line_of(name), f"Drone sees no pattern in (part of) `{name}`, so that "
                   f"matches everything; write `{name}: [PATTERN]` or `{name}: {{include: "
                   "[PATTERN], exclude: [PATTERN]}`")
    for pipeline in source.pipelines:
        if all(getattr(pipeline.trigger, name) == Condition() for name in TRIGGER):
            yield (pipeline.line_of("trigger"), "every push, tag and pull request starts this "
                   "pipeline; add `trigger: {ref: [refs/tags/NAME-*]}`, or `event: [push, tag]` "
                   "if you want it")


def branch_with_tags(source: Source) -> Problems:
    """A condition on the branch never holds for a tag."""
    for pipeline in source.kubernetes:
        trigger, events = pipeline.trigger, builds_of(pipeline.trigger)
        explicit = trigger.event.include or trigger.ref.include
        places = [trigger] if explicit and "tag" in events else []
        if events == {"tag"}:
            places += [step.when for step in (*pipeline.services, *pipeline.steps)]
        for place in places:
            if place.branch.include and not place.branch.match(""):
                yield (place.line_of("branch"), "a tag has no branch, so `branch` never lets one "
                       "through; remove `branch`, or give tags a pipeline of their own")


def bad_patterns(source: Source) -> Problems:
    """A pattern that Drone cannot read matches nothing."""
    for place, name, pattern in _patterns(source):
        if "[!" in pattern:
            yield (place.line_of(name), f"`{pattern}`: `[!…]` is no negation in Drone; write "
                   "`[^…]`, or use `exclude`")
        elif not _is_pattern(pattern):
            yield (place.line_of(name), f"`{pattern}` is no pattern of Drone's, so it matches "
                   "nothing; close every `[` and `{`, and write no `/` inside `{…}`")


def star_and_slash(source: Source) -> Problems:
    """`*` stops at a `/`, and so does `**` beside other characters."""
    for place, name, pattern in _patterns(source):
        parts = pattern.split("/")
        if any("**" in part and part != "**" for part in parts):
            yield (place.line_of(name), f"`{pattern}`: `**` crosses `/` only between two `/`, here "
                   "it is `*`; write `*`, or `/**` for all below")
        elif name in ("branch", "ref") and pattern in ("*", "refs/*", "refs/tags/*",
                                                       "refs/heads/*"):
            yield (place.line_of(name), f"`{pattern}`: `*` does not cross `/`, so `{pattern[:-1]}"
                   f"a/b` is not matched; write `{pattern}*`")


def matches_nothing(source: Source) -> Problems:
    """A ref begins with `refs/`; events and statuses have fixed names."""
    known = {"event": EVENTS, "status": ("success", "failure")}
    for place, name, pattern in _patterns(source):
        first, known_here = pattern.split("/")[0], known.get(name, ())
        if name == "ref" and first != "**" and not Condition((first,)).match("refs"):
            yield (place.line_of(name), f"`{pattern}` matches no ref: that of a tag is "
                   f"refs/tags/NAME; write `refs/tags/{pattern}`")
        if known_here and not any(map(Condition((pattern,)).match, known_here)):
            near = get_close_matches(pattern, known_here, 1)
            yield (place.line_of(name), f"`{name}` is never `{pattern}`; write "
                   + (f"`{near[0]}`" if near else f"one of {', '.join(known_here)}"))


def emptied_variables(source: Source) -> Problems:
    """Drone replaces what it does not know by nothing, also what was meant for the shell."""
    try:
        names = used_names(source.text)
    except SubstitutionError:
        return  # an error, which says more
    known, lines = sample_variables(), source.text.split("\n")
    for line, name in names:
        near = get_close_matches(name, known, 1, 0.9)
        of_other_events = name.startswith(("DRONE_", "CI_")) and not near
        if name in known or of_other_events or lines[line - 1].lstrip().startswith("#"):
            continue
        fix = f"write `${{{near[0]}}}`" if near else (
            f"for the shell's variable write `$${{{name}}}` or `${name}`")
        yield line, (f"Drone has no variable {name}, so `${{{name}}}` is empty and "
                     f"`${{{name}:-x}}` always x; {fix}")


def _patterns(source: Source) -> Iterator[tuple[Fields, str, str]]:
    for place, name, condition in source.conditions:
        for pattern in filter(None, (*condition.include, *condition.exclude)):
            yield place, name, pattern


def _is_pattern(pattern: str) -> bool:
    try:
        glob_match(pattern, pattern)
    except BadPattern:
        return False
    return True
