from tests.runner.conftest import lab, make_lab  # noqa: F401  fixtures
