"""MLflow's UI, opened by `lab ui`, in a real browser."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from .conftest import AUTHOR, BakedLab

CHROMIUM = shutil.which("chromium")
# Where to keep pictures of what the browser showed, for a person to look at.
PICTURES = os.environ.get("LAB_PICTURES")


@contextmanager
def ui(lab: BakedLab) -> Iterator[str]:
    """Run `lab ui` and give its address; Ctrl-C ends it."""
    process = subprocess.Popen(["bash", "-c", ". .venv/bin/activate && exec lab ui --port 5600"],
                               cwd=lab.path, env={**os.environ, **AUTHOR}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        started = time.monotonic()
        line = next(line for line in process.stdout if "http://" in line)
        assert time.monotonic() - started < 60
        yield re.search(r"http://\S+", line)[0]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)


def browse(address: str, picture: str) -> str:
    """Open a page in Chromium and return its text once scripts have run."""
    if CHROMIUM is None:
        pytest.skip("needs chromium (Debian: apt install chromium)")
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                   "--no-first-run", "--disable-background-networking",
                   "--disable-component-update", "--disable-sync", "--hide-scrollbars",
                   f"--user-data-dir={profile}", "--window-size=1500,900",
                   "--virtual-time-budget=20000"]
        if PICTURES:
            subprocess.run([CHROMIUM, *options, f"--screenshot={Path(PICTURES, picture)}", address],
                           capture_output=True, check=True, timeout=120)
        page = subprocess.run([CHROMIUM, *options, "--dump-dom", address], capture_output=True,
                              text=True, check=True, timeout=120).stdout
    return re.sub(r"<[^>]+>", " ", page)


def test_the_ui_shows_parent_and_nested_runs_and_their_artifacts(lab: BakedLab) -> None:
    runs = lab.runs(tag="run-examples-v1", process="sklearn_example")
    parent = next(run for run in runs if run["parent"] is None)
    with ui(lab) as page:
        address, experiment = page.partition("/#")[0], 1
        listed = browse(page, f"runs-{lab.path.name}.png")
        assert "sklearn_example" in listed and "svm_search" in listed
        assert "run-examples-v1" in listed and "test_accuracy" in listed
        shown = browse(f"{address}/#/experiments/{experiment}/runs/{parent['id']}",
                       f"run-{lab.path.name}.png")
        assert "test_accuracy" in shown
        artifacts = browse(f"{address}/#/experiments/{experiment}/runs/{parent['id']}/artifacts",
                           f"artifacts-{lab.path.name}.png")
        assert "leaderboard.csv" in artifacts and "output.log" in artifacts
        picture = urlopen(f"{address}/get-artifact?path=leaderboard.png&run_uuid={parent['id']}")
        assert picture.read(8) == b"\x89PNG\r\n\x1a\n"
