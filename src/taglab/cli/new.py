"""`lab new NAME`: creates the folder of a process, and adds it to the pipelines."""
from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from taglab.cli.new_pipeline import add_process
from taglab.errors import LabError

_EXAMPLE = "new_process"  # the name of the process in scaffold/
_SCAFFOLD = Path(__file__).with_name("scaffold")


@dataclass(frozen=True)
class NewProcess:
    """A process that was created; `tag` is the first one that runs it."""

    process: str
    folder: str  # in the lab
    pipeline: str  # what has become of .drone.yml
    tag: str

    def __str__(self) -> str:
        return (f"Created {self.folder}. {self.pipeline}\n"
                f"Try it:  python {self.folder}/main.py\n"
                f"Run it:  git add -A && git commit -m 'Add {self.process}' && git tag {self.tag} "
                f"&& git push origin {self.tag}")


def new_process(lab: Path, name: str) -> NewProcess:
    """Create `lab/processes/NAME` and add it to the pipelines of `.drone.yml`.

    Raises LabError before anything is written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > 50:
        suggestion = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789") or "my_process"
        raise LabError(f"{name!r} is not a name for a process: use at most 50 lower-case letters, "
                       f"digits and single underscores. Type: lab new {suggestion}")
    folder = lab / "lab" / "processes" / name
    if folder.exists():
        raise LabError(f"{folder.relative_to(lab)} already exists. Choose another name")
    drone_file = lab / ".drone.yml"
    changed, said = add_process(drone_file.read_text(encoding="utf-8"), name)
    shutil.copytree(_SCAFFOLD, folder)
    for file in sorted(folder.iterdir()):
        content = file.read_text(encoding="utf-8").replace(_EXAMPLE, name)
        file.unlink()
        (folder / file.stem.replace(_EXAMPLE, name)).write_text(content, encoding="utf-8")
    drone_file.write_text(changed, encoding="utf-8")
    return NewProcess(name, str(folder.relative_to(lab)), said, f"{name.replace('_', '-')}-v1")
