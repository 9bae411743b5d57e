"""Where the lab is, and where it keeps what outlives a build."""

import os
from collections.abc import Mapping
from pathlib import Path

LIBRARY = Path("vendor", "taglab")  # this library, in the lab whose commit carries it
_ROOT = "LAB_ROOT"
HOW_TO_GET_A_LAB = (
    f"A lab is a folder of experiments that holds {LIBRARY}. Change to one with cd, or name it: "
    f"export {_ROOT}=FOLDER. To make one, type: pip install cookiecutter && cookiecutter "
    "PATH-OR-URL-OF-TAGLAB")


class NoLab(SystemExit):
    """No lab was found; the message says where it was looked for and what to do."""


def find_lab(start: str | Path, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return LAB_ROOT, else the nearest folder from `start` upward that is a lab, else None.

    A lab is a folder that holds `vendor/taglab`. Where this package itself lies does not count: an
    installed copy belongs to no lab.
    """
    if root := environment.get(_ROOT):
        return Path(root).absolute()
    start = Path(os.path.abspath(start))
    return next((folder for folder in (start, *start.parents)
                 if (folder / LIBRARY / "__init__.py").exists()), None)


def lab_root(
    start: str | Path | None = None, environment: Mapping[str, str] = os.environ
) -> Path:
    """Return the lab that holds `start`, a main.py, or else the working folder.

    LAB_ROOT wins where it is set. Raises NoLab where there is none.
    """
    start = Path.cwd() if start is None else start
    lab = find_lab(start, environment) or find_lab(Path.cwd(), environment)
    if lab is None:
        raise NoLab(f"error: {start} is not inside a lab. {HOW_TO_GET_A_LAB}")
    return lab


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of what must outlive a process and a build: LAB_STATE, or the lab's own.

    Raises ValueError when LAB_STATE is a URL: not everything can be kept there.
    """
    state = environment.get("LAB_STATE")
    if state is None or not state:
        return lab_root(environment=environment) / ".lab" / "state"
    if "://" in state:
        raise ValueError(f"LAB_STATE is {state}, but this needs a folder; name one that is shared")
    return Path(state)
