"""`lab notebook`: JupyterLab in an environment of its own, whose notebooks run in the lab's."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NoReturn

import click

from taglab.errors import LabError
from taglab.runner.environment import ensure_environment
from taglab.runner.settings import machine_variables, python_path, read_settings

_JUPYTERLAB = Path(__file__).with_name("jupyterlab")
_DATA = Path(".lab", "jupyter")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
@click.pass_obj
def notebook(lab: Path, arguments: tuple[str, ...]) -> NoReturn:
    """Open the lab's notebooks in JupyterLab.

    ARGUMENTS are passed on to JupyterLab: a notebook or a folder, and options such as --no-browser.
    JupyterLab does not become a package of the lab: it has an environment of its own, which all
    your labs share. Notebooks find `taglab`, `lib` and the results.

    VS Code needs no server: open a notebook there and choose .venv as its kernel.
    """
    server = ensure_environment(_JUPYTERLAB, click.echo)
    write_kernel(lab, ensure_environment(lab, click.echo))
    words = [os.path.abspath(word) if os.path.exists(word) else word for word in arguments]
    path = os.pathsep.join([str(lab / _DATA), *filter(None, [os.environ.get("JUPYTER_PATH")])])
    python = str(server / "bin" / "python")
    os.chdir(lab)
    os.execve(python, [python, "-m", "jupyterlab", f"--ServerApp.root_dir={lab}", *words],
              {**os.environ, "JUPYTER_PATH": path})


def write_kernel(lab: Path, environment: Path) -> None:
    """Write the kernel `python3`, with which notebooks run in the environment of the lab.

    Raises LabError if the environment lacks what a kernel needs.
    """
    if not any(environment.glob("lib/python*/site-packages/ipykernel")):
        raise LabError("requirements.txt lacks ipykernel, which runs notebooks. "
                       "Type: lab add ipykernel")
    variables = machine_variables(read_settings(lab), lab, lab / ".lab", environment)
    caches = {name: value for name, value in variables.items() if name.startswith("XDG")}
    kernel = {
        "argv": [str(environment / "bin" / "python"), "-m", "ipykernel_launcher", "-f",
                 "{connection_file}"],
        "display_name": lab.name, "language": "python", "metadata": {"debugger": True},
        "env": {**caches, "PYTHONPATH": python_path(lab), "LAB_ROOT": str(lab)}}
    folder = lab / _DATA / "kernels" / "python3"  # the name that stands in notebooks
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(json.dumps(kernel, indent=1), encoding="utf-8")
