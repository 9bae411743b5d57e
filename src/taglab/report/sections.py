"""What a report says, part by part, as functions of what was read."""

import shlex
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from taglab.report import words
from taglab.report.changes import difference_section
from taglab.report.document import (
    BAD, CODE, GOOD, MARKED, Block, Cell, Code, Facts, Note, Picture, Report, Section, Title)
from taglab.report.facts import FigureFile, ReportFacts
from taglab.report.nested import nested_blocks
from taglab.results import RunResult, TagResults
from taglab.results.differences import label
from taglab.tracking.summary import FINISHED, main_metrics

# The packages of which a report tells the version, where they are installed.
MAIN = ("mlflow", "numpy", "pandas", "scipy", "scikit-learn", "torch", "lightning", "transformers",
        "tensorflow", "jax", "xgboost", "lightgbm", "optuna", "matplotlib")
# The tags of a run that tell which parameters are not from config.toml, and what to call it.
CHANGED = {"parameters_from_tag": "by the tag",
           "parameters_from_command_line": "on the command line"}


def make_report(
    facts: ReportFacts, pictures: Sequence[tuple[FigureFile, bytes]],
    notebook: Sequence[Block] = (),
) -> Report:
    """Return the report on a tag; `notebook` are the outputs of one."""
    results = facts.results
    sections = [
        _what_ran(results), _goals(facts), _runs(results), difference_section(facts),
        _figures(facts, pictures), Section("Notebook", tuple(notebook)), _parameters(results),
        _data(results), _environment(facts), _reproduce(facts)]
    return Report(facts.lab, results.tag, mark(results.tag), results.message,
                  tuple(_summary(facts)), tuple(each for each in sections if each.blocks),
                  words.moment(facts.written))


def mark(tag: str) -> str:
    """Return what is in each file of a report on a tag, and in no other."""
    return f"taglab report [{quote(tag, safe='')}]"


def status_cell(run: RunResult) -> Cell:
    """Return how a run ended."""
    return Cell(run.status, GOOD if run.status == FINISHED else BAD)


def _summary(facts: ReportFacts) -> Iterator[Cell]:
    runs = facts.results.runs
    finished = sum(run.status == FINISHED for run in runs)
    yield Cell(f"{finished} of {words.plural(len(runs), 'run')} finished",
               GOOD if finished == len(runs) else BAD)
    if facts.goals:
        met = sum(goal.met for goal in facts.goals)
        yield Cell(f"{met} of {words.plural(len(facts.goals), 'goal')} met",
                   GOOD if met == len(facts.goals) else BAD)
    if any(run.tags.get("dirty") == "true" for run in runs):
        yield Cell("with uncommitted changes", BAD)
    verdicts = [each for run in runs if (each := run.tags.get("verified"))]
    if verdicts:
        same = all(each.startswith("same") for each in verdicts)
        yield Cell("run again: the same" if same else "run again: differs", GOOD if same else BAD)


def _what_ran(results: TagResults) -> Section:
    runs = results.runs
    ends = [run.started + run.seconds for run in runs if run.seconds is not None]
    builds = {run.tags.get("build", "") for run in runs}
    facts = [("Commit", Cell(results.commit, CODE)),
             ("Build", Cell(results.build or words.NONE)),
             *[("Log", Cell(link)) for link in sorted(_links(runs))],
             ("Started", Cell(words.moment(min((run.started for run in runs), default=0))))]
    if len(ends) == len(runs) and runs:
        facts.append(("Took", Cell(words.duration(max(ends) - min(run.started for run in runs)))))
    head = ("process", "status", *(["build"] if len(builds) > 1 else []), "time")
    rows = [(label(run), status_cell(run),
             *([run.tags.get("build", "")] if len(builds) > 1 else []),
             words.duration(run.seconds)) for run in runs]
    reasons = [Note(f"{label(run)}: {run.tags['reason']}") for run in runs if "reason" in run.tags]
    return Section("What ran", (Facts(tuple(facts)), *words.table(head, rows, 1), *reasons))


def _links(runs: Sequence[RunResult]) -> set[str]:
    links = {run.tags.get("build_link", "") for run in runs}
    return {link for link in links if link.startswith("http")}


def _goals(facts: ReportFacts) -> Section:
    if not facts.goals:
        return Section("Goals", (Note("goals/goals.toml of this commit sets none for what ran."),))
    rows = [(goal.run, goal.metric, Cell("met", GOOD) if goal.met else Cell("missed", BAD),
             f"{goal.side} {goal.bound:g}", words.number(goal.value)) for goal in facts.goals]
    return Section("Goals", tuple(words.table(
        ("process", "metric", "verdict", "goal", "value"), rows, 2)))


def _runs(results: TagResults) -> Section:
    blocks: list[Block] = []
    for run in results.runs:
        blocks.append(Title(label(run)))
        main = main_metrics(run.metrics)
        names = [*main, *(name for name in sorted(run.metrics) if name not in main)]
        rows = [(name, words.number(run.metrics[name])) for name in names]
        blocks += words.table(("metric", "value"), rows, 1) or [Note("It logged no metrics.")]
        blocks += nested_blocks(run)
    return Section("Results", tuple(blocks))


def _figures(facts: ReportFacts, pictures: Sequence[tuple[FigureFile, bytes]]) -> Section:
    shown = [Picture(f"{figure.run}: {figure.path}", data) for figure, data in pictures]
    rows = [(each.run, each.path, words.size(each.size))
            for each in facts.figures if not each.shown]
    rest = [Note("These are not in the page, which would get too large; they are with the runs:"),
            *words.table(("process", "artifact", "size"), rows, 1)] if rows else []
    return Section("Figures", (*shown, *rest))


def _parameters(results: TagResults) -> Section:
    blocks: list[Block] = []
    for run in results.runs:
        origins = {name: origin for name in run.params if (origin := changed_by(run, name))}
        names = sorted(run.params, key=lambda name: name not in origins)
        rows = [(Cell(name, MARKED if name in origins else ""),
                 *([origins.get(name, "")] if origins else []), run.params[name])
                for name in names]
        if rows:
            head = ("parameter", *(["changed"] if origins else []), "value")
            blocks += [Title(label(run)), *words.table(head, rows)]
    return Section("Parameters", tuple(blocks))


def changed_by(run: RunResult, name: str) -> str:
    """Return what changed a parameter of a run from what config.toml has, or ""."""
    return next((origin for tag, origin in CHANGED.items()
                 if f" {name}=" in f" {run.tags.get(tag, '')}"), "")


def _data(results: TagResults) -> Section:
    rows = [(label(run), name, Cell(digest, CODE))
            for run in results.runs for name, digest in run.data.items()]
    return Section("Data", tuple(words.table(("process", "data", "digest"), rows)) or (
        Note("No run recorded its data; taglab.datasets.path in main.py does."),))


def _environment(facts: ReportFacts) -> Section:
    runs = facts.results.runs
    rows = [(title, Cell(value)) for title, name in (
        ("Python", "python"), ("taglab", "taglab"), ("Edited in vendor", "taglab_edited"))
        if (value := ", ".join(sorted({run.tags[name] for run in runs if name in run.tags})))]
    rows += [(name, Cell(facts.packages[name])) for name in MAIN if name in facts.packages]
    rows.append(("Written on", Cell(facts.platform)))
    note = f"{len(facts.packages)} packages were installed; versions.txt of each run names all."
    return Section("Environment", (Facts(tuple(rows)), *([Note(note)] if facts.packages else [])))


def _reproduce(facts: ReportFacts) -> Section:
    tag, address = shlex.quote(facts.results.tag), shlex.quote(facts.remote)
    steps = [(f"git checkout {tag}", "the code of this result"),
             ("python3 vendor/taglab init", "the lab command, and the packages"),
             (". .venv/bin/activate", ""),
             (f"lab verify {tag}", "runs it again and compares the numbers")]
    if facts.remote:
        steps.insert(0, (f"git clone {address} lab && cd lab", ""))
    width = max(len(step) for step, note in steps if note)
    return Section("Reproduce", (Code("\n".join(
        f"{step:<{width}}  # {note}" if note else step for step, note in steps)),))
