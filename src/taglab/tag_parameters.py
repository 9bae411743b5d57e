"""Parameters that a tag changes: its name says that it changes some, its message says which.

    $ git tag --list --format='%(contents)' svm-search-v4.p3f9c1a7b
    Do five folds rank the points as three do?

    Lab-Parameter: svm_search.folds=5

`lab launch` makes such tags. A checkout holds the message only where it holds the tag's own object;
an exported tree does not, nor one into which a tool wrote the tag anew, as a lightweight one. The
name always arrives. So it ends in `.p` and eight digits of a hash of the parameters, and:

- A tag with this ending changes what its message says: the message of the annotated tag of the
  build's commit that `refs/tags/NAME` names, or FETCH_HEAD, where Drone's clone leaves it. Where
  there is none, or one that the ending does not fit, TagError is raised.
- A tag without it changes nothing, wherever its message is. One whose message has parameters all
  the same raises TagError.

So nothing runs with the defaults that was to run with other values.
"""

import datetime
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taglab.ci import read_build
from taglab.git import run_git

TRAILER = "Lab-Parameter"
_FORM = re.compile(rf"{TRAILER}: (\w+)\.([^=\x00-\x1f]+)=([^\x00-\x1f\x7f]+)")
_ENDING = re.compile(r"\.p([0-9a-f]{8})")
# As git finds it: what follows a message in the object of a signed tag.
_SIGNATURE = re.compile(r"(?m)^-----BEGIN [A-Z ]*(?:SIGNATURE|MESSAGE)-----")


class TagError(ValueError):
    """The parameters of a tag are not known for certain; the message says why and what to type."""


@dataclass(frozen=True)
class Parameter:
    """A value that a tag gives to a parameter of a process; `text` is the value as TOML."""

    process: str
    key: str
    text: str

    def __str__(self) -> str:
        """Return it as it stands behind `Lab-Parameter: `."""
        return f"{self.process}.{self.key}={self.text}"

    @property
    def value(self) -> Any:
        """The value. Raises TagError if the text is not one value."""
        try:
            value, *others = tomllib.loads(f"value = {self.text}\n").values()
        except (ValueError, RecursionError):
            others = [None]
        if others:
            raise TagError(f"{self.text[:80]!r}, the value of {self.process}.{self.key} in the "
                           "tag's message, is not TOML")
        return value


@dataclass(frozen=True)
class TagMessage:
    """What the message of a tag says: what its run is to answer, "" if nothing, and parameters."""

    question: str = ""
    parameters: tuple[Parameter, ...] = ()


def to_toml(value: Any) -> str:
    """Return a value that a config.toml can hold as TOML of one line."""
    if isinstance(value, str):
        return re.sub("[\x7f-\x9f\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}",
                      json.dumps(value, ensure_ascii=False))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, list):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, dict):
        pairs = (f"{to_toml(key)} = {to_toml(each)}" for key, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    return repr(value)


def ending(tag: str) -> str:
    """Return the eight digits in which the name of a tag that changes parameters ends, or ""."""
    name, dot, last = tag.rpartition(".")
    found = _ENDING.fullmatch(dot + last)
    return found[1] if found and name else ""


def marked(tag: str, parameters: Iterable[Parameter]) -> str:
    """Return the name of a tag that changes these parameters: `tag`, with an ending if any."""
    lines = sorted(map(str, parameters))
    digits = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]
    return f"{tag}.p{digits}" if lines else tag


def write_message(tag: str, message: TagMessage) -> str:
    """Return the text of a tag's message; "" for a tag that needs none. Raises TagError.

    A tag without a question has its name for a subject, since trailers need one.
    """
    lines = [f"{TRAILER}: {each}" for each in message.parameters]
    if not lines and not message.question:
        return ""
    text = "\n".join([message.question or tag, *([""] if lines else []), *lines, ""])
    if read_message(tag, text) != message:
        raise TagError("a tag cannot keep this message: it looks like trailers, a signature or the "
                       f"name of the tag\n{message.question}")
    return text


def read_message(tag: str, text: str) -> TagMessage:
    """Return what the text of a tag's message says. Raises TagError.

    Parameters are the lines `Lab-Parameter: process.key=value` of the last paragraph, with a value
    in TOML. Other trailers mean nothing.
    """
    body = _SIGNATURE.split(text)[0].strip(" \t\n")
    last = max((found.end() for found in re.finditer(r"\n\s*\n", body)), default=0)
    lines = body[last:].split("\n")
    found = [line for line in lines if line.lower().startswith(TRAILER.lower())]
    if not found:
        return TagMessage("" if body == tag else body)
    parameters = []
    for line in found:
        form = _FORM.fullmatch(line)
        if not form:
            raise TagError(f"the message of the tag {tag} has a line {line[:80]!r}, which is not "
                           f"of the form {TRAILER}: process.key=value")
        parameters.append(Parameter(*form.groups()))
        parameters[-1].value
    if len({(each.process, each.key) for each in parameters}) < len(parameters) or any(
            line[:1].isspace() for line in lines):
        raise TagError(f"the message of the tag {tag} has a parameter twice, or lines that begin "
                       f"with a blank beside those with {TRAILER}")
    question = body[:last].strip(" \t\n")
    return TagMessage("" if question == tag else question, tuple(parameters))


def message_of_build(folder: Path, environment: Mapping[str, str] = os.environ) -> TagMessage:
    """Return what the tag of the build says to which this process belongs, if to any.

    `folder` lies in the checkout. The rules are those above. Raises TagError.
    """
    build = read_build(environment)
    if not build.tag:
        return TagMessage()
    objects, problem = _tag_objects(folder, build.tag)
    text = next((text for ids, text in objects if build.commit in ids), None)
    message = TagMessage() if text is None else read_message(build.tag, text)
    fitting = marked("", message.parameters).removeprefix(".p")
    if fitting == ending(build.tag):
        return message
    tag = f"the tag {build.tag}"
    if not ending(build.tag):
        raise TagError(f"{tag} has parameters in its message, and its name does not end in "
                       f".p{fitting}, which tells of them where a message gets lost. "
                       "Make such a tag with: lab launch")
    if text is not None:
        raise TagError(f"{tag} has not the message that it was launched with: its name ends in "
                       f".p{ending(build.tag)}, and these parameters in .p{fitting}. "
                       "Push a new tag, with: lab launch")
    if objects:
        raise TagError(f"{tag} is not of commit {build.commit[:7]}, which this build runs: it was "
                       "moved. Push a new tag, with: lab launch")
    raise TagError(f"{tag} changes parameters, and this checkout has lost its message, which says "
                   f"which{problem}. Let the step that clones type: "
                   f"git fetch --depth=1 origin +refs/tags/{build.tag}:")


def _tag_objects(folder: Path, tag: str) -> tuple[list[tuple[Collection[str], str]], str]:
    """Return ids and message of each annotated tag that may be the build's, and what git says.

    The ids are the tag's own and that of its commit: some servers give a build the former.
    """
    try:
        done = run_git("cat-file", "--batch", cwd=folder,
                       text=os.fsencode(f"refs/tags/{tag}\nFETCH_HEAD\n"))
    except OSError as error:
        return [], f" (git cannot be started: {error.strerror})"
    problem = done.stderr.decode(errors="replace").strip().partition("\n")[0]
    return list(_read_batch(done.stdout)), f" (git says: {problem})" if problem else ""


def _read_batch(output: bytes) -> Iterator[tuple[Collection[str], str]]:
    """Yield ids and message of each tag in what `git cat-file --batch` prints."""
    while output:
        head, _, output = output.partition(b"\n")
        words = head.split()
        if len(words) != 3:  # `NAME missing`
            continue
        size = int(words[2])
        content, output = output[:size], output[size + 1:]
        if words[1] == b"tag":
            fields, _, text = content.decode(errors="replace").partition("\n\n")
            yield (words[0].decode(), fields.partition("\n")[0].removeprefix("object ")), text
