import functools

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from taglab.search import SearchError
from taglab.search.evolution import evolve
from taglab.search.plan import Plan


def train(a, b=0, **more):
    return a


def with_trial(a, b=0, trial=None):
    return a


def plan_of(space, method, function=train, *, direction="maximize", metric=None, trials=None,
            workers=1, seed=0, sampler=None, pruner=None, **more):
    return Plan(function, space, method, direction, metric, trials, workers, seed, sampler,
                pruner, **more)


def points(*arguments, **more):
    plan = plan_of(*arguments, **more)
    return [plan.params(point) for point in plan.points]


def test_a_grid_has_every_point_once_and_the_last_key_varies_fastest():
    assert points({"b": [3, 1], "a": ["x", None, 2.5]}, "grid") == [
        {"b": 3, "a": "x"}, {"b": 3, "a": None}, {"b": 3, "a": 2.5},
        {"b": 1, "a": "x"}, {"b": 1, "a": None}, {"b": 1, "a": 2.5}]
    assert points({"a": (1, 3)}, "grid") == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert len(points({"a": [1, 1], "b": [1, True, 1.0]}, "grid")) == 6


def test_choices_that_optuna_cannot_store_come_back_unchanged():
    halve, layers = functools.partial(pow, 0.5), [(8, 8), (16,), None]
    found = points({"a": layers, "b": [halve, len]}, "grid")
    assert [each["a"] for each in found[::2]] == layers
    assert found[0]["b"] is halve and found[1]["b"] is len
    assert [type(each["a"]) for each in points({"a": [1, True, 1.0]}, "grid")] == [int, bool, float]


def test_a_list_of_points_is_tried_in_its_order():
    given = [{"a": 1, "b": (2, 3)}, {"a": 1}, {"a": 5, "b": None}]
    assert points(given, "list") == given


def test_an_ablation_has_a_base_and_a_point_for_each_part():
    assert points({"a": ["conv1", ["conv1", "conv2"]], "b": ["age"]}, "ablation") == [
        {"a": None, "b": None}, {"a": "conv1", "b": None}, {"a": ["conv1", "conv2"], "b": None},
        {"a": None, "b": "age"}]


def test_a_range_includes_both_ends_and_is_of_integers_where_both_are():
    drawn = [each["a"] for each in points({"a": (-1, 3)}, "random", trials=50)]
    assert sorted(drawn) == [-1, 0, 1, 2, 3], "every point once, though 50 were asked for"
    assert plan_of({"a": (-1, 3)}, "tpe").distributions["a"] == IntDistribution(-1, 3)
    assert plan_of({"a": (-0.5, 1)}, "tpe").distributions["a"] == FloatDistribution(-0.5, 1)


def test_random_points_depend_on_the_seed_alone():
    space = {"a": FloatDistribution(1e-4, 1, log=True), "b": ["x", "y"]}
    first, again, other = (points(space, "random", seed=seed) for seed in (1, 1, 2))
    assert first == again != other and len(first) == 30
    assert points(space, "asha", with_trial, seed=1) == first


@pytest.mark.parametrize("space, size", [
    ({"a": [*range(10)], "b": (1, 20), "c": FloatDistribution(0, 1, step=0.25)}, 1000),
    ({"a": IntDistribution(1, 20, log=True), "b": ["x", "y"]}, 40)])
def test_random_points_of_a_small_space_are_all_its_points(space, size):
    every = points(space, "random", trials=size)
    assert len({tuple(point.values()) for point in every}) == len(every) == size
    for trials in (20, size + 1):  # a longer search begins with the same points
        assert points(space, "random", trials=trials) == every[:trials]


@pytest.mark.parametrize("trials", [12, 30])
def test_evolution_asks_for_whole_generations_within_the_bounds(trials):
    plan = plan_of({"a": (-5.0, 5.0), "b": (-3, 9), "c": FloatDistribution(1e-3, 10, log=True),
                    "d": ["x", "y"], "e": FloatDistribution(0, 1, step=0.25)},
                   "evolution", trials=trials)
    asked = []

    def losses(generation):
        asked.append(generation)
        return [abs(point["a"] - 1) + abs(point["b"]) for point in generation]

    evolve(plan.distributions, plan.trials, plan.seed, losses)
    assert [len(generation) for generation in asked] == [6] * (trials // 6)
    for point in [point for generation in asked for point in generation]:
        assert -5 <= point["a"] <= 5 and 1e-3 <= point["c"] <= 10 and point["d"] in ("x", "y")
        assert type(point["b"]) is int and -3 <= point["b"] <= 9 and point["e"] * 4 % 1 == 0
    first, again = asked, []
    asked = again
    evolve(plan.distributions, plan.trials, plan.seed, losses)
    assert first == again


def test_evolution_finds_a_minimum():
    plan = plan_of({"a": (-5.0, 5.0), "b": (-5.0, 5.0)}, "evolution", trials=600)
    losses = []

    def sphere(generation):
        losses.extend(point["a"] ** 2 + point["b"] ** 2 for point in generation)
        return losses[-len(generation):]

    evolve(plan.distributions, plan.trials, plan.seed, sphere)
    assert min(losses) < 1e-6 < min(losses[:6])


def needs_more(a, c):
    return a


@pytest.mark.parametrize("arguments, message", [
    (({"a": 1}, "grid"), "a is 1; use a list for a choice"),
    (({"a": []}, "grid"), r"a is \[\]"),
    (({"a": (1, 2, 3)}, "random"), r"a is \(1, 2, 3\)"),
    (({"a": (True, False)}, "random"), "a is .True, False."),
    (({"a": "xyz"}, "grid"), "a is 'xyz'"),
    (({"a": (0.0, 1.0)}, "grid"), "a is a range, and a grid needs a list"),
    (({}, "grid"), "must be a dict of parameters, not empty"),
    (([{"a": 1}], "grid"), "must be a dict of parameters"),
    (({"a": [1]}, "list"), "must be a list of dicts"),
    (([1], "list"), "1 is not a point"),
    (([{"a": 1}, {"b": 1}], "list"), r"train\(a, b.* missing a required argument: 'a'"),
    (({"a": [1]}, "gird"), "unknown method 'gird'; known are grid, list"),
    (({"a": [1], "trial": [1]}, "grid"), "'trial', a name that the search uses"),
    (({"a": [1], "d": [1]}, "grid", needs_more), r"needs_more\(a, c\) cannot be .* with a, d:"),
    (({"a": [1], "c": [1], "d": [1]}, "grid", needs_more), "with a, c, d: .* unexpected .* 'd'"),
    (({"a": [1]}, "grid", needs_more), r"needs_more\(a, c\) .* missing a required argument: 'c'"),
    (({"a": [1]}, "asha"), "give train a parameter `trial`"),
])
def test_a_wrong_space_or_method_is_refused_with_a_reason(arguments, message):
    with pytest.raises(SearchError, match=message):
        plan_of(*arguments)


@pytest.mark.parametrize("method, more, message", [
    ("grid", {"trials": 1}, "grid has 2 points"),
    ("random", {"trials": 0}, "trials is 0"),
    ("random", {"workers": 1.5}, "workers is 1.5"),
    ("evolution", {"trials": 20}, "a multiple of its population 6"),
    ("evolution", {"trials": 6}, "at least 12"),
    ("random", {"direction": "up"}, "direction is 'up'"),
    ("random", {"direction": None}, r'search\(…, direction="minimize"\) or search\(…, direction='),
    ("grid", {"direction": None, "metric": "cv_rmse"},
     r'search\(…, metric=\'cv_rmse\', direction="minimize"\) or .*"maximize"\)'),
    ("tpe", {"workers": 5}, "workers is 5, but only 4 .* max_concurrent=5.* asynchronous=True"),
    ("median", {"workers": 5, "function": with_trial}, "workers is 5, but only 4 trials"),
    ("tpe", {"max_concurrent": 0}, "max_concurrent is 0"),
    ("tpe", {"sampler": optuna.samplers.TPESampler()}, r"no seed, .* set TPESampler\(seed=0\)"),
    ("random", {"metric": ["a", "b"]}, "one for each metric"),
    ("cmaes", {"metric": ["a", "b"], "direction": ["minimize", "maximize"]}, "one metric"),
    ("random", {"sampler": optuna.samplers.RandomSampler()}, "leave out method"),
    ("tpe", {"pruner": optuna.pruners.MedianPruner()}, "parameter `trial`"),
])
def test_wrong_options_are_refused_with_a_reason(method, more, message):
    with pytest.raises(SearchError, match=message):
        plan_of({"a": [1, 2]}, method, **more)
