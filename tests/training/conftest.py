from collections.abc import Iterator

import pytest
import torch

from tests.tracking.conftest import empty_store, lab_folder, own_store  # noqa: F401  fixtures


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small train fastest in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
