import os
import subprocess
from pathlib import Path

import pytest

from taglab.tracking.patch import LARGE, uncommitted_patch
from taglab.tracking.provenance import config_hash, git_tags, pinned, run_tags, versions


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / ".gitignore").write_text("ignored\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clean_tree_is_not_dirty_and_names_its_commit(repository):
    commit = git(repository, "rev-parse", "HEAD")
    assert git_tags(repository) == {"dirty": "false", "commit": commit}
    (repository / "ignored").touch()
    assert git_tags(repository)["dirty"] == "false"


def test_the_patch_holds_every_change_and_does_not_touch_the_index(repository, tmp_path_factory):
    (repository / "a.txt").write_text("staged\n")
    git(repository, "add", "a.txt")
    (repository / "a.txt").write_text("two\n")
    (repository / "new ñ.bin").write_bytes(bytes(range(256)))
    (repository / "large").write_bytes(b"x" * (LARGE + 1))
    index, state = (repository / ".git/index").read_bytes(), git(repository, "status", "-s")
    assert git_tags(repository)["dirty"] == "true"
    patch = uncommitted_patch(repository)
    assert (repository / ".git/index").read_bytes() == index
    assert git(repository, "status", "-s") == state

    assert b"# not in this patch, larger than" in patch.splitlines()[0]
    clone = tmp_path_factory.mktemp("clone")
    git(clone, "clone", "-q", str(repository), ".")
    (clone / ".git/it.patch").write_bytes(patch)
    git(clone, "apply", ".git/it.patch")
    assert (clone / "a.txt").read_text() == "two\n"
    assert (clone / "new ñ.bin").read_bytes() == bytes(range(256))


def test_before_the_first_commit_everything_is_in_the_patch(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("one\n")
    assert git_tags(tmp_path) == {"dirty": "true"}
    assert b"+one" in uncommitted_patch(tmp_path)


def test_the_variables_of_a_git_hook_are_ignored(repository, monkeypatch):
    tags = git_tags(repository)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert git_tags(repository) == tags


def test_without_git_or_a_repository_there_is_no_error(tmp_path, monkeypatch):
    assert git_tags(tmp_path) == {} and uncommitted_patch(tmp_path) == b""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "commit" not in run_tags(tmp_path, "wine", {}, {})


def test_tags_hold_what_the_build_tells(repository):
    drone = {"DRONE_COMMIT_SHA": "abc", "DRONE_TAG": "wine-v1", "DRONE_BUILD_NUMBER": "7",
             "DRONE_BUILD_LINK": "http://drone/7"}
    tags = run_tags(repository, "wine", {"seed": 3}, drone)
    assert tags | {"commit": "abc", "tag": "wine-v1", "build": "7", "build_link": "http://drone/7",
                   "process": "wine", "seed": "3", "dirty": "false"} == tags
    assert {"tag", "build", "build_link", "seed"}.isdisjoint(run_tags(repository, "wine", {}, {}))


def test_the_configuration_hash_depends_on_the_values_alone():
    assert config_hash({"a": 1, "b": {"c": 2.0}}) == config_hash({"b": {"c": 2.0}, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


def test_versions_and_requirements_are_the_installed_ones():
    assert pinned("numpy", "pytest")[1] == f"pytest=={pytest.__version__}"
    assert set(pinned("numpy", "pytest")) <= set(versions().splitlines())
