import math
import re

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from taglab.search import SearchError
from taglab.search.plan import Plan
from taglab.search.space import read_values

NUMBERS = st.integers(-9, 9) | st.floats(-9, 9) | st.sampled_from([math.nan, math.inf, -math.inf])


def train(a, b=0, trial=None):
    return a


def plan_of(space, method, trials=12):
    return Plan(train, space, method, "minimize", None, trials, 1, 0, None, None)


@pytest.mark.parametrize("values, message", [
    ((5, 1), "a is (5, 1); write the lower end of a range first: (1, 5)"),
    ((1.5, -1), "a is (1.5, -1); write the lower end of a range first: (-1, 1.5)"),
    ((math.nan, 1.0), "a is (nan, 1.0); both ends of a range must be finite"),
    ((0, math.nan), "a is (0, nan); both ends"),
    ((0, math.inf), "a is (0, inf); both ends"),
    ((-math.inf, 0.0), "a is (-inf, 0.0); both ends"),
    (FloatDistribution(0, math.inf), "ends and the step of a range must be finite"),
    (FloatDistribution(math.nan, 1), "ends and the step of a range must be finite"),
    ((False, True), "a is (False, True); use a list for a choice"),
    ((0, True), "a is (0, True); use a list for a choice"),
    ((), "a is (); use a list for a choice"),
    ((1,), "a is (1,); use a list for a choice"),
    ([], "a is []; use a list for a choice"),
    ("ab", "a is 'ab'; use a list for a choice"),
    (None, "a is None; use a list for a choice"),
])
@pytest.mark.parametrize("method", ["grid", "ablation", "random", "tpe", "cmaes", "evolution"])
def test_a_range_or_a_list_that_means_nothing_is_refused_by_every_method(values, message, method):
    with pytest.raises(SearchError, match=re.escape(message)):
        plan_of({"a": values}, method, trials=None)


@given(NUMBERS, NUMBERS)
def test_a_pair_is_a_range_as_it_is_written_or_is_refused(low, high):
    try:
        found = read_values("a", (low, high))
    except SearchError:
        assert not (math.isfinite(low) and math.isfinite(high) and low <= high)
        return
    whole = isinstance(low, int) and isinstance(high, int)
    assert found == (IntDistribution if whole else FloatDistribution)(low, high)


@pytest.mark.parametrize("values, value", [
    ((3, 3), 3), ((0.5, 0.5), 0.5), (["x"], "x"), ([None], None),
    (FloatDistribution(2, 2, log=True), 2.0)])
@pytest.mark.parametrize("method", ["random", "tpe", "cmaes"])
def test_a_single_value_is_a_range_or_a_choice_like_any_other(values, value, method):
    plan = plan_of({"a": values, "b": (0.0, 1.0)}, method)
    study = optuna.create_study(sampler=plan.sampler)
    points = plan.points or [study.ask(plan.sampled).params for _ in range(3)]
    assert {point["a"] for point in points} == {value} and len({p["b"] for p in points}) > 1
    assert plan_of({"a": values}, "random").points == [{"a": value}]


def test_ends_of_numpy_become_numbers_that_any_storage_takes():
    found = read_values("a", (np.int64(1), np.int64(4)))
    assert type(found.low) is type(found.high) is int
    assert read_values("a", (np.float32(1), 2)) == FloatDistribution(1.0, 2.0)


def test_an_ablation_of_a_range_is_refused():
    with pytest.raises(SearchError, match="a is a range, and an ablation needs the list"):
        plan_of({"a": (1, 3)}, "ablation", trials=None)
