"""Environments: what makes them, what they share, and what happens where something is missing."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import venv
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from taglab.errors import LabError
from taglab.runner.environment import ensure_installer, environment_path, remove_environment
from taglab.runner.install import TOOLS, install, lock_text
from taglab.runner.requirements import LOCK, hash_without_lock, requirements_hash
from tests.cli.test_commands import ENSURE, ensure
from tests.runner.conftest import SOURCE, wait_for

UNKNOWN_TO_UV = {"PIP_USE_FEATURE": "fast-deps"}  # so pip has to do the work


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of environments that has pip and uv, and an empty cache of uv's."""
    tools = ensure_installer(print)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    copy = environment_path(TOOLS)
    copy.parent.mkdir(parents=True)
    copy.symlink_to(tools)
    return tmp_path / "cache"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the only packages there are: `pip`, and `tiny`, which has one module."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, version in (("tiny", "1.0"), *_tool_pins()):
        about = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "VALUE = 1\n")
            wheel.writestr(f"{about}/METADATA",
                           f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\n"
                           "Root-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "".join(
                f"{file},,\n" for file in (f"{name}.py", f"{about}/METADATA", f"{about}/WHEEL")))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def _tool_pins() -> list[tuple[str, str]]:
    """Return name and version of the pip that each environment gets."""
    lines = (TOOLS / "requirements.txt").read_text().splitlines()
    return [(line.partition("==")[0], line.partition("==")[2])
            for line in lines if line.startswith("pip==")]


def make(folder: Path, cache: Path, requirements: str) -> tuple[Path, str]:
    """Make the environment of these requirements; return its path and what was printed."""
    folder.mkdir(exist_ok=True)
    (folder / "requirements.txt").write_text(requirements)
    process = ensure(folder, cache)
    output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    return Path(output.splitlines()[-1]), output


def packages(environment: Path) -> list[str]:
    """Return the names of what is installed, with versions."""
    return sorted(path.name for path in environment.glob("lib/python*/site-packages/*.dist-info"))


def module(environment: Path, name: str) -> Path:
    """Return the file of a module in an environment."""
    return next(environment.glob(f"lib/python*/site-packages/{name}.py"))


def test_uv_and_pip_install_the_same_packages(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "python-dateutil==2.9.0.post0  # needs six\n"
    by_uv, shown = make(tmp_path / "a", cache, text)
    assert "pip installs" not in shown
    for name, value in UNKNOWN_TO_UV.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "second"))
    environment_path(TOOLS).parent.mkdir(parents=True)
    environment_path(TOOLS).symlink_to(cache / "taglab/environments" / environment_path(TOOLS).name)
    by_pip, shown = make(tmp_path / "b", cache / "second", text)
    assert "pip installs, since uv has nothing like pip's use-feature" in shown
    assert packages(by_uv) == packages(by_pip)
    assert [name.partition("-")[0] for name in packages(by_uv)] == ["pip", "python_dateutil", "six"]


def test_pip_does_the_work_where_uv_cannot_be_had(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that has no uv, and a machine that has none either. It reads a lock, too."""
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / "requirements.txt").write_text("tiny\n")
    lines = [f"{name}=={version} --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}\n"
             for wheel in wheels.iterdir() for name, version in [wheel.name.split("-")[:2]]]
    (lab / LOCK).write_text(f"# {hash_without_lock(lab)}\n{''.join(lines)}")
    path, shown = make(lab, tmp_path / "cache", "tiny\n")
    assert "uv cannot be had, so pip does its work, slower: ERROR: " in shown
    assert module(path, "tiny").exists()


def test_environments_share_the_files_of_their_packages(
    tmp_path: Path, cache: Path, wheels: Path
) -> None:
    first, _ = make(tmp_path / "a", cache, "tiny==1.0\n")
    second, _ = make(tmp_path / "a", cache, "tiny==1.0\npip\n")
    assert first != second and module(first, "tiny").samefile(module(second, "tiny"))


def test_on_another_file_system_than_the_cache_files_are_copied(
    tmp_path: Path, cache: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory
) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    other = memory / f"uv-{tmp_path.name}-{os.getpid()}"
    monkeypatch.setenv("UV_CACHE_DIR", str(other))
    try:
        path, _ = make(tmp_path / "a", cache, "tiny\n")
        assert module(path, "tiny").stat().st_nlink == 1
        assert other.is_dir()
    finally:
        subprocess.run(["rm", "-rf", str(other)], check=True)


def test_a_cache_that_cannot_be_written_is_replaced_by_one_of_our_own(
    tmp_path: Path, cache: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", "/dev/null/uv")
    path, _ = make(tmp_path / "a", cache, "tiny\n")
    assert module(path, "tiny").exists() and (cache / "taglab/uv").is_dir()


def test_without_a_network_packages_come_from_the_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "a", cache, "six==1.17.0\n")
    monkeypatch.setenv("PIP_PROXY", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("PIP_RETRIES", "0")
    path, shown = make(tmp_path / "a", cache, "six==1.17.0\npip\n")
    assert "the package index is away" in shown and module(path, "six").exists()


def test_what_takes_long_to_import_is_compiled_in_the_background(
    tmp_path: Path, cache: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(wheels, "pandas/__init__.py")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # of the user's other programs
    path, _ = make(tmp_path / "a", cache, "tiny\n")
    packages = module(path, "tiny").parent
    wait_for(lambda: any((packages / "pandas/__pycache__").glob("*.pyc")))


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    """In a file system of 3 MB of its own."""
    (tmp_path / "requirements.txt").write_text("numpy\n")
    tools, small = ensure_installer(print), tmp_path / "small"
    small.mkdir()
    folder = small / "taglab/environments"
    script = (f"mount -t tmpfs -o size=3m none {small} && mkdir -p {folder} && "
              f"ln -s {tools} {folder}/ && {{ XDG_CACHE_HOME={small} {sys.executable} -c "
              '"$CODE" "$SOURCE" "$FOLDER"; ls ' f"{folder}; }}")
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script], text=True,
        capture_output=True,
        env={**os.environ, "CODE": ENSURE, "SOURCE": str(SOURCE), "FOLDER": str(tmp_path)})
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"needs to mount a file system: {done.stderr.strip()}")
    assert "the disk is full, so the environment could not be made" in done.stderr, done.stderr
    left = [line for line in done.stdout.splitlines() if " " not in line]
    assert [name for name in left if not name.endswith(".lock")] == [tools.name]


def changed(wheels: Path, name: str = "other.py") -> None:
    """Put another file into the wheel of `tiny`."""
    with zipfile.ZipFile(wheels / "tiny-1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr(name, "")


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_package_that_has_another_hash_than_the_lock_is_refused(
    tool: str, tmp_path: Path, cache: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / "requirements.txt").write_text("tiny==1.0\n")
    (lab / LOCK).write_text(lock_text(lab / "requirements.txt", ensure_installer(print), print))
    if tool == "pip":
        monkeypatch.setenv(*next(iter(UNKNOWN_TO_UV.items())))
    else:
        path, _ = make(lab, cache, "tiny==1.0\n")
        assert [name.partition("-")[0] for name in packages(path)] == ["pip", "tiny"]
        remove_environment(path.name)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    changed(wheels)
    _, error = ensure(lab, cache).communicate()
    assert f"{tool} could not install {LOCK}" in error and "tiny==1.0" in error
    assert error.endswith("If what the package index has now is right, type: lab lock\n")
    assert not environment_path(lab).exists()


def test_a_lock_names_indirect_packages_and_the_environment_depends_on_it(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("python-dateutil==2.9.0.post0\n")
    listed = requirements_hash(tmp_path)
    text = lock_text(requirements, ensure_installer(print), print)
    assert re.findall(r"(?m)^([\w-]+)==.* \\\n    --hash=sha256:[0-9a-f]{64}", text) == [
        "pip", "python-dateutil", "six"]
    (tmp_path / LOCK).write_text(text)
    locked = requirements_hash(tmp_path)
    assert locked != listed == hash_without_lock(tmp_path)
    (tmp_path / LOCK).write_text(text.replace("sha256:", "sha256:0"))
    assert requirements_hash(tmp_path) not in (locked, listed)
    requirements.write_text("# A comment changes nothing.\npython-dateutil==2.9.0.post0\n")
    assert requirements_hash(tmp_path)
    requirements.write_text("python-dateutil==2.8.2\n")
    with pytest.raises(LabError, match="was not written for this requirements.txt. Type: lab lock"):
        requirements_hash(tmp_path)


def test_what_has_no_hash_keeps_a_lock_from_being_written(
    tmp_path: Path, wheels: Path
) -> None:
    local_package(tmp_path, 1)
    (tmp_path / "requirements.txt").write_text("tiny\n./mine\n")
    with pytest.raises(LabError, match="./mine in requirements.txt has no hash"):
        lock_text(tmp_path / "requirements.txt", ensure_installer(print), print)
    with pytest.raises(LabError, match="only uv writes requirements.lock.txt"):
        lock_text(tmp_path / "requirements.txt", tmp_path, print)


def test_elsewhere_than_on_linux_a_lock_is_written_but_not_checked(
    tmp_path: Path, cache: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements, path = tmp_path / "requirements.txt", tmp_path / "a"
    tools = ensure_installer(print)
    requirements.write_text("tiny\n")
    venv.create(path, with_pip=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    (tmp_path / LOCK).write_text(lock_text(requirements, tools, print))
    changed(wheels)
    shown: list[str] = []
    with requirements.open() as file:
        install(path, requirements, tools, file.fileno(), shown.append)
    assert module(path, "tiny").exists()
    assert shown == [f"{LOCK} is for Linux: no hash of a package is checked here"]


def local_package(folder: Path, value: int, wait: str = "") -> None:
    """Write the package `mine` into a folder; `wait` is Python that its build runs."""
    files = {"METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1\n",
             "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
             "RECORD": "mine.py,,\n"}
    (folder / "mine").mkdir(parents=True)
    (folder / "mine/pyproject.toml").write_text(
        "[project]\nname = 'mine'\nversion = '1'\n"
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n")
    (folder / "mine/backend.py").write_text(f'''\
import os, zipfile
def build_wheel(folder, settings=None, metadata=None):
    {wait or "pass"}
    name = "mine-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("mine.py", "VALUE = {value}")
        for file, text in {files!r}.items():
            wheel.writestr("mine-1.dist-info/" + file, text)
    return name
''')


@pytest.mark.parametrize("line", ["./mine", "-e ./mine", "mine @ file://{folder}/mine"])
def test_labs_whose_own_package_differs_have_different_environments(
    line: str, tmp_path: Path, cache: Path, wheels: Path
) -> None:
    for folder, value in (("a", 1), ("b", 2)):
        local_package(tmp_path / folder, value)
        path, _ = make(tmp_path / folder, cache, line.format(folder=tmp_path / folder) + "\n")
        assert module(path, "mine").read_text() == f"VALUE = {value}"


def test_what_a_killed_process_was_installing_keeps_the_others_waiting(
    tmp_path: Path, cache: Path, wheels: Path
) -> None:
    local_package(tmp_path, 1, wait="import time; open('../started', 'a'); "
                  "[time.sleep(.05) for _ in iter(lambda: os.path.exists('../go'), True)]")
    (tmp_path / "requirements.txt").write_text(f"mine @ {(tmp_path / 'mine').as_uri()}\n")
    first = ensure(tmp_path, cache)
    wait_for((tmp_path / "started").exists)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = ensure(tmp_path, cache)
    assert second.stdout and "waiting for another process" in second.stdout.readline()
    (tmp_path / "go").touch()
    output, errors = second.communicate()
    assert second.returncode == 0 and module(Path(output.splitlines()[-1]), "mine").exists(), errors


@pytest.mark.parametrize(("files", "message"), [
    ({"requirements.txt": "-r base.txt\n"},
     "cannot read base.txt, which requirements.txt names: No such file or directory. "
     "Commit it, or take the line out"),
    ({"requirements.txt": "-r base.txt\n", "base.txt": "-r requirements.txt\n"},
     "requirements.txt includes itself, by way of base.txt. Take that `-r` line out"),
    ({"requirements.txt": b"caf\xe9\n"},
     "requirements.txt is not UTF-8 text: byte 3 cannot be read. Save it as UTF-8"),
    ({"requirements.txt": "./mine\n"},
     "requirements.txt names ./mine, which does not exist. Commit it, or take the line out")])
def test_requirements_that_cannot_be_read_are_one_sentence(
    files: dict[str, str | bytes], message: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    output, error = ensure(tmp_path, tmp_path / "cache").communicate()
    assert (output, error.strip()) == ("", message)
