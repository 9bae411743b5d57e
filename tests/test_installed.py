"""A taglab that somebody has installed never wins over the one that a lab's commit carries."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taglab import __version__
from taglab.cli.init import make_venv
from tests.runner.conftest import TEMPLATE, Lab, make_lab  # noqa: F401  a fixture

FILE = "import taglab; print(taglab.__file__)"


def python(program: Path, *arguments: str, cwd: Path, **variables: str) -> str:
    """Run a Python and return what it printed."""
    clean = {name: value for name, value in os.environ.items()
             if not name.startswith(("PYTHON", "LAB_", "VIRTUAL_ENV"))}
    done = subprocess.run([program, *arguments], cwd=cwd, text=True, env={**clean, **variables},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment into which the package was installed as a wheel."""
    folder = tmp_path_factory.mktemp("installed")
    run = {"cwd": TEMPLATE, "check": True, "capture_output": True}
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], **run)
    subprocess.run([sys.executable, "-m", "uv", "venv", folder / "env"], **run)
    subprocess.run([sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps",
                    "--python", folder / "env", *folder.glob("*.whl")], **run)
    return folder / "env" / "bin" / "python"


@pytest.fixture
def lab(make_lab) -> Lab:  # noqa: F811
    """Return a lab whose library is of another release, which says so."""
    lab = make_lab()
    (lab.path / "vendor" / "taglab").unlink()
    lab.write("vendor/taglab/__init__.py", "__version__ = '7.7'\n")
    lab.write("vendor/taglab/__main__.py", "import sys\nprint('7.7 runs', sys.argv[1:])\n")
    return lab


def test_the_wheel_holds_the_package_and_its_data(installed: Path) -> None:
    [package] = (installed.parents[1] / "lib").glob("python*/site-packages/taglab")
    sources = {file.relative_to(TEMPLATE / "src" / "taglab")
               for file in (TEMPLATE / "src" / "taglab").rglob("*")
               if file.is_file() and "__pycache__" not in file.parts}
    assert all((package / name).exists() for name in sources)
    assert {"py.typed", "LICENSE"} <= {file.name for file in package.iterdir()}
    assert (package / "LICENSE").read_text() == (TEMPLATE / "LICENSE").read_text()


def test_the_commit_s_library_comes_first_on_the_path_of_a_step(
        installed: Path, lab: Lab, tmp_path: Path) -> None:
    assert "site-packages" in python(installed, "-c", FILE, cwd=tmp_path)
    path = f"{lab.path}/lab:{lab.path}/vendor"
    assert python(installed, "-c", FILE, cwd=tmp_path, PYTHONPATH=path) == (
        f"{lab.path}/vendor/taglab/__init__.py")


def test_the_lab_s_venv_finds_the_lab_s_library_first(
        installed: Path, lab: Lab, tmp_path: Path) -> None:
    make_venv(lab.path, installed.parents[1])
    venv = lab.path / ".venv" / "bin" / "python"
    [packages] = (lab.path / ".venv" / "lib").glob("python*/site-packages")
    (packages / "taglab").mkdir()
    (packages / "taglab" / "__init__.py").write_text("")
    lab.write("lab/lib/__init__.py", "")
    assert python(venv, "-c", FILE, cwd=tmp_path) == f"{lab.path}/vendor/taglab/__init__.py"
    assert f"{lab.path}/lab/lib" in python(venv, "-c", "import lib; print(lib)", cwd=tmp_path)
    moved = lab.path.rename(tmp_path / "moved here")
    shown = python(moved / ".venv" / "bin" / "python", "-c", FILE, cwd=tmp_path)
    assert shown == f"{moved}/vendor/taglab/__init__.py"


def test_an_installed_command_hands_over_to_the_lab_s_copy(
        installed: Path, lab: Lab, tmp_path: Path) -> None:
    command = installed.with_name("lab")
    (lab.path / "lab" / "lib").mkdir(parents=True)
    for folder in (lab.path, lab.path / "lab" / "lib"):
        assert python(command, "status", "--json", cwd=folder) == "7.7 runs ['status', '--json']"
    assert python(command, "x", cwd=tmp_path, LAB_ROOT=str(lab.path)) == "7.7 runs ['x']"
    refused = python(command, "status", cwd=tmp_path)
    assert refused.startswith(f"error: {tmp_path} is not a lab") and "Traceback" not in refused


def test_the_lab_is_the_one_whose_library_was_typed(make_lab, lab: Lab, tmp_path: Path) -> None:  # noqa: F811,E501
    typed = make_lab("typed")
    shown = python(Path(sys.executable), f"{typed.path}/vendor/taglab", "--version", cwd=lab.path)
    assert shown == f"lab {__version__}"


def test_nothing_of_the_package_shadows_modules_of_others(make_lab) -> None:  # noqa: F811
    lab = make_lab()
    code = ("import os, runpy, sys; sys.argv = ['vendor/taglab', 'status']; "
            "sys.path[0] = 'vendor/taglab'; os.execv = lambda *_: sys.exit()\n"
            "try: runpy.run_path('vendor/taglab/__main__.py', run_name='__main__')\n"
            "except SystemExit: pass\n"
            "import importlib.util; print([importlib.util.find_spec(name) for name in "
            "('config', 'search', 'tracking', 'runner')])")
    shown = python(Path(sys.executable), "-c", code, cwd=lab.path)
    assert shown.endswith("[None, None, None, None]"), shown
