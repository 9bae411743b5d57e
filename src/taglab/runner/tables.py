"""Builds, environments and findings as text for the terminal: tables and coloured words."""
from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import click

from taglab.engines.drone.outcome import ERROR, FAILURE, FINAL, KILLED, RUNNING, SKIPPED, SUCCESS
from taglab.runner.builds import Build, PipelineRecord
from taglab.runner.environment import Environment

if TYPE_CHECKING:  # `lab status` must not wait for all the rules
    from taglab.engines.drone.lint import Finding

Row = tuple[str, ...]
_COLOURS = {SUCCESS: "green", FAILURE: "red", ERROR: "red", KILLED: "red", RUNNING: "yellow"}


def step_table(build: Build) -> str:
    """Return a table of a build's pipelines and steps with their status and duration."""
    rows: list[Row] = []
    for pipeline in build.pipelines:
        rows.append((pipeline.name, pipeline.status, _seconds(pipeline.started, pipeline.finished)))
        rows += [(f"  {step.name}", _status(step.status, step.exit_code),
                  _seconds(step.started, step.finished)) for step in pipeline.steps]
    rows.append((f"build {build.number}", build.status, _seconds(build.started, build.finished)))
    return click.unstyle(_table(rows))


def build_table(builds: Iterable[Build], now: float) -> str:
    """Return a table of builds in the order given."""
    rows: list[Row] = [("build", "status", "tag or branch", "commit", "pushed", "took")]
    for build in builds:
        rows.append((str(build.number), _build_status(build), build.name, build.commit.sha[:7],
                     _minute(build.created), _took(build, now)))
    return _table(rows)


def status_table(builds: Iterable[Build], now: float) -> str:
    """Return a table of unfinished pipelines, then each one's latest finished run; or "".

    A pipeline that several kinds of tags start, NAME-…, has a row for each.
    """
    last: dict[tuple[str, str], tuple[Build, PipelineRecord]] = {}
    unfinished: list[tuple[Build, PipelineRecord]] = []
    for build in builds:
        for pipeline in build.pipelines if build.status != SKIPPED else ():
            if build.status in FINAL:
                kind = build.name.rpartition("-")[0] if build.commit.event == "tag" else ""
                last[pipeline.name, kind] = build, pipeline
            else:
                unfinished.append((build, pipeline))
    if not last and not unfinished:
        return ""
    rows: list[Row] = [("pipeline", "status", "step", "build", "tag or branch", "took")]
    for build, pipeline in [*unfinished, *last.values()]:
        steps = [step.name for step in pipeline.steps if step.status in (RUNNING, FAILURE, KILLED)]
        rows.append((pipeline.name, pipeline.status, ", ".join(steps), str(build.number),
                     build.name, _took(build, now)))
    return _table(rows)


def environment_table(environments: Iterable[Environment], now: float) -> str:
    """Return a table of environments in the order given."""
    rows: list[Row] = [("environment", "size", "last used")]
    rows += [(each.name, f"{each.size / 1e6:.0f} MB", _minute(each.used)) for each in environments]
    return _table(rows)


def findings_text(findings: Iterable[Finding]) -> str:
    """Return one `FILE:LINE: LEVEL: TEXT` per finding, the format of compilers."""
    return "\n".join(f"{each.file}:{f'{each.line}:' if each.line else ''} "
                     + click.style(each.level, fg="red" if each.level == "error" else "yellow")
                     + f": {each.text}" for each in findings)


def _table(rows: list[Row]) -> str:
    """Return the rows in aligned columns, each status in its colour."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(_cell(text, width) for text, width in zip(row, widths)).rstrip()
                     for row in rows)


def _cell(text: str, width: int) -> str:
    colour = _COLOURS.get(text.partition(" ")[0].rstrip(":"))
    return (click.style(text, fg=colour) if colour else text) + " " * (width - len(text))


def _build_status(build: Build) -> str:
    """Return a build's status and why it has it, or what runs a build that was skipped."""
    if build.status == SKIPPED:
        return f"{SKIPPED}: lab restart {build.number}"
    return build.status + (f": {_first_line(build.error)}" if build.error else "")


def _status(status: str, exit_code: int) -> str:
    return f"{status} (exit code {exit_code})" if exit_code else status


def _took(build: Build, now: float) -> str:
    return _seconds(build.started, build.finished if build.status in FINAL else now)


def _seconds(started: float, finished: float) -> str:
    return f"{finished - started:.1f} s" if started and finished else ""


def _minute(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp):%Y-%m-%d %H:%M}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:60]
