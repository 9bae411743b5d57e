import functools
import threading

import numpy as np
import pandas as pd
import pytest

from taglab.testing import run_python
from taglab.tracking.content import content_digest

SCALE, OTHER = 2, 5


class Model:
    def __init__(self, depth):
        self.depth, self.lock = depth, threading.Lock()

    def __call__(self, x):
        return x * self.depth


def helper(x):
    return x * SCALE


def train(x, rate=0.5):
    return sum(helper(each) for each in [x * rate])


LONG = np.zeros(10_000)
CHANGED = LONG.copy()
CHANGED[5_000] = 1


@pytest.mark.parametrize("one, other", [
    (lambda x: x + 1, lambda x: x + 2),
    (lambda x: abs(x), lambda x: len(x)),
    (LONG, CHANGED), ([LONG], [CHANGED]), (LONG, LONG.astype(int)),
    (pd.DataFrame({"a": LONG}), pd.DataFrame({"a": CHANGED})),
    (functools.partial(train, rate=1), functools.partial(train, rate=2)),
    (Model(1), Model(2)), (Model(1).__call__, Model(2).__call__),
    (lambda x, a=1: a, lambda x, a=2: a), (1, 1.0), (1, True), ("1", 1), ((1,), [1]),
    (helper, train), (np.float32, np.float64), (np.random.default_rng(0), np.random.default_rng(1)),
])
def test_what_holds_other_things_has_another_digest(one, other):
    assert content_digest(one) != content_digest(other)


def test_a_function_changes_with_its_defaults_and_with_globals_that_it_uses(monkeypatch):
    before = content_digest(train)
    monkeypatch.setattr(f"{__name__}.OTHER", 6)
    assert content_digest(train) == before
    monkeypatch.setattr(f"{__name__}.SCALE", 3)  # of the helper
    changed = content_digest(train)
    monkeypatch.setattr(train, "__defaults__", (0.25,))
    assert len({before, changed, content_digest(train)}) == 3


PROGRAM = """
import threading
import numpy as np, optuna, pandas as pd
from taglab.tracking.content import content_digest
class Base:
    limit = {"a", "b", "c"}
class Held(Base):
    def __init__(self): self.own, self.lock, self.array = self, threading.Lock(), np.arange(5.0)
    def __call__(self, x): return {each for each in ("a", "b", x)}
    @property
    def size(self): return len(self.array)
held, table = Held(), pd.DataFrame({"k": ["a", "b"], "v": [1.0, 2.0]})
def train(x, seen=frozenset("abc")): return held(x), table, optuna.trial, (lambda: train)
print(content_digest(train, held, {"x": [1, "a"], "y": optuna.distributions.IntDistribution(1, 5)},
                     optuna.samplers.TPESampler(seed=0), optuna.pruners.HyperbandPruner()))
"""


def test_the_digest_is_the_same_in_any_process(own_store):
    digests = [run_python("-c", PROGRAM, folder=own_store, PYTHONHASHSEED=seed) for seed in "12"]
    assert digests[0].returncode == 0, digests[0].stderr
    assert digests[0].stdout == digests[1].stdout and len(digests[0].stdout) == 17


def test_order_and_places_do_not_count():
    assert content_digest({"a": 1, "b": [2]}) == content_digest({"b": [2], "a": 1})
    functions = [eval(compile(f"{lines}lambda x: x", "f", "eval")) for lines in ("", "\n\n")]
    assert content_digest(functions[0]) == content_digest(functions[1])
    assert content_digest(Model(1)) == content_digest(Model(1))
