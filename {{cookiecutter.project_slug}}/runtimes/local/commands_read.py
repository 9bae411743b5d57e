"""What can be read from a step's commands without running them."""
from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence

from local.pipeline import WORKSPACE

_MAKES_FILES = re.compile(r">|\b(curl|wget|git|tar|unzip|cp|mv|ln|touch|mkdir|tee|venv|make|npm)\b")
_OPTIONS_WITH_VALUE = ("-X", "-W", "-k", "-o", "-p", "-c")


def simple_commands(command: str) -> Iterator[list[str]]:
    """Yield the words of each simple command; a command that cannot be split yields none."""
    for line in command.replace("\\\n", " ").split("\n"):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        try:
            for word in [*lexer, ";"]:
                if set(word) <= set(";&|()<>"):
                    if words:
                        yield words
                    words = []
                elif words or not re.fullmatch(r"\w+=.*|exec|time|env|nice|set|-\w+", word):
                    words.append(word)
        except ValueError:
            continue


def paths_in(commands: Sequence[tuple[int, str]], folder: str) -> Iterator[tuple[int, str]]:
    """Yield the paths of scripts and tests that commands name, with the line of the command.

    They are relative to the workspace. What an earlier command may have made is left out.
    """
    made = ""
    for line, command in commands:
        for words in simple_commands(command):
            if words[0] == "cd":
                folder = posixpath.join(folder, words[1] if words[1:] else "/")
            for name in _named_paths(words):
                path = posixpath.normpath(posixpath.join(WORKSPACE, folder, name))
                path = posixpath.relpath(path, WORKSPACE)
                plain = not re.search(r"[$*?\[{~`]", posixpath.join(folder, name))
                if plain and not path.startswith("..") and path.split("/")[0] not in made and (
                        posixpath.basename(path) not in made):
                    yield line, path
        made += f"\n{command}" if _MAKES_FILES.search(command) else ""


def _named_paths(words: list[str]) -> list[str]:
    """Return the script that a simple command runs, or the tests that it names."""
    name = words[0].rpartition("/")[2]
    if re.fullmatch(r"python[0-9.]*", name) and "-m" in words[1:-1]:
        words = words[words.index("-m", 1) + 1:]
        return _named_paths(words) if words[0] in ("pytest", "flake8") else []
    rest = [word for before, word in zip(words, words[1:])
            if not word.startswith("-") and before not in _OPTIONS_WITH_VALUE]
    if name in ("pytest", "flake8"):
        return [word.partition("::")[0] for word in rest if "/" in word or ".py" in word]
    if re.fullmatch(r"python[0-9.]*|sh|bash|source|\.", name) and "-c" not in words:
        return rest[:1]
    if name.startswith("pip"):
        return [word for before, word in zip(words, words[1:]) if before == "-r"]
    return [words[0]] if words[0].startswith("./") else []
