"""The local remote: a bare repository inside the lab whose hook runs what is pushed to it."""
from __future__ import annotations

from pathlib import Path

from taglab.runner.git import GitError, git
from taglab.runner.state import VERSION, mark_state, state_version

REPOSITORY = Path(".lab", "origin.git")
HOOK = """\
#!/bin/sh
# Runs the pipelines of .drone.yml for what was pushed. git starts this in .lab/origin.git.
for library in vendor/taglab runtimes/local; do  # the second one: a commit from before 0.2
    test -e ../../$library/__main__.py && exec python3 ../../$library receive
done
echo "vendor/taglab is missing in the lab, so nothing runs. Type: git checkout HEAD -- vendor"
"""


def make_remote(lab: Path) -> str:
    """Make the bare repository `.lab/origin.git` with its hook and add it as a remote of `lab`.

    The remote is called `origin`, or `local` where `origin` is taken. Its URL is relative to the
    lab, so that it stays right when the lab is moved. Doing it again is harmless.

    Returns the remote's name. Raises GitError when `lab` is not the top of a git repository.
    """
    if not (lab / ".git").exists():
        raise GitError(f"{lab} is not a git repository")
    bare = lab / REPOSITORY
    if not (bare / "HEAD").exists():
        bare.parent.mkdir(exist_ok=True)
        hashes = git("rev-parse", "--show-object-format", cwd=lab).strip()
        git("init", "--quiet", "--bare", "--template=", "--initial-branch=main",
            f"--object-format={hashes}", str(bare), cwd=lab)
    # The repository names its own hooks: a user's global core.hooksPath would switch them off.
    git("--git-dir", str(bare), "config", "core.hooksPath", "hooks", cwd=lab)
    hook = bare / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK, encoding="utf-8")
    hook.chmod(0o755)
    mark_state(lab)
    return _add_remote(lab)


def renew_remote(lab: Path) -> None:
    """Bring a local remote that an older release made up to this one: its hook knew that one."""
    if state_version(lab) < VERSION and (lab / REPOSITORY / "HEAD").exists():
        make_remote(lab)


def local_remote(lab: Path) -> str | None:
    """Return the name of the remote that runs pipelines on this machine."""
    for name in git("remote", cwd=lab).split():
        if git("config", f"remote.{name}.url", cwd=lab).strip() == REPOSITORY.as_posix():
            return name
    return None


def has_server(lab: Path) -> bool:
    """Return whether `origin` is elsewhere, as after `lab connect`: commits go to a server too."""
    return "origin" in git("remote", cwd=lab).split() and local_remote(lab) != "origin"


def _add_remote(lab: Path) -> str:
    if known := local_remote(lab):
        return known
    url = REPOSITORY.as_posix()
    for name in ("origin", "local"):
        if name not in git("remote", cwd=lab).split():
            git("remote", "add", name, url, cwd=lab)
            return name
    raise GitError("the remotes `origin` and `local` are both somewhere else; "
                   f"type: git remote add NAME {url}")
