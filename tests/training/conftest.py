from tests.tracking.conftest import empty_store, lab_folder, own_store  # noqa: F401  fixtures
