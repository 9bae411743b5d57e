"""Compares the runs of a tag with those that it made again, and leaves a receipt."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow import MlflowClient

from taglab.results.comparison import (
    DIFFERS, RUN, SKIPPED, Finding, RunComparison, compare_runs, run_pairs)
from taglab.results.files import Interpreter, compare_files
from taglab.results.not_compared import ASYNCHRONOUS_REASON
from taglab.results.receipt import Receipt, make_receipt, write_receipt
from taglab.results.tag_results import (
    RunResult, NoResults, TagResults, lab_tags, read_tag_results)
from taglab.tracking.connection import experiment_name, open_store, tracking_uri
from taglab.tracking.store import sqlite_file
from taglab.tracking.summary import FINISHED


def originals(lab: Path, named: Sequence[str] = ()) -> list[TagResults]:
    """Return the tags that can be run again: those named, else all whose runs have finished.

    Raises NoResults where one that is named cannot.
    """
    tags = [original(lab, tag) for tag in named]
    for found in tags:
        if any(run.tags.get("dirty") == "true" for run in found.runs):
            raise NoResults(f"{found.tag} cannot be verified: it ran with uncommitted changes")
    if tags:
        return tags
    for name in lab_tags(lab):
        try:
            found = original(lab, name)
        except NoResults:
            continue
        if all(run.status == FINISHED and run.tags.get("dirty") != "true" for run in found.runs):
            tags.append(found)
    return tags


def original(lab: Path, tag: str) -> TagResults:
    """Return the results of a tag in the lab's store. Raises NoResults."""
    return read_tag_results(open_store(), experiment_name(), tag, lab, tracking_uri())


def made_again(
    lab: Path, store: str, tag: str
) -> tuple[MlflowClient | None, tuple[RunResult, ...]]:
    """Return a client of the new build's store, None where it made none, and the runs in it."""
    database = sqlite_file(store)
    if database and not database.exists():
        return None, ()
    client = MlflowClient(store)
    for experiment in client.search_experiments():
        try:
            return client, read_tag_results(client, experiment.name, tag, lab).runs
        except NoResults:
            continue
    return client, ()


def comparisons(
    old: tuple[MlflowClient, TagResults], new: tuple[MlflowClient | None, tuple[RunResult, ...]],
    tolerance: float, interpreter: Interpreter | None,
) -> Iterator[RunComparison]:
    """Yield how each run of a tag, nested ones included, compares with the one made again."""
    for name, a, b, may_differ in run_pairs(old[1].runs, new[1]):
        if a and b and new[0]:
            found = compare_runs(a, b, tolerance, may_differ)
            found += [Finding(RUN, "artifacts", SKIPPED, reason=ASYNCHRONOUS_REASON)] \
                if may_differ else compare_files((old[0], a), (new[0], b), tolerance, interpreter)
        elif may_differ:
            found = [Finding(RUN, name, SKIPPED, reason=ASYNCHRONOUS_REASON)]
        else:
            found = [Finding(RUN, name, DIFFERS, reason="it was not made again" if a else
                             "it was not there before")]
        yield RunComparison(name, a.run_id if a else "", b.run_id if b else None, tuple(found))


def verify(
    lab: Path, tag: str, store: str, build: str, expected: str, tolerance: float,
    interpreter: Interpreter | None, path: Path,
) -> Receipt:
    """Compare a tag's runs with those in the store of its new build; write and tag what is found.

    build, expected: how the new build and the first one ended.
    path: of the receipt.

    Raises NoResults when the tag or its runs are gone.
    """
    found, client = original(lab, tag), open_store()
    assert client is not None  # it has the runs
    again = made_again(lab, store, tag)
    receipt = make_receipt(
        tag, found.commit, time.strftime("%Y-%m-%dT%H:%M:%S%z"), build, expected, tolerance,
        comparisons((client, found), again, tolerance, interpreter))
    write_receipt(receipt, path)
    for run in found.runs:
        client.set_tag(run.run_id, "verified", receipt.verdict[:1000])
        client.set_tag(run.run_id, "verified_at", receipt.when)
    return receipt
