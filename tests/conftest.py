"""Fixtures that bake labs with the real cookiecutter."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parents[1]
LAB = "{{cookiecutter.project_slug}}"
Bake = Callable[..., Path]


# Groups of tests that take long: first, so that no worker begins one when the others are done.
LONG_GROUPS = ["pythons", "readme", "pages", "image", "pytorch", "none", "first_hour"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long groups of tests first."""
    def place(item: pytest.Item) -> int:
        marker = item.get_closest_marker("xdist_group")
        group = marker.args[0] if marker else ""
        return LONG_GROUPS.index(group) if group in LONG_GROUPS else len(LONG_GROUPS)

    items.sort(key=place)


def pytest_configure() -> None:
    """Let programs that tests start receive SIGINT, which a shell's background jobs ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def git(*arguments: str, cwd: Path) -> str:
    """Run git and return its output; fails the test if git fails."""
    done = subprocess.run(("git", *arguments), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_below(folder: Path) -> set[str]:
    """Return the paths of all files below a folder, without `.git` and `.lab`."""
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()
            and file.relative_to(folder).parts[0] not in (".git", ".lab")}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the template as git would give it, without caches."""
    copy = tmp_path_factory.mktemp("template") / "taglab"
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--",
                 ".gitattributes", "cookiecutter.json", "hooks", "local_extensions.py",
                 "src", LAB, cwd=TEMPLATE)
    for name in filter(None, listed.split("\0")):
        if (TEMPLATE / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TEMPLATE / name, copy / name, follow_symlinks=False)
    return copy


def be_a_person(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set HOME to a new folder of somebody whom git knows; returns their git configuration."""
    home.mkdir()
    config = home / ".gitconfig"
    config.write_text("[user]\nname = Ann Lee\nemail = ann@lab.example\n")
    for name in [name for name in os.environ if name.startswith(("GIT_", "COOKIECUTTER", "XDG_"))]:
        monkeypatch.delenv(name)
    for name in ("EMAIL", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return config


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be somebody with a HOME of their own, whom git knows; returns their git configuration."""
    return be_a_person(tmp_path / "home", monkeypatch)


@pytest.fixture
def bake(template: Path, person: Path, tmp_path: Path) -> Bake:
    """Return a function that bakes a lab from answers and returns its folder."""
    def bake(output: Path = tmp_path / "labs", *, overwrite: bool = False, skip: bool = False,
             **answers: str) -> Path:
        output.mkdir(parents=True, exist_ok=True)
        return Path(cookiecutter(str(template), no_input=True, extra_context=answers,
                                 output_dir=str(output), overwrite_if_exists=overwrite,
                                 skip_if_file_exists=skip))
    return bake


@pytest.fixture
def type_cookiecutter(template: Path, person: Path,
                      tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the cookiecutter command in an empty folder `labs`."""
    def run(*arguments: str, answers: str | None = None) -> subprocess.CompletedProcess[str]:
        (tmp_path / "labs").mkdir(exist_ok=True)
        return subprocess.run([sys.executable, "-m", "cookiecutter", str(template), *arguments],
                              cwd=tmp_path / "labs", text=True, input=answers,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return run
