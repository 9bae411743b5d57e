"""Fixtures for reports: those of the results of tags, and a function that makes facts."""
from __future__ import annotations

from taglab.report.facts import FigureFile, ReportFacts
from taglab.results import RunResult, TagResults
from tests.results.conftest import empty_store, git, lab_folder, own_store, result  # noqa: F401

PNG = b"\x89PNG\r\n\x1a\n"


def facts(*runs: RunResult, tag: str = "wine-v2", message: str = "Why?", **more: object
          ) -> ReportFacts:
    """Return the facts of a report on these runs; `more` are its other fields."""
    fields: dict[str, object] = {
        "lab": "my-lab", "results": TagResults(tag, "a" * 40, "7", message, runs), "goals": (),
        "difference": None, "no_difference": "No earlier tag.", "packages": {}, "figures": (),
        "remote": "", "written": 0.0, "platform": "Linux"}
    return ReportFacts(**{**fields, **more})  # type: ignore[arg-type]  # of a test


def figure(path: str, shown: bool = True) -> FigureFile:
    """Return a figure of the process `wine`."""
    return FigureFile("wine", path, 14_000, shown)
