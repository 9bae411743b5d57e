"""Which numbers count as the same when a tag is run again, and what is not compared."""
from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taglab.results.comparison import (
    ARTIFACT, DIFFERS, METRIC, PARAMETER, SAME, SKIPPED, WITHIN, Finding, RunComparison,
    compare_numbers, compare_paths, compare_runs, compare_texts, relative_difference, run_pairs,
    worst)
from taglab.results.not_compared import artifact_reason, metric_reason
from taglab.results.predictions import largest_difference
from taglab.results.receipt import make_receipt, summary
from tests.results.conftest import result

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(("old", "new", "outcome"), [
    (0.1, 0.1, SAME), (0.1, 0.1 + 1e-9, WITHIN), (0.1, 0.1001, DIFFERS), (NAN, NAN, SAME),
    (NAN, 0.1, DIFFERS), (INF, INF, SAME), (INF, -INF, DIFFERS), (0.0, 1e-12, DIFFERS),
    (None, 0.1, DIFFERS), (0.1, None, DIFFERS), (0.0, -0.0, SAME)])
def test_a_metric_is_the_same_to_the_last_digit_or_within_the_tolerance_or_differs(
        old: float | None, new: float | None, outcome: str) -> None:
    assert compare_numbers("m", old, new, 1e-6).outcome == outcome


@given(st.floats(), st.floats())
def test_the_relative_difference_is_symmetric_and_0_for_the_same_alone(a: float, b: float) -> None:
    by = relative_difference(a, b)
    assert by == relative_difference(b, a) >= 0 == relative_difference(a, a)
    assert (by == 0) == (a == b or math.isnan(a) and math.isnan(b))


def test_status_and_parameters_must_be_equal() -> None:
    old = result(params={"a": "1", "b": "2"}, metrics={"m": 0.5})
    new = result(params={"a": "1.0", "c": "3"}, metrics={"m": 0.5}, status="FAILED")
    found = {each.name: each.outcome for each in compare_runs(old, new, 1e-6)}
    assert found == {"status": DIFFERS, "a": DIFFERS, "b": DIFFERS, "c": DIFFERS, "m": SAME}
    assert worst(compare_runs(old, old, 1e-6)) == SAME


@pytest.mark.parametrize("name", [
    "seconds", "fit_time", "epoch/duration", "trainTime", "latency_ms", "samples_per_second",
    "images_per_sec", "system/cpu_utilization_percentage", "Elapsed"])
def test_times_speeds_and_loads_are_not_compared(name: str) -> None:
    [_, found] = compare_runs(result(metrics={name: 1.0}), result(metrics={name: 2.0}), 1e-6)
    assert (found.outcome, found.reason) == (SKIPPED, metric_reason(name)) and found.reason


@pytest.mark.parametrize("name", [
    "loss", "time_series_error", "lifetime", "rms", "times_two", "seconds_error", "val_loss", ""])
def test_other_metrics_are_compared(name: str) -> None:
    assert metric_reason(name) == ""


def test_artifacts_are_compared_by_their_paths_and_bytes_but_for_those_that_hold_times() -> None:
    found = compare_paths(
        {"a.csv": "1", "b.csv": "1", "old.csv": "1", "output.log": "1",
         "events.out.tfevents.1": "1"},
        {"a.csv": "1", "b.csv": "2", "new.csv": "1", "output.log": "2",
         "events.out.tfevents.2": "1"})
    assert {each.name: each.outcome for each in found} == {
        "a.csv": SAME, "b.csv": DIFFERS, "old.csv": DIFFERS, "new.csv": DIFFERS,
        "output.log": SKIPPED, "events.out.tfevents.1": SKIPPED, "events.out.tfevents.2": SKIPPED}
    assert artifact_reason("logs/output.log") == "", "only that of the run itself"


def test_texts_may_differ_in_the_last_digits_of_their_numbers() -> None:
    old = b"epoch,loss\n1,0.5\n2,-1e-3\n"
    assert compare_texts(old, old, 1e-6) == 0
    by = compare_texts(old, old.replace(b"0.5", b"0.50000001"), 1e-6)
    assert by is not None and 0 < by < 1e-6
    for other in (b"0.51", b"x", b"0.5,", b""):
        assert compare_texts(old, old.replace(b"0.5", other), 1e-6) is None
    assert compare_texts(b"\0001", b"\0001", 1e-6) is None, "it is no text"


@given(st.binary(), st.binary())
def test_any_two_files_can_be_compared(old: bytes, new: bytes) -> None:
    by = compare_texts(old, new, 1e-6)
    assert by is None or (by <= 1e-6 and b"\0" not in old)


def test_trials_are_paired_by_their_number_and_other_nested_runs_by_their_name() -> None:
    def trial(number: int, status: str = "FINISHED", name: str = "x"):
        return result(name=name, status=status, tags={"trial": str(number)})

    old = result(nested=(trial(1, "KILLED"), trial(0), trial(1), result(name="svm")))
    new = result(nested=(result(name="svm"), trial(1, name="y"), trial(0), result(name="knn")))
    pairs = [(name, bool(a), bool(b)) for name, a, b, _ in run_pairs([old], [new])]
    assert pairs == [
        ("wine", True, True), ("wine: trial 0", True, True), ("wine: trial 1", True, True),
        ("wine: svm", True, True), ("wine: trial 1", True, False), ("wine: knn", False, True)]
    [_, trial_1] = [a.status for name, a, b, _ in run_pairs([old], [new]) if name[-1:] == "1"]
    assert trial_1 == "KILLED", "the finished one is paired"


def test_of_an_asynchronous_search_and_its_trials_only_the_status_is_compared() -> None:
    tags = {"asynchronous": "true"}
    old, new = (result(tags=tags, metrics={"m": value}, params={"best": str(value)},
                       nested=(result(tags={"trial": "0"}, metrics={"m": value}),))
                for value in (0.5, 0.75))
    for _, a, b, may_differ in run_pairs([old], [new]):
        assert a and b and may_differ
        found = compare_runs(a, b, 1e-6, may_differ)
        assert {each.outcome for each in found[1:]} == {SKIPPED} and found[0].outcome == SAME


def test_a_receipt_says_what_was_compared_what_differs_with_both_values_and_what_was_not() -> None:
    findings = (Finding(METRIC, "a", SAME, 0.5, 0.5, 0.0), Finding(PARAMETER, "b", SAME, "1", "1"),
                Finding(METRIC, "score", DIFFERS, 0.5, 0.25, 0.5),
                Finding(METRIC, "near", WITHIN, 0.5, 0.5 + 1e-9, 2e-9),
                Finding(ARTIFACT, "output.log", SKIPPED, reason="it holds times"))
    made = make_receipt("wine-v1", "a" * 40, "now", "success", "success", 1e-6,
                        [RunComparison("wine", "1", "2", findings)] * 2)
    assert made.outcome == DIFFERS and made.runs[0].same == {METRIC: 1, PARAMETER: 1}
    assert made.verdict == (
        "differs: wine, metric score: 0.5 then, 0.25 now (by 0.5 of it) and 1 more")
    assert summary(made).splitlines() == [
        "wine-v1 at aaaaaaa: differs", "  2 runs compared; the same: 2 parameters, 2 metrics",
        "  within 1e-06: 2, the largest relative difference is 2e-09",
        *["  differs: wine, metric score: 0.5 then, 0.25 now (by 0.5 of it)"] * 2,
        "  not compared: artifact output.log (2 times): it holds times"]
    near = make_receipt("t", "a", "now", "success", "success", 1e-6,
                        [RunComparison("wine", "1", "2", findings[:1] + findings[3:])])
    assert near.verdict == "same, numbers within 1e-06"
    same = make_receipt("t", "a", "now", "failure", "failure", 1e-6,
                        [RunComparison("wine", "1", "2", findings[:2])])
    assert same.verdict == "same", "the first build had failed, too"
    failed = make_receipt("t", "a", "now", "failure", "success", 1e-6, [])
    assert failed.verdict == "differs: the build ended failure, and the first one success"


def test_predictions_are_compared_by_their_largest_relative_difference() -> None:
    assert largest_difference([1.0, NAN], [1.0, NAN]) == 0
    assert largest_difference([[1.0, 2.0]], [[1.0, 4.0]]) == 0.5
    assert largest_difference([1.0], [NAN]) == largest_difference([1.0], [1.0, 2.0]) == INF
    assert largest_difference(["a"], ["a"]) == 0 and largest_difference(["a"], ["b"]) == INF
    assert largest_difference({"a": [1.0]}, {"a": [2.0]}) == 0.5
    assert largest_difference({"a": [1.0]}, {"b": [1.0]}) == INF
