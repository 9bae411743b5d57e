"""`lab image`: sets the image of all steps in `.drone.yml` to that of requirements.txt."""
from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from taglab.engines.drone.source import Source
from taglab.engines.drone.step_warnings import uses_python
from taglab.errors import LabError
from taglab.runner.requirements import requirements_hash

_NAME = re.compile(r"[a-z0-9][\w./:-]*")
_VERSION = r"(?::\w[\w.-]*)?(?:@sha256:[0-9a-f]+)?"


@dataclass(frozen=True)
class Image:
    """The image that `.drone.yml` names, `NAME:HASH`, and whether it did not do so before."""

    image: str
    changed: bool

    def __str__(self) -> str:
        tag = self.image.rpartition(":")[2]
        return (f".drone.yml {'now' if self.changed else 'already'} names {self.image}\n"
                "Build it here:       docker build --file runtimes/image/Dockerfile --tag "
                f"{self.image} . && docker push {self.image}\n"
                f"Or on the cluster:   git commit --all --message 'Use image {tag}' && "
                f"git tag publish-image-{tag} && git push origin publish-image-{tag}")


def set_image(lab: Path, name: str | None) -> Image:
    """Write `NAME:HASH` into `.drone.yml`; without a name, keep the one that is there.

    Raises LabError before anything is written.
    """
    file, tag = lab / ".drone.yml", requirements_hash(lab)
    text = file.read_text(encoding="utf-8")
    old = image_name(text)
    name = old if name is None else repository(name)
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r} is not the name of an image. "
                       f"Type: lab image HOST/TEAM/{lab.name}")
    changed = replace_image(text, old, name, tag)
    if changed != text:
        file.write_text(changed, encoding="utf-8")
    return Image(f"{name}:{tag}", changed != text)


def image_name(text: str) -> str:
    """Return the name, without a tag, of the image of most steps that run Python.

    Raises LabError if there is no such step.
    """
    names = Counter(repository(step.image) for step in Source(text).steps
                    if uses_python(step) and step.image)
    if not names:
        raise LabError("no step of .drone.yml runs Python in an image. Write `image: NAME` into "
                       "the steps first")
    return names.most_common(1)[0][0]


def repository(image: str) -> str:
    """Return an image's name without tag and digest, but with the port of its registry."""
    return re.sub(rf"{_VERSION}$", "", image)


def replace_image(text: str, old: str, name: str, tag: str) -> str:
    """Return the text with `NAME:TAG` in place of `old` in every `image:` and every anchor.

    A plugin's `repo:` gets the name alone. Comments and layout are kept.
    """
    key = r"\b(?P<key>image|repo): *(?:&[\w-]+ +)?|: *&[\w-]+ +"
    place = rf"(?m)^(?P<before>[^#\n]*?(?:{key})(?P<quote>[\"']?)){re.escape(old)}{_VERSION}"
    return re.sub(rf"{place}(?=(?P=quote)(?:[\s,}}]|$))",
                  lambda found: found["before"] + name
                  + ("" if found["key"] == "repo" else f":{tag}"), text)
