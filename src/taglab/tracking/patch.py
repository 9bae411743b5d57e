"""The uncommitted changes of a lab as a patch, without what is too large or looks secret."""

import fnmatch
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from taglab.git import run_git
from taglab.tag_parameters import ending

LARGE = 1_000_000  # bytes; a larger untracked file is named in the patch, but not part of it

# Names of files with passwords and keys: those of Gitrob's signatures that hold nothing else
# (github.com/michenriksen/gitrob, core/signatures.go), and those of what a lab talks to.
SECRET_NAMES = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.keypair", "*.pkcs12", "*.p12",
    "*.pfx", "*.ppk", "*.jks", "*.keystore", "*.keyring", "*.keychain", "*.agilekeychain", "*.kdb",
    "*.kdbx", "*.kwallet", "*.psafe3", "*.ovpn", "*_rsa", "*_dsa", "*_ecdsa", "*_ed25519",
    "*credentials", *(f"*credentials*.{kind}" for kind in (
        "json", "xml", "csv", "ini", "toml", "yml", "yaml", "txt")),
    *(f"*secrets.{kind}" for kind in ("json", "ini", "toml", "yml", "yaml")),
    "client_secret*.json", "*service?account*.json", "kaggle.json", "*.tfvars", "kubeconfig",
    *(f"{dot}{name}" for dot in (".", "") for name in (
        "netrc", "pgpass", "htpasswd", "s3cfg", "boto", "npmrc", "pypirc", "dockercfg",
        "dockerconfigjson")),
    "_netrc",
)
_SECRET = "since its name is that of a file with secrets"


def uncommitted_patch(folder: Path) -> bytes:
    """Return the difference between the last commit and the files, untracked ones included.

    `git apply` on a clean clone of the commit restores the files, but for those that lines at the
    top name: large ones, those whose name says that they hold secrets, and repositories.
    """
    index = _git(folder, "rev-parse", "--path-format=absolute", "--git-path", "index").strip()
    if not index:  # no repository
        return b""
    base = "HEAD"
    if not _git(folder, "rev-parse", "--verify", "--quiet", base):  # no commit yet: an empty tree
        base = _git(folder, "hash-object", "-t", "tree", os.devnull).decode().strip()
    new = _names(_git(folder, "ls-files", "--others", "--exclude-standard", "-z"))
    left_out = {name: reason for name in new if (reason := _reason(folder / name, name))}
    with tempfile.TemporaryDirectory() as scratch:
        # In a copy of the index, so that what the user has staged stays as it is.
        copy = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        if os.path.exists(index):
            shutil.copyfile(os.fsdecode(index), copy["GIT_INDEX_FILE"])
        added = b"\0".join(os.fsencode(name) for name in new if name not in left_out)
        if added:
            _git(folder, "--literal-pathspecs", "add", "--intent-to-add",
                 "--pathspec-from-file=-", "--pathspec-file-nul", environment=copy, text=added)
        _git(folder, "update-index", "-q", "--refresh", environment=copy)
        changed = _names(_git(folder, "diff-index", "--name-only", "-z", base, "--", ".",
                              environment=copy))
        secret = {name: _SECRET for name in changed if is_secret(name)}
        # Unlike `git diff`, this command knows no settings of the user's.
        done = run_git("diff-index", "--patch", "--binary", "--no-ext-diff", "--no-textconv",
                       base, "--", ".", *(f":(exclude,top,literal){name}" for name in secret),
                       cwd=folder, environment=copy)
    notes = [f"# not in this patch, {reason}: {name!a}" for name, reason in
             (left_out | secret).items()]
    if done.returncode != 0:
        notes += ["# git could not write this patch:", *(
            f"# {line}" for line in done.stderr.decode(errors="replace").splitlines())]
    return "".join(f"{note}\n" for note in notes).encode() + done.stdout


def code_state(tags: Mapping[str, str], folder: Path | None) -> list[object]:
    """Return what tells the code of a run in `folder` from any other: its commit and changes.

    Parameters that its tag changes count as such.
    """
    is_known = folder is None or tags.get("dirty") == "false"
    return [tags.get("commit"), b"" if is_known or folder is None else uncommitted_patch(folder),
            ending(tags.get("tag", ""))]


def is_secret(name: str) -> bool:
    """Return whether the name of a file says that it holds passwords or keys."""
    last = PurePosixPath(name).name.lower()
    return any(fnmatch.fnmatchcase(last, pattern) for pattern in SECRET_NAMES)


def _reason(path: Path, name: str) -> str:
    """Return why an untracked file is left out of the patch, or ""."""
    if name.endswith("/"):
        return "since it is a git repository of its own"
    if is_secret(name):
        return _SECRET
    try:
        if path.lstat().st_size > LARGE:
            return f"larger than {LARGE} bytes"
    except OSError as error:
        return f"since it is gone ({error.strerror})"
    return "" if path.is_symlink() or os.access(path, os.R_OK) else "since it may not be read"


def _names(listed: bytes) -> list[str]:
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _git(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None, text: bytes = b""
) -> bytes:
    """Return what a git command prints; b"" when it fails or git is missing."""
    try:
        done = run_git(*arguments, cwd=folder, environment=environment, text=text)
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""
