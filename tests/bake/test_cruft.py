"""The real cruft brings improvements of the template into a lab and leaves the rest alone."""
from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from taglab.hashes import edited_files
from tests.bake.conftest import commit, copy_to_repository
from tests.conftest import LAB, be_a_person, files_below, git

DESCRIPTION = "Quotes \" ' \\, lines\nand more, # and: 😀 \\\\ }} {x}"
LIBRARY = "vendor/taglab"


def cruft(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the cruft command."""
    return subprocess.run([sys.executable, "-m", "cruft", *arguments], cwd=cwd, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def update(lab: Path, *arguments: str) -> None:
    """Run `cruft update`, which must say that it succeeded."""
    done = cruft("update", "-y", *arguments, cwd=lab)
    assert done.returncode == 0 and "has been updated" in done.stdout, done.stdout


def kept(lab: Path) -> dict[str, bytes]:
    """Return what an update must leave as it is: the local remote, git's settings and refs."""
    git_files = [lab / ".git" / name for name in ("config", "HEAD", "logs/HEAD", "refs/heads/main")]
    lab_files = [file for file in (lab / ".lab").rglob("*") if file.is_file()]
    assert len(lab_files) >= 3
    return {str(file): file.read_bytes() for file in git_files + lab_files}


@pytest.fixture(scope="module")
def made(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a lab that cruft made, for tests to copy."""
    folder = tmp_path_factory.mktemp("cruft")
    with pytest.MonkeyPatch.context() as patch:
        be_a_person(folder / "home", patch)
        source = copy_to_repository(template, folder / "taglab")
        done = cruft("create", str(source), "-y", "--extra-context",
                     json.dumps({"description": DESCRIPTION}), cwd=folder)
    assert done.returncode == 0, done.stdout
    yield folder / "my-lab"


@pytest.fixture
def lab(made: Path, source: Path, tmp_path: Path) -> Path:
    """Return a lab that cruft made from `source`, and whose owner committed `.cruft.json`."""
    lab = tmp_path / "my-lab"
    shutil.copytree(made, lab)
    assert git("status", "--porcelain", cwd=lab) == "?? .cruft.json\n"
    state = json.loads((lab / ".cruft.json").read_text(encoding="utf-8"))
    state |= {"template": str(source), "commit": git("rev-parse", "HEAD", cwd=source).strip()}
    (lab / ".cruft.json").write_text(json.dumps(state), encoding="utf-8")
    commit(lab)
    return lab


def test_a_fresh_lab_is_up_to_date(lab: Path) -> None:
    assert git("remote", cwd=lab) == "origin\n"
    project = tomllib.loads((lab / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["description"] == DESCRIPTION
    assert cruft("check", cwd=lab).returncode == 0
    assert cruft("diff", "--exit-code", cwd=lab).returncode == 0


def test_an_update_brings_what_is_new_and_keeps_what_is_the_owners(source: Path, lab: Path) -> None:
    (lab / "README.md").write_text("# My own words\n" + (lab / "README.md").read_text())
    (lab / "goals" / "mine.txt").write_text("mine\n")
    (lab / "runtimes" / "image" / "Dockerfile").unlink()
    commit(lab)
    before = kept(lab)
    drone_file = (lab / ".drone.yml").read_text()
    with (source / LAB / "README.md").open("a") as file:
        file.write("A new last line.\n")
    (source / LAB / "goals" / "new.txt").write_text("new\n")
    with (source / LAB / "requirements.txt").open("a") as file:
        file.write("zipp==4.1.2\n")
    with (source / LAB / "runtimes" / "image" / "Dockerfile").open("a") as file:
        file.write("# new\n")
    remote = source / "src" / "taglab" / "runner" / "remote.py"  # writes into .lab
    remote.write_text(remote.read_text().replace("#!/bin/sh\n", "#!/bin/sh\n# new\n"))
    for file in (source / "local_extensions.py", source / LAB / "README.md"):
        file.write_text(file.read_text().replace("markdown_heading", "heading"))  # a renamed filter
    commit(source)

    assert cruft("check", cwd=lab).returncode == 1
    update(lab)
    assert kept(lab) == before
    changed = {line[3:] for line in git("status", "--porcelain", cwd=lab).splitlines()}
    assert changed == {".cruft.json", ".drone.yml", "README.md", "goals/new.txt",
                       "requirements.txt", "vendor/taglab/SHA256SUMS",
                       "vendor/taglab/runner/remote.py"}
    readme = (lab / "README.md").read_text()
    assert readme.startswith("# My own words\n") and readme.endswith("A new last line.\n")
    assert (lab / "goals" / "mine.txt").read_text() == "mine\n"
    assert (lab / ".drone.yml").read_text() != drone_file, "the image is named by requirements"
    commit(lab)
    assert cruft("check", cwd=lab).returncode == 0


def test_an_answer_can_be_changed_later(lab: Path) -> None:
    process = lab / "lab" / "processes" / "pytorch_example"
    (process / "mine.py").write_text("x = 1\n")
    commit(lab)
    before = kept(lab)
    update(lab, "--variables-to-update", '{"deep_learning": "none"}')
    assert [file.name for file in process.iterdir()] == ["mine.py"]
    assert "pytorch" not in (lab / ".drone.yml").read_text()
    assert kept(lab) == before


def test_an_update_brings_the_new_library(source: Path, lab: Path) -> None:
    package, copy = source / "src" / "taglab", lab / LIBRARY
    with (package / "config.py").open("a") as file:
        file.write("# changed\n")
    (package / "new" / "deep").mkdir(parents=True)
    (package / "new" / "deep" / "added.py").write_text("x = 1\n")
    (package / "lazy.py").unlink()
    commit(source)
    update(lab)
    assert files_below(copy) == files_below(package) | {"SHA256SUMS"}
    for name in files_below(package):
        assert (copy / name).read_bytes() == (package / name).read_bytes(), name
    assert edited_files(copy) == []


@pytest.mark.parametrize("keep_git", [True, False], ids=["conflict marks", "rejected hunks"])
def test_after_a_conflict_in_the_library_its_files_are_named(
        keep_git: bool, source: Path, lab: Path) -> None:
    copy = lab / LIBRARY
    for file, line in ((copy / "config.py", "mine"), (source / "src/taglab/config.py", "theirs")):
        _, rest = file.read_text().split("\n", 1)
        file.write_text(f"# {line}\n{rest}")
    commit(lab)
    commit(source)
    if not keep_git:
        shutil.rmtree(lab / ".git")
    update(lab)
    text = (copy / "config.py").read_text()
    if keep_git:
        assert "<<<<<<< " in text and edited_files(copy) == ["config.py"]
    else:
        assert text.startswith("# mine\n")
        assert edited_files(copy) == ["config.py", "config.py.rej"]
