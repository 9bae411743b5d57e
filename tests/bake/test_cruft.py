"""The real cruft takes improvements of the template into a lab and leaves the rest alone."""
from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import LAB, git

DESCRIPTION = "Quotes \" ' \\, lines\nand more, # and: 😀 \\\\ }} {x}"


def cruft(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the cruft command."""
    return subprocess.run([sys.executable, "-m", "cruft", *arguments], cwd=cwd, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def commit(repository: Path) -> None:
    """Commit everything."""
    git("add", "--all", cwd=repository)
    git("commit", "--quiet", "--message=x", cwd=repository)


def kept(lab: Path) -> dict[str, bytes]:
    """Return what an update must leave as it is: the local remote, settings and refs of git."""
    git_files = [lab / ".git" / name for name in ("config", "HEAD", "logs/HEAD", "refs/heads/main")]
    lab_files = [file for file in (lab / ".lab").rglob("*") if file.is_file()]
    assert len(lab_files) >= 3
    return {str(file): file.read_bytes() for file in git_files + lab_files}


@pytest.fixture
def source(template: Path, person: Path, tmp_path: Path) -> Path:
    """Return a git repository of the template that a test may change."""
    source = tmp_path / "taglab"
    shutil.copytree(template, source, symlinks=True)
    git("init", "--quiet", "--initial-branch=main", cwd=source)
    commit(source)
    return source


@pytest.fixture
def lab(source: Path, tmp_path: Path) -> Path:
    """Return a lab that cruft made and whose owner committed `.cruft.json`."""
    done = cruft("create", str(source), "-y", "--extra-context",
                 json.dumps({"description": DESCRIPTION}), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    lab = tmp_path / "my-lab"
    assert git("status", "--porcelain", cwd=lab) == "?? .cruft.json\n"
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
    commit(source)

    assert cruft("check", cwd=lab).returncode == 1
    done = cruft("update", "-y", cwd=lab)
    assert done.returncode == 0 and "has been updated" in done.stdout, done.stdout

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
    done = cruft("update", "-y", "--variables-to-update", '{"deep_learning": "none"}', cwd=lab)
    assert done.returncode == 0, done.stdout
    assert [file.name for file in process.iterdir()] == ["mine.py"]
    assert "pytorch" not in (lab / ".drone.yml").read_text()
    assert kept(lab) == before
