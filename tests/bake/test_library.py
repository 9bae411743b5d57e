"""The library in `vendor/taglab` of a lab: how it gets there, and that it stays what was sent."""
from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from taglab.hashes import edited_files
from taglab.runner.environment import environments_folder
from tests.conftest import LAB, Bake, files_below, git

LIBRARY = Path("vendor", "taglab")


@pytest.fixture(scope="session")
def cache() -> Path:
    """Return the user's own cache, where the runner's environment is made once for all tests."""
    return environments_folder().parents[1]


def command_help(vendored: Path, cwd: Path) -> str:
    """Run `python3 vendor/taglab --help` and return what it printed."""
    done = subprocess.run([sys.executable, str(vendored), "--help"], cwd=cwd, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


def has_carriage_returns(folder: Path) -> list[str]:
    """Return the files that have a Windows line ending."""
    return [name for name in sorted(files_below(folder)) if b"\r" in (folder / name).read_bytes()]


def test_a_lab_gets_an_exact_copy_without_bytecode(source: Path, tmp_path: Path) -> None:
    package = source / "src" / "taglab"
    names = files_below(package)
    assert len(names) > 80
    for folder in (package, package / "runner"):
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")
    lab = Path(cookiecutter(str(source), no_input=True, output_dir=str(tmp_path / "labs")))
    copy = lab / LIBRARY
    assert files_below(copy) == names | {"SHA256SUMS"}
    for name in names:
        assert (copy / name).read_bytes() == (package / name).read_bytes(), name
    assert not copy.is_symlink() and not list(lab.rglob("__pycache__"))
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=copy,
                   check=True)
    assert edited_files(copy) == []


def test_baking_again_restores_a_copy_that_was_edited(bake: Bake) -> None:
    lab = bake()
    copy = lab / LIBRARY
    delivered = (copy / "config.py").read_bytes()
    (copy / "config.py").write_text("x = 1\n")
    (copy / "runner" / "git.py").unlink()
    (copy / "mine.py").write_text("y = 2\n")
    assert edited_files(copy) == ["config.py", "mine.py", "runner/git.py"]
    bake(overwrite=True)
    assert edited_files(copy) == []
    assert (copy / "config.py").read_bytes() == delivered
    assert git("status", "--porcelain", cwd=lab) == ""


def test_a_moved_lab_and_a_colleagues_clone_work(bake: Bake, tmp_path: Path, cache: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    shutil.move(bake(), moved)
    git("clone", "--quiet", str(moved), "clone", cwd=tmp_path)
    for lab, typed, cwd in ((moved, moved / LIBRARY, tmp_path),
                            (tmp_path / "clone", LIBRARY, tmp_path / "clone")):
        assert "Usage: " in command_help(typed, cwd)
        assert edited_files(lab / LIBRARY) == []
        assert git("status", "--porcelain", cwd=lab) == ""


def test_line_endings_stay_what_they_are_whatever_git_would_convert(
        source: Path, person: Path, tmp_path: Path) -> None:
    with person.open("a") as config:
        config.write("[core]\nautocrlf = true\neol = crlf\n")
    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", f"git+file://{source}", "--no-input"],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    lab = tmp_path / "my-lab"
    git("clone", "--quiet", str(lab), "clone", cwd=tmp_path)
    for folder in (lab, tmp_path / "clone"):
        assert has_carriage_returns(folder) == []
        assert edited_files(folder / LIBRARY) == []
        assert git("status", "--porcelain", cwd=folder) == ""


def zip_file(source: Path, person: Path) -> str:
    """Return the template as a zip file, as the page of a git repository offers it."""
    file = source.with_suffix(".zip")
    git("archive", "--prefix=taglab-main/", f"--output={file}", "HEAD", cwd=source)
    return str(file)


def url_without_symlinks(source: Path, person: Path) -> str:
    """Return the template's URL, for a person whose git writes links as text files."""
    with person.open("a") as config:
        config.write("[core]\nsymlinks = false\n")
    return f"git+file://{source}"


def folder_without_link(source: Path, person: Path) -> str:
    """Return a folder whose link was replaced by a text file."""
    link = source / LAB / LIBRARY
    target = link.readlink()
    link.unlink()
    link.write_text(str(target))
    return str(source)


@pytest.mark.parametrize("lose_link, options", [
    (zip_file, ()), (url_without_symlinks, ()), (folder_without_link, ("--overwrite-if-exists",)),
], ids=["zip", "clone", "folder"])
def test_a_template_without_its_link_is_refused_in_one_sentence(
        lose_link: Callable[[Path, Path], str], options: tuple[str, ...], source: Path,
        person: Path, tmp_path: Path) -> None:
    labs = tmp_path / "labs"
    (labs / "my-lab" / LIBRARY if options else labs).mkdir(parents=True)
    before = set(labs.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "cookiecutter", lose_link(source, person), "--no-input", *options],
        cwd=labs, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode != 0
    sentences = [line for line in done.stdout.splitlines() if "symbolic link" in line]
    assert len(sentences) == 1 and "git clone -c core.symlinks=true" in sentences[0]
    assert set(labs.rglob("*")) == before


def test_the_lab_s_own_tools_leave_the_library_out(bake: Bake) -> None:
    lab = bake()
    (lab / "vendor" / "taglab" / "test_x.py").write_text("import os;x=1\ndef test(): assert 0\n")
    assert subprocess.run([sys.executable, "-m", "flake8"], cwd=lab).returncode == 0
    project = tomllib.loads((lab / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert project["pytest"]["ini_options"]["testpaths"] == ["lab", "goals"]
    assert project["coverage"]["run"]["source"] == ["lab"]
    assert "vendor/" in project["mypy"]["exclude"] and project["pyright"]["ignore"] == ["vendor"]
