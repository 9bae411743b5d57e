import pytest

from taglab.goals import read_goals, verdicts


@pytest.mark.parametrize("goal", read_goals(), ids=str)
def test_the_newest_run_meets_the_goal(goal):
    [verdict] = verdicts([goal])
    if verdict.met is None:
        pytest.skip(verdict.reason)
    assert verdict.met, verdict.reason
