import inspect
import math
import random
import warnings
from importlib.util import find_spec

import optuna
import pytest
from optuna import samplers

from taglab.search import SearchError
from taglab.search.messages import FINISHED, Outcome
from taglab.search.plan import Plan
from taglab.search.processes import SearchProcess
from taglab.search.queue import TrialQueue

SPACE = {"x": (0.0, 1.0), "y": (1, 4), "kind": ["a", "b"]}
TWO = {"metric": ["a", "b"], "direction": ["minimize", "maximize"]}
USABLE = {
    "CmaEsSampler": lambda: samplers.CmaEsSampler(seed=1, warn_independent_sampling=False),
    "GPSampler": lambda: samplers.GPSampler(seed=1, n_startup_trials=6),
    "NSGAIISampler": lambda: samplers.NSGAIISampler(seed=1, population_size=4),
    "NSGAIIISampler": lambda: samplers.NSGAIIISampler(seed=1, population_size=4),
    "PartialFixedSampler": lambda: samplers.PartialFixedSampler(
        {"y": 3}, samplers.TPESampler(seed=1)),
    "QMCSampler": lambda: samplers.QMCSampler(seed=1, scramble=True),
    "RandomSampler": lambda: samplers.RandomSampler(seed=1),
    "TPESampler": lambda: samplers.TPESampler(seed=1, n_startup_trials=4),
}
UNUSABLE = {
    "GridSampler": lambda: samplers.GridSampler({"x": [0, 1], "y": [1, 2], "kind": ["a", "b"]}),
    "BruteForceSampler": lambda: samplers.BruteForceSampler(seed=1)}
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def parameter(name, *more):
    """Return the parameters of a test with a sampler; GPSampler's is skipped without PyTorch."""
    without = name == "GPSampler" and not find_spec("torch")
    return pytest.param(*more or [name], marks=pytest.mark.skipif(
        without, reason="GPSampler needs PyTorch, which is not installed"))


def train(x, y, kind, trial, layers=None):
    raise AssertionError("these tests work out the outcomes themselves")


def plan_of(sampler, *, space=SPACE, direction="minimize", metric=None, trials=10, **more):
    return Plan(train, space, "tpe", direction, metric, trials, 1, 3, sampler, None, **more)


def made(maker):
    with warnings.catch_warnings(action="ignore"):
        return maker()


def trials_of(plan, chance, at_once=4, stop_after=None, ended=()):
    """Return the points of a search whose trials end in an order that chance decides."""
    queue = TrialQueue(plan, SearchProcess(), "search")
    ended, running = dict(ended), []
    queue.fill(plan.trials, ended)
    while len(ended) < (stop_after or plan.trials):
        if len(running) < at_once and (record := queue.ask()):
            running.append(record)
            continue
        record = running.pop(chance.randrange(len(running)))
        record.end(Outcome(FINISHED, [
            (record.point["x"] - 0.3) ** 2, record.point["y"]][:len(plan.directions)]))
        queue.tell(record)
        ended[record.number] = record
    return ended


def points(ended):
    return [record.point for _, record in sorted(ended.items())]


def every_sampler():
    """Return the names of all samplers that Optuna has."""
    return sorted(name for name, each in vars(samplers).items()
                  if inspect.isclass(each) and issubclass(each, samplers.BaseSampler)
                  and not inspect.isabstract(each))


@pytest.mark.parametrize("name", [*map(parameter, every_sampler())])
def test_each_sampler_of_optuna_chooses_all_points_or_is_refused_at_once(name):
    if name in UNUSABLE:
        with pytest.raises(SearchError, match=rf'{name} tries every .* method="grid"\)'):
            plan_of(made(UNUSABLE[name]))
        return
    plan = plan_of(made(USABLE[name]))
    found = points(trials_of(plan, random.Random(0), at_once=1))
    assert len(found) == 10 and len({point["x"] for point in found}) >= 7
    assert all(0 <= point["x"] <= 1 and point["y"] in range(1, 5) for point in found)
    assert name != "PartialFixedSampler" or {point["y"] for point in found} == {3}
    assert points(trials_of(plan, random.Random(1))) == found, "whichever trial ends first"
    before = trials_of(plan, random.Random(2), stop_after=6)
    assert points(trials_of(plan, random.Random(3), ended=before)) == found, "when it resumes"


@pytest.mark.parametrize("name", sorted(USABLE.keys() - {"GPSampler"}))
def test_each_sampler_optimises_several_metrics_or_is_refused_at_once(name):
    if name == "CmaEsSampler":
        with pytest.raises(SearchError, match="CmaEsSampler cannot choose .* multi-objective"):
            plan_of(made(USABLE[name]), **TWO)
        return
    found = points(trials_of(plan_of(made(USABLE[name]), **TWO), random.Random(0)))
    assert len(found) == 10 and len({point["x"] for point in found}) >= 7


@pytest.mark.parametrize("name", sorted(USABLE.keys() - {"GPSampler"}))
def test_each_sampler_can_be_asynchronous_or_is_refused_at_once(name):
    if name == "QMCSampler":
        with pytest.raises(SearchError, match="QMCSampler .* begin its sequence again"):
            plan_of(made(USABLE[name]), asynchronous=True)
        return
    plan = plan_of(made(USABLE[name]), asynchronous=True)
    before = trials_of(plan, random.Random(0), stop_after=5)
    found = points(trials_of(plan, random.Random(1), ended=before))
    assert len(found) == 10 and len({point["x"] for point in found}) >= 7


def fixed(values, sampler=None):
    return samplers.PartialFixedSampler(values, sampler or samplers.TPESampler(seed=1))


@pytest.mark.parametrize("maker, message", [
    (lambda: "tpe", "sampler is 'tpe'; it must be an object"),
    (lambda: samplers.TPESampler, "TPESampler'>; it must be an object"),
    (lambda: fixed({"z": 1}), r"fixes 'z', not in the space; fix it in the space: {'z': \[1\]}"),
    (lambda: fixed({"y": 30}), "TPESampler cannot choose the points of this search: .* 30"),
    (lambda: fixed({"kind": "c"}), "cannot choose the points of this search: 'c' not in"),
    (lambda: fixed({"layers": 1}), r"fixes 'layers', whose values .* {'layers': \[1\]}"),
    (lambda: fixed({"y": 3}, samplers.GridSampler({"x": [0]})), "GridSampler tries every point"),
    (lambda: fixed({"y": 3}, samplers.RandomSampler()), r"set RandomSampler\(seed=0\)"),
    (lambda: samplers.CmaEsSampler(
        independent_sampler=samplers.RandomSampler(seed=1), warn_independent_sampling=False),
     r"set CmaEsSampler\(seed=0\)"),
    *[parameter(name, lambda name=name: getattr(samplers, name)(),
                rf"no seed, .* set {name}\(seed=0\)")
      for name in sorted(USABLE.keys() - {"PartialFixedSampler"})],
])
def test_a_sampler_that_would_choose_wrong_points_is_refused(maker, message):
    with pytest.raises(SearchError, match=message):
        plan_of(made(maker), space=SPACE | {"layers": [1, (1, 2), (3,)]})


def test_a_sampler_of_ones_own_that_fails_is_refused_with_its_error():
    class Broken(samplers.RandomSampler):
        def sample_independent(self, *arguments):
            return math.inf

    with pytest.raises(SearchError, match="Broken cannot choose the points of this search: .*inf"):
        plan_of(Broken(seed=1))
    assert isinstance(plan_of(samplers.RandomSampler(1)).sampler, optuna.samplers.RandomSampler)
