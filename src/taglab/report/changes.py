"""What a report says of the difference to an earlier tag."""

from collections.abc import Sequence

from taglab.lab import LIBRARY
from taglab.report import words
from taglab.report.document import CODE, Block, Cell, Facts, Note, Section, Title
from taglab.report.facts import ReportFacts
from taglab.results.commits import CodeChange
from taglab.results.diff import TagDiff
from taglab.results.differences import Change
from taglab.tracking.summary import main_metrics

COMMITS, FILES = 10, 20  # that are shown


def difference_section(facts: ReportFacts) -> Section:
    """Return how the tag differs from another one, or why that is not known."""
    diff = facts.difference
    if diff is None:
        return Section("Difference", (Note(facts.no_difference),))
    old = diff.old
    origin = Facts((
        ("Tag", Cell(old.tag)), ("Commit", Cell(old.commit, CODE)),
        ("Build", Cell(old.build or words.NONE)), ("Message", Cell(words.short(old.message)))))
    return Section(f"Difference to {old.tag}", (
        origin, *_runs(diff), *_metrics(diff), *_params(diff), *_packages(diff), *_data(diff),
        *_code(diff.code)))


def _runs(diff: TagDiff) -> list[Block]:
    """Say which runs only one of the tags has."""
    found: list[Block] = []
    for one, other in ((diff.old, diff.new), (diff.new, diff.old)):
        if only := [name for name in one.statuses if name not in other.statuses]:
            found.append(Note(f"Only {one.tag} ran {', '.join(only)}."))
    return found


def _metrics(diff: TagDiff) -> list[Block]:
    rows = [(each.run, each.name, words.number(each.old), words.number(each.new),
             *words.difference(each.old, each.new)) for each in _main_first(diff.metrics)]
    times = [(each.run, "time", words.duration(each.old), words.duration(each.new),
              *words.difference(each.old, each.new, " s")) for each in diff.times]
    head = ("process", "metric", diff.old.tag, diff.new.tag, "difference", "percent")
    return [Title("Metrics"), *words.table(head, [*rows, *times], 4),
            *_same(diff.same["metrics"], "metric")]


def _main_first(metrics: Sequence[Change[float]]) -> list[Change[float]]:
    """Return the metrics with those first that summaries of runs show."""
    names: dict[str, list[str]] = {}
    for each in metrics:
        names.setdefault(each.run, []).append(each.name)
    main = {run: main_metrics(found) for run, found in names.items()}
    return sorted(metrics, key=lambda each: each.name not in main[each.run])


def _params(diff: TagDiff) -> list[Block]:
    rows = [(each.run, each.name, _value(each.old), _value(each.new)) for each in diff.params]
    return [Title("Parameters"),
            *words.table(("process", "parameter", diff.old.tag, diff.new.tag), rows),
            *_same(diff.same["params"], "parameter")]


def _packages(diff: TagDiff) -> list[Block]:
    rows = [(each.name, _value(each.old), _value(each.new)) for each in diff.packages]
    return [Title("Packages"), *words.table(("package", diff.old.tag, diff.new.tag), rows),
            *_same(diff.same["packages"], "package")]


def _data(diff: TagDiff) -> list[Block]:
    rows = [(each.run, each.name, _value(each.old), _value(each.new)) for each in diff.data]
    if not rows and not diff.same["data"]:
        return []
    return [Title("Data"), *words.table(("process", "data", diff.old.tag, diff.new.tag), rows),
            *_same(diff.same["data"], "data set")]


def _code(code: CodeChange) -> list[Block]:
    if not code.commits and not code.missing:
        return [Title("Code"), Note("Both are of the same commit.")]
    own_first = sorted(code.files, key=lambda each: each.path.startswith(f"{LIBRARY}/"))
    files = [(Cell(each.path, CODE), *(("binary", "") if each.added is None else (
        f"+{each.added}", f"-{each.removed}" if each.removed else "0"))) for each in own_first]
    commits = [(Cell(line.partition(" ")[0], CODE), line.partition(" ")[2])
               for line in code.commits]
    missing = [Note(f"{words.plural(code.missing, 'commit')} of the old tag are not in the new "
                    "one.")] if code.missing else []
    return [Title("Code"), *words.table(("commit", "message"), commits, limit=COMMITS), *missing,
            *words.table(("file", "added", "removed"), files, 2, FILES)]


def _same(count: int, word: str) -> list[Note]:
    verb = "is" if count == 1 else "are"
    return [Note(f"{words.plural(count, word)} {verb} the same.")] if count else []


def _value(value: str | None) -> str:
    return words.NONE if value is None else value
