import pytest

from taglab.search import SearchError
from taglab.search.plan import Plan
from taglab.search.processes import SearchProcess, this_process

SECOND_OF_THREE = {"JOB_COMPLETION_INDEX": "1", "JOB_COMPLETIONS": "3"}


def plan_of(method):
    return Plan(lambda a: a, {"a": [1, 2]}, method, "minimize", None, None, 1, 0, None, None)


@pytest.mark.parametrize("storage, shown", [
    ("sqlite:////lab/optuna.db", "sqlite://…"),
    ("sqlite://", "sqlite://…"),
    ("SQLite:///optuna.db", "SQLite://…"),
    ("mysql+pymysql://lab:secret@host/lab", r"mysql\+pymysql://…"),
    ("redis://:secret@host", "redis://…"),
    ("postgres://lab:secret@host/lab", "postgres://…"),  # SQLAlchemy does not know the name
    ("secret.journal", "…://…"),
])
@pytest.mark.parametrize("method", ["tpe", "grid"])
def test_a_storage_that_cannot_be_shared_is_refused_without_its_password(storage, shown, method):
    with pytest.raises(SearchError, match=f"LAB_SEARCH_STORAGE is {shown}, but .* postgresql") as (
            refused):
        this_process(plan_of(method), SECOND_OF_THREE | {"LAB_SEARCH_STORAGE": storage})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("storage", [
    "postgresql://lab:secret@host/lab", "postgresql+psycopg2://lab:secret@host/lab",
    "postgresql+psycopg://host:5432/lab?sslmode=require"])
def test_processes_share_a_search_in_postgresql(storage):
    found = this_process(plan_of("tpe"), SECOND_OF_THREE | {"LAB_SEARCH_STORAGE": storage})
    assert found == SearchProcess(1, 3, storage)


def test_a_single_process_needs_no_storage_and_points_that_are_known_need_none():
    assert this_process(plan_of("tpe"), {"LAB_SEARCH_STORAGE": "sqlite://"}) == SearchProcess()
    assert this_process(plan_of("grid"), SECOND_OF_THREE) == SearchProcess(1, 3)
    with pytest.raises(SearchError, match="set LAB_SEARCH_STORAGE to the address"):
        this_process(plan_of("tpe"), SECOND_OF_THREE)
