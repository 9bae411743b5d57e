"""Looking for the processes of many steps at once."""
from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from taglab.runner.children import MARK, Children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def test_threads_that_look_at_the_same_time_share_a_look() -> None:
    children, together = Children(), threading.Barrier(100)

    def look(_: int) -> None:
        together.wait()
        children.look()

    with ThreadPoolExecutor(100) as pool:
        list(pool.map(look, range(100)))
    assert children.looks < 50


def test_a_look_sees_what_was_started_before_it_and_nothing_that_was_reaped() -> None:
    children = Children()

    def run(number: int) -> bool:
        with subprocess.Popen(["sh", "-c", "echo started; read line"], env={MARK: str(number)},
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              start_new_session=True) as process:
            assert process.stdout and process.stdout.readline()
            seen = children.look().get(process.pid) == (process.pid, str(number).encode())
        return seen and process.pid not in children.look()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(80)))
