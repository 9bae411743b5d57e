"""How two tags differ, as text for a terminal of 100 columns: what is the same is one line."""

from collections.abc import Iterator, Sequence

from taglab.results.commits import CodeChange, PackageChange
from taglab.results.diff import GoalChange, TagDiff, TagFacts
from taglab.results.differences import Change
from taglab.tracking.summary import FINISHED, main_metrics

WIDTH = 100
SHOWN = 8  # lines of each part; --json has all
TITLE = 11  # columns


def diff_text(diff: TagDiff) -> str:
    """Return how two tags differ, with one part for each kind of difference."""
    width = max(len(diff.old.tag), len(diff.new.tag))
    lines = [_facts(diff.old, width), _facts(diff.new, width), *_runs(diff), ""]
    lines += _part("code", _code_title(diff.code), _code(diff.code))
    lines += _part("parameters", _count(len(diff.params), diff.same["params"]),
                   _table([(each.run, each.name, _change(each.old, each.new))
                           for each in diff.params]))
    lines += _part("packages", _count(len(diff.packages), diff.same["packages"]),
                   _table([_package(each) for each in diff.packages]))
    lines += _part("data", _count(len(diff.data), diff.same["data"], "none is recorded"),
                   _table([(each.run, each.name, _change(each.old, each.new))
                           for each in diff.data]))
    lines += _part("goals", _goals_title(diff.goals),
                   _table([_goal(each) for each in diff.goals
                           if not each.is_same or False in (each.old_met, each.new_met)]))
    lines += _part("metrics", _count(len(diff.metrics), diff.same["metrics"]),
                   _table([_number(each) for each in _main_first(diff.metrics)], right=4))
    lines += _part("time", "", _table([_number(each, " s") for each in diff.times], right=4))
    lines += _compare(diff)
    return "\n".join(lines)


def _facts(tag: TagFacts, width: int) -> str:
    build = f"build {tag.build}  " if tag.build else ""
    return _cut(f"{tag.tag:<{width}}  {tag.commit[:7]}  {build}{tag.message}")


def _runs(diff: TagDiff) -> Iterator[str]:
    """Yield what is unlike in which runs the tags have and how these ended."""
    for one, other in ((diff.old, diff.new), (diff.new, diff.old)):
        if only := [name for name in one.statuses if name not in other.statuses]:
            yield _cut(f"only {one.tag} ran {', '.join(only)}")
        if ended := [f"{name} {status}" for name, status in one.statuses.items()
                     if status != FINISHED]:
            yield _cut(f"in {one.tag}: {', '.join(ended)}")


def _part(title: str, summary: str, lines: Sequence[str]) -> list[str]:
    """Return a part; without a summary, its first line stands beside the title."""
    if not summary and not lines:
        return []
    more = [f"{'':{TITLE}}… and {len(lines) - SHOWN} more; to list all, add: --json"] \
        if len(lines) > SHOWN else []
    shown = [f"{'':{TITLE}}{line}" for line in lines[:SHOWN]]
    if not summary:
        return [f"{title:<{TITLE}}{shown[0].strip()}", *shown[1:], *more]
    return [f"{title:<{TITLE}}{summary}", *shown, *more]


def _count(different: int, same: int, none: str = "none") -> str:
    if not different:
        return f"the same ({same})" if same else none
    return f"{different} of {different + same} differ"


def _code_title(code: CodeChange) -> str:
    if not code.commits and not code.missing:
        return "the same commit"
    added = sum(each.added or 0 for each in code.files)
    removed = sum(each.removed or 0 for each in code.files)
    title = f"{_plural(len(code.commits), 'commit')}, {_plural(len(code.files), 'file')}"
    aside = f"; {_plural(code.missing, 'commit')} of the old tag missing" if code.missing else ""
    return f"{title} +{added} -{removed}{aside}"


def _code(code: CodeChange) -> list[str]:
    """Return the newest commits and the most changed files, as many as fit."""
    half = SHOWN // 2
    commits = [_cut(line, WIDTH - TITLE) for line in code.commits[:half]]
    if code.commits[half:]:
        commits[-1:] = [f"… and {len(code.commits) - half + 1} more commits"]
    ranked = sorted(code.files, key=lambda each: -((each.added or 0) + (each.removed or 0)))
    room = SHOWN - len(commits)
    shown = ranked if len(ranked) <= room else ranked[:room - 1]
    lines = _table([(_tail(each.path), "binary" if each.added is None else
                     f"+{each.added} -{each.removed}") for each in shown])
    return [*commits, *lines, *(
        [f"… and {len(ranked) - len(shown)} more files"] if ranked[len(shown):] else [])]


def _package(each: PackageChange) -> tuple[str, ...]:
    return (each.name, "added" if each.old is None else each.old,
            "removed" if each.new is None else f"→ {each.new}" if each.old else each.new)


def _goals_title(goals: Sequence[GoalChange]) -> str:
    different = sum(not each.is_same for each in goals)
    if different or not goals:
        return _count(different, len(goals) - different, "none is set for them")
    missed = sum(False in (each.old_met, each.new_met) for each in goals)
    return f"the same ({len(goals)}), {f'{missed} missed' if missed else 'met'}"


def _goal(each: GoalChange) -> tuple[str, ...]:
    def judged(bound: float | None, met: bool | None) -> str:
        word = {True: "met", False: "MISSED", None: "no run"}[met]
        return "no goal" if bound is None else f"{bound:g} {word}"

    return (each.process, f"{each.metric} {each.side}",
            f"{judged(each.old, each.old_met)} → {judged(each.new, each.new_met)}")


def _main_first(metrics: Sequence[Change[float]]) -> list[Change[float]]:
    """Return the metrics with those first that summaries of runs show."""
    main = {run: main_metrics(each.name for each in metrics if each.run == run)
            for run in {each.run for each in metrics}}
    return sorted(metrics, key=lambda each: each.name not in main[each.run])


def _number(each: Change[float], unit: str = "") -> tuple[str, ...]:
    """Return the cells of two numbers: both, their difference, and that in percent of the old."""
    name = () if unit else (each.name,)
    if each.old is None or each.new is None:
        both = ["none" if value is None else f"{value:.6g}{unit}" for value in (
            each.old, each.new)]
        return (each.run, *name, *both, "", "")
    by = each.new - each.old
    percent = f"{100 * by / abs(each.old):+.2f} %" if each.old else ""
    digits = ".1f" if unit else ".6g"
    return (each.run, *name, f"{each.old:{digits}}{unit}", f"→ {each.new:{digits}}{unit}",
            f"{by:+{'.1f' if unit else '.4g'}}{unit}", percent)


def _compare(diff: TagDiff) -> Iterator[str]:
    """Yield the addresses, which are too long for any line."""
    local = any(address.startswith("/") for address in diff.addresses.values())
    if diff.addresses:
        yield "side by side" + (", after: lab ui" if local else "")
    for address in [*diff.addresses.values()][:3]:
        yield ("http://127.0.0.1:5000" if local else "") + address


def _table(rows: Sequence[tuple[str, ...]], right: int = 0) -> list[str]:
    """Return lines of aligned columns, the last `right` of them to the right; cut at the width."""
    if not rows:
        return []
    cells = [[_cut(cell, 46) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    first = len(widths) - right
    return [_cut("  ".join(cell.rjust(width) if index >= first else cell.ljust(width)
                           for index, (cell, width) in enumerate(zip(row, widths))).rstrip(),
                 WIDTH - TITLE) for row in cells]


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _change(old: str | None, new: str | None) -> str:
    """Return two values of a parameter; long numbers are rounded unless they would be the same."""
    words = [_rounded(value) for value in (old, new)]
    if words[0] == words[1]:
        words = [str(value) for value in (old, new)]
    return " → ".join(_cut(word, 20) for word in words)


def _rounded(value: str | None) -> str:
    try:
        return f"{float(value):.6g}" if value and len(value) > 10 else str(value or "none")
    except ValueError:
        return str(value)


def _cut(text: str, width: int = WIDTH) -> str:
    return text if len(text) <= width else f"{text[:width - 1]}…"


def _tail(path: str) -> str:
    """Return the end of a path, which tells more than its beginning."""
    return path if len(path) <= 46 else f"…{path[-45:]}"
