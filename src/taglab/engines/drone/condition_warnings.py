"""Rules of `lint` for `trigger`, `when` and `${…}`: likely mistakes that Drone accepts."""
from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from taglab.engines.drone.conditions import TRIGGER, Condition
from taglab.engines.drone.fields import Fields
from taglab.engines.drone.globs import BadPattern, glob_match
from taglab.engines.drone.rejections import Problems
from taglab.engines.drone.schema import services_and_steps
from taglab.engines.drone.source import EVENTS, Source, possible_events, sample_variables
from taglab.engines.drone.substitution import SubstitutionError, used_names


def matches_everything(source: Source) -> Problems:
    """A condition without a pattern always holds."""
    for parent, name, condition in source.conditions:
        if condition.dropped or not (condition.include or condition.exclude):
            yield (parent.line_of(name), f"Drone finds no pattern in (part of) `{name}`, so it "
                   f"matches everything; write `{name}: [PATTERN]` or `{name}: {{include: "
                   "[PATTERN], exclude: [PATTERN]}`")
    for pipeline in source.pipelines:
        if all(getattr(pipeline.trigger, name) == Condition() for name in TRIGGER):
            yield (pipeline.line_of("trigger"), "every push, tag and pull request starts this "
                   "pipeline; add `trigger: {ref: [refs/tags/NAME-*]}`, or `event: [push, tag]` "
                   "if you want that")


def branch_with_tags(source: Source) -> Problems:
    """A condition on the branch never holds for a tag."""
    for pipeline in source.kubernetes:
        trigger, events = pipeline.trigger, possible_events(pipeline.trigger)
        explicit = trigger.event.include or trigger.ref.include
        parents = [trigger] if explicit and "tag" in events else []
        if events == {"tag"}:
            parents += [step.when for step in services_and_steps(pipeline)]
        for parent in parents:
            if parent.branch.include and not parent.branch.match(""):
                yield (parent.line_of("branch"), "a tag has no branch, so `branch` never matches "
                       "one; remove `branch`, or write a separate pipeline for tags")


def invalid_patterns(source: Source) -> Problems:
    """A pattern that Drone cannot parse matches nothing."""
    for parent, name, pattern in _patterns(source):
        if "[!" in pattern:
            yield (parent.line_of(name), f"`{pattern}`: `[!…]` does not negate in Drone; write "
                   "`[^…]`, or use `exclude`")
        elif not _is_valid(pattern):
            yield (parent.line_of(name), f"`{pattern}` is not a valid pattern, so it matches "
                   "nothing; close every `[` and `{`, and put no `/` inside `{…}`")


def star_before_slash(source: Source) -> Problems:
    """`*` does not cross `/`, and neither does `**` next to other characters."""
    for parent, name, pattern in _patterns(source):
        if any("**" in component and component != "**" for component in pattern.split("/")):
            yield (parent.line_of(name), f"`{pattern}`: `**` crosses `/` only as a whole "
                   "component, and here it acts as `*`; write `*`, or `/**` for everything below")
        elif name in ("branch", "ref") and pattern in ("*", "refs/*", "refs/tags/*",
                                                       "refs/heads/*"):
            yield (parent.line_of(name), f"`{pattern}`: `*` does not cross `/`, so "
                   f"`{pattern[:-1]}a/b` does not match; write `{pattern}*`")


def never_matches(source: Source) -> Problems:
    """A ref begins with `refs/`; events and statuses have fixed names."""
    fixed = {"event": EVENTS, "status": ("success", "failure")}
    for parent, name, pattern in _patterns(source):
        first = pattern.split("/")[0]
        if name == "ref" and first != "**" and not Condition((first,)).match("refs"):
            yield (parent.line_of(name), f"`{pattern}` matches no ref: that of a tag is "
                   f"refs/tags/NAME; write `refs/tags/{pattern}`")
        known = fixed.get(name, ())
        if known and not any(map(Condition((pattern,)).match, known)):
            near = get_close_matches(pattern, known, 1)
            yield (parent.line_of(name), f"`{name}` is never `{pattern}`; write "
                   + (f"`{near[0]}`" if near else f"one of {', '.join(known)}"))


def unknown_variables(source: Source) -> Problems:
    """Drone replaces an unknown `${NAME}` with nothing, even if it was meant for the shell."""
    try:
        names = used_names(source.text)
    except SubstitutionError:
        return  # lint reports it as an error
    known = sample_variables()
    for line, name in names:
        near = get_close_matches(name, known, 1, 0.9)
        of_other_events = name.startswith(("DRONE_", "CI_")) and not near
        is_comment = source.lines[line - 1].lstrip().startswith("#")
        if name in known or of_other_events or is_comment:
            continue
        fix = f"write `${{{near[0]}}}`" if near else (
            f"for a variable of the shell, write `$${{{name}}}` or `${name}`")
        yield line, (f"Drone has no variable {name}, so `${{{name}}}` is empty and "
                     f"`${{{name}:-x}}` always x; {fix}")


def _patterns(source: Source) -> Iterator[tuple[Fields, str, str]]:
    for parent, name, condition in source.conditions:
        for pattern in filter(None, (*condition.include, *condition.exclude)):
            yield parent, name, pattern


def _is_valid(pattern: str) -> bool:
    try:
        glob_match(pattern, pattern)
    except BadPattern:
        return False
    return True


RULES = (matches_everything, branch_with_tags, invalid_patterns, star_before_slash, never_matches,
         unknown_variables)
