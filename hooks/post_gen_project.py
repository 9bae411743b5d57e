"""Finishes a new lab: removes what was not chosen, names the image, starts git, says what to type.

It needs no network, and it leaves alone what was in the folder before.
"""
from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

# Answers arrive as data, never as source code: tojson escapes quotes and non-ASCII characters.
ANSWERS = r'''{{ cookiecutter | tojson }}'''

LIBRARY = Path("vendor", "taglab")
# The folders that an answer leaves out, each with the template's files in it: any other file in
# them is its owner's and stays.
WITHOUT_PYTORCH = {"lab/processes/pytorch_example": (
    "config.toml", "convnet.py", "main.py", "test_convnet.py")}
MESSAGE = "A new lab"
ADD = f"git add -A && git commit -m '{MESSAGE}'"
COMMIT = f"git init -b main && {ADD}"  # a second `git init -b` would warn
IDENTITY = ("git config --global user.name 'Your Name'",
            "git config --global user.email you@example.com")
INIT = "python3 vendor/taglab init"
RUN = ("git tag run-examples-v1", "git push origin run-examples-v1")
# A user's settings may ignore files of the lab, convert line endings, or guess a name.
PLAIN = ("-c", "core.excludesFile=/dev/null", "-c", "core.autocrlf=false",
         "-c", "user.useConfigOnly=true")


def with_tag(image: str, tag: str) -> str:
    """Return the image with the tag; unchanged if it already has a tag or a digest."""
    return image if re.search(r"[:@][^/]*$", image) else f"{image}:{tag}"


def name_the_image(drone_file: Path, image: str, tag: str) -> None:
    """Give the image of the steps its tag, in every pipeline."""
    text = drone_file.read_text(encoding="utf-8")
    named = re.sub(rf'(?m)^( *(?:x-)?image: &image )"{re.escape(image)}"$',
                   lambda line: f'{line[1]}"{with_tag(image, tag)}"', text)
    if named != text:
        drone_file.write_text(named, encoding="utf-8")


def leave_out(folder: Path, names: tuple[str, ...]) -> None:
    """Remove the template's files from a folder, and the folder too if nothing else is in it."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def finish_library(lab: Path) -> None:
    """Delete bytecode that was copied along, and record the hashes of what was delivered."""
    from taglab.hashes import write_hashes
    for cache in sorted((lab / LIBRARY).rglob("__pycache__")):
        shutil.rmtree(cache)
    write_hashes(lab / LIBRARY)


def reason_against_git(lab: Path) -> str | None:
    """Return why no repository can be started in `lab`; None if one can."""
    if not shutil.which("git"):
        return "git is not installed. Install it, then type:"
    around = next((folder for folder in lab.parents if os.path.exists(folder / ".git")), None)
    if around and not is_ignored(lab, around):
        return (f"{around} is a git repository, so none was started inside it.\n"
                "A lab wants its own: move the folder elsewhere or leave it here, then type:")
    return None


def is_ignored(lab: Path, around: Path) -> bool:
    """Return whether the repository `around` ignores the lab's folder."""
    from taglab.runner.git import GitError, git
    try:
        git("check-ignore", "--quiet", str(lab), cwd=around)
    except GitError:
        return False
    return True


def start_git(lab: Path) -> tuple[str, tuple[str, ...]]:
    """Start a repository with a first commit and the local remote.

    Returns what happened, and the commands to type next in the lab.
    """
    from taglab.runner.git import GitError, git
    from taglab.runner.remote import make_remote
    if (lab / ".git").exists():
        return ("The folder was a git repository already, so nothing was committed. Now type:",
                ("git status", INIT))
    refused = reason_against_git(lab)
    if refused:
        return refused, (COMMIT, INIT, *RUN)
    try:
        git("init", "--quiet", "--initial-branch=main", cwd=lab)
        if not knows_the_user(lab):
            return "git does not know who you are. Type:", (*IDENTITY, ADD, INIT, *RUN)
        git(*PLAIN, "add", "--all", cwd=lab)
        git(*PLAIN, "commit", "--quiet", "--no-gpg-sign", f"--message={MESSAGE}", cwd=lab)
    except (GitError, OSError) as error:
        commit = ADD if (lab / ".git").exists() else COMMIT
        return f"{error}\nCorrect that, then type:", (commit, INIT, *RUN)
    try:
        remote = make_remote(lab)
    except (GitError, OSError) as error:
        return f"{error}\nCorrect that, then type:", (INIT, *RUN)
    return (f"Its git remote `{remote}` runs what is pushed. Type:",
            (*RUN, f"{INIT}    # the lab command, and .venv with the packages"))


def knows_the_user(lab: Path) -> bool:
    """Return whether git knows a name and an email address for commits, without guessing."""
    from taglab.runner.git import GitError, git
    try:
        for person in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            git(*PLAIN, "var", person, cwd=lab)
    except GitError:
        return False
    return True


def report(slug: str, happened: str, commands: tuple[str, ...]) -> str:
    """Return the text to print at the end."""
    return "\n  ".join([f"\n{slug} is ready. {happened}", f"cd {slug}", *commands]) + "\n"


def main() -> int:
    """Finish the lab in the current folder and return the exit status."""
    lab, answers = Path.cwd(), json.loads(ANSWERS)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(lab / LIBRARY.parent))
    from taglab.runner.environment import requirements_hash
    finish_library(lab)
    if answers["deep_learning"] == "none":
        for folder, names in WITHOUT_PYTORCH.items():
            leave_out(lab / folder, names)
    name_the_image(lab / ".drone.yml", answers["runner_image"], requirements_hash(lab))
    if answers["start_git"] is True:
        happened, commands = start_git(lab)
    else:
        happened, commands = "To start git, type:", (COMMIT, INIT, *RUN)
    if isinstance(sys.stdout, io.TextIOWrapper):  # the terminal may be unable to show a path
        sys.stdout.reconfigure(errors="backslashreplace")
    print(report(answers["project_slug"], happened, commands))
    return 0


if __name__ == "__main__":
    sys.exit(main())
