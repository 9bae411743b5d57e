"""`lab notebook`: the real JupyterLab, and a cell that runs in the lab's own environment."""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from jupyter_client import BlockingKernelClient

from tests.lab_packages import lab_requirements
from tests.runner.conftest import GIT_VARIABLES, Lab, wait_for

CELL = """\
import os, sys, mlflow, taglab, lib
from taglab.tracking import connect
print(lib.HERE, connect(), "jupyterlab" in sys.modules, os.path.dirname(taglab.__file__))
"""


def answer(port: int, path: str, data: bytes | None = None) -> dict:
    """Return what Jupyter's server answers to a request."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{path}?token=t", data)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def is_up(port: int) -> bool:
    """Return whether Jupyter's server answers."""
    try:
        return "version" in answer(port, "")
    except OSError:
        return False


def test_a_cell_runs_with_the_lab_s_packages_and_finds_its_store(
        lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW", "LAB_", "PYTHONPATH"))]:
        monkeypatch.delenv(name)
    lab.write("requirements.txt", lab_requirements("pytorch"))  # those of the tests, made before
    lab.write("pyproject.toml", "[project]\nname = 'my-lab'\n")
    lab.write("lab/lib/__init__.py", "HERE = 'lib of the lab'\n")
    lab.write("lab/analysis/x.ipynb", "{}")
    before = (lab.path / "requirements.txt").read_text()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    runtime = tmp_path / "runtime"
    with (tmp_path / "log").open("w") as log, subprocess.Popen(
            [sys.executable, "../../vendor/taglab", "notebook", "x.ipynb", "--no-browser",
             "--allow-root", "--port", str(port), "--IdentityProvider.token=t"],
            cwd=lab.path / "lab" / "analysis", stdout=log, stderr=log,
            env={**os.environ, **GIT_VARIABLES, "JUPYTER_RUNTIME_DIR": str(runtime)}) as server:
        try:
            wait_for(lambda: is_up(port) or server.poll() is not None, 300)
            assert server.poll() is None, (tmp_path / "log").read_text()
            shown = {each["name"] for each in answer(port, "contents")["content"]}
            assert {"lab", "pyproject.toml"} <= shown, "it does not show the whole lab"
            kernel = answer(port, "kernels", b'{"name": "python3"}')["id"]
            client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel}.json"))
            client.load_connection_file()
            client.start_channels()
            client.wait_for_ready(timeout=60)
            printed: list[str] = []
            reply = client.execute_interactive(CELL, timeout=120, output_hook=lambda message: (
                printed.append(message["content"].get("text") or str(message["content"]))))
            client.stop_channels()
            assert reply["content"]["status"] == "ok", printed
        finally:
            server.send_signal(signal.SIGTERM)
    [line] = [text for text in printed if text.startswith("lib of the lab")]
    assert line == (f"lib of the lab sqlite:///{lab.path}/mlflow.db False "
                    f"{lab.path}/vendor/taglab\n")
    assert (lab.path / "mlflow.db").exists()
    assert (lab.path / "requirements.txt").read_text() == before
    assert "?? .lab" not in lab.git("status", "--porcelain")


def test_a_lab_without_ipykernel_is_told_what_to_type(lab: Lab, tmp_path: Path) -> None:
    from taglab.cli.notebook import write_kernel
    from taglab.errors import LabError
    with pytest.raises(LabError, match="Type: lab add ipykernel"):
        write_kernel(lab.path, tmp_path)
    assert not (lab.path / ".lab" / "jupyter").exists()
