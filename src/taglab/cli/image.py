"""`lab image`: lets all steps of `.drone.yml` name the image of this requirements.txt."""
from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from taglab.engines.drone.source import Source
from taglab.engines.drone.step_warnings import uses_python
from taglab.errors import LabError
from taglab.runner.environment import requirements_hash

_NAME = re.compile(r"[a-z0-9][\w./:-]*")
_VERSION = r"(?::\w[\w.-]*)?(?:@sha256:[0-9a-f]+)?"


def name_image(lab: Path, name: str | None) -> str:
    """Write `NAME:HASH` into `.drone.yml`, by default with the name that it has; say what is next.

    Raises LabError, and then nothing is written.
    """
    file, tag = lab / ".drone.yml", requirements_hash(lab)
    text = file.read_text(encoding="utf-8")
    old = image_name(text)
    name = old if name is None else repository(name)
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r} is no name of an image. Type: lab image HOST/TEAM/{lab.name}")
    image = f"{name}:{tag}"
    changed = with_image(text, old, name, tag)
    if changed != text:
        file.write_text(changed, encoding="utf-8")
    done = "names now" if changed != text else "names already"
    return (f".drone.yml {done} {image}\n"
            "Build it here:       docker build --file runtimes/image/Dockerfile --tag "
            f"{image} . && docker push {image}\n"
            f"Or on the cluster:   git commit --all --message 'The image {tag}' && "
            f"git tag publish-image-{tag} && git push origin publish-image-{tag}")


def image_name(text: str) -> str:
    """Return the name, without a tag, of the image that most steps with Python have.

    Raises LabError when there is none.
    """
    names = Counter(repository(step.image) for step in Source(text).steps
                    if uses_python(step) and step.image)
    if not names:
        raise LabError("no step of .drone.yml runs Python in an image; write "
                       "`image: NAME` into the steps first")
    return names.most_common(1)[0][0]


def repository(image: str) -> str:
    """Return an image's name without tag and digest; a port of the registry stays."""
    return re.sub(rf"{_VERSION}$", "", image)


def with_image(text: str, old: str, name: str, tag: str) -> str:
    """Return the text with `NAME:TAG` wherever an `image:` or an anchor named `old`.

    A plugin's `repo:` gets the name alone. Comments and layout stay as they are.
    """
    key = r"\b(?P<key>image|repo): *(?:&[\w-]+ +)?|: *&[\w-]+ +"
    place = rf"(?m)^(?P<before>[^#\n]*?(?:{key})(?P<quote>[\"']?)){re.escape(old)}{_VERSION}"
    return re.sub(rf"{place}(?=(?P=quote)(?:[\s,}}]|$))",
                  lambda found: found["before"] + name
                  + ("" if found["key"] == "repo" else f":{tag}"), text)
