"""What a person reads of builds: tables of steps and builds."""
from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from local.builds import Build
from local.outcome import FINAL


def step_table(build: Build) -> str:
    """Return a table of a build's pipelines and steps: how each ended and how long it took."""
    rows = []
    for pipeline in build.pipelines:
        rows.append((pipeline.name, pipeline.status, _seconds(pipeline.started, pipeline.finished)))
        rows += [(f"  {step.name}", _status(step.status, step.exit_code),
                  _seconds(step.started, step.finished)) for step in pipeline.steps]
    rows.append((f"build {build.number}", build.status, _seconds(build.started, build.finished)))
    return table(rows)


def build_table(builds: Iterable[Build], now: float) -> str:
    """Return a table of builds, newest first."""
    rows = [("build", "status", "tag or branch", "commit", "pushed", "took")]
    for build in builds:
        error = f": {_first_line(build.error)}" if build.error else ""
        ended = build.finished if build.status in FINAL else now
        rows.append((str(build.number), build.status + error, build.name, build.commit.sha[:7],
                     f"{datetime.fromtimestamp(build.created):%Y-%m-%d %H:%M}",
                     _seconds(build.started, ended)))
    return table(rows)


def table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _status(status: str, exit_code: int) -> str:
    return f"{status} (exit code {exit_code})" if exit_code else status


def _seconds(started: float, finished: float) -> str:
    return f"{finished - started:.1f} s" if started and finished else ""


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:60]
