"""`lab new NAME`: creates the folder and the pipeline of a process."""
from __future__ import annotations

import re
import shutil
from pathlib import Path

from taglab.engines.drone.decide import all_pipelines
from taglab.errors import LabError

_EXAMPLE = "new_process"  # the name of the process in scaffold/
_SCAFFOLD = Path(__file__).with_name("scaffold")


def new_process(lab: Path, name: str) -> str:
    """Create `lab/processes/NAME` and add a pipeline for it to `.drone.yml`.

    Returns a message that says what to do next. Raises LabError before anything is written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > 50:
        suggestion = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789") or "my_process"
        raise LabError(f"{name!r} is not a name for a process: use at most 50 lower-case letters, "
                       f"digits and single underscores. Type: lab new {suggestion}")
    folder = lab / "lab" / "processes" / name
    if folder.exists():
        raise LabError(f"{folder.relative_to(lab)} already exists. Choose another name")
    drone_file = lab / ".drone.yml"
    text = drone_file.read_text(encoding="utf-8")
    document = _copy_of_pipeline(text, name)
    shutil.copytree(_SCAFFOLD, folder)
    for file in sorted(folder.iterdir()):
        content = file.read_text(encoding="utf-8").replace(_EXAMPLE, name)
        file.unlink()
        (folder / file.stem.replace(_EXAMPLE, name)).write_text(content, encoding="utf-8")
    drone_file.write_text(f"{text.rstrip()}\n---\n{document.strip()}\n", encoding="utf-8")
    tag = f"{_dashes(name)}-v1"
    return (f"Created {folder.relative_to(lab)} and the pipeline {_dashes(name)} in .drone.yml.\n"
            f"Try it:  python lab/processes/{name}/main.py\n"
            f"Run it:  git add -A && git commit -m 'Add {name}' && git tag {tag} && "
            f"git push origin {tag}")


def _copy_of_pipeline(text: str, name: str) -> str:
    """Return the last pipeline that runs a single process, renamed for the new one."""
    if _dashes(name) in [pipeline.name for pipeline in all_pipelines(text)]:
        raise LabError(f".drone.yml already has a pipeline {_dashes(name)}. Choose another name")
    for document in reversed(re.split(r"(?m)^---.*\n", text)):
        processes = set(re.findall(r"lab/processes/(\w+)/main\.py", document))
        if len(processes) == 1:
            other = processes.pop()
            return re.sub(rf"\b{_dashes(other)}\b", _dashes(name),
                          re.sub(rf"\b{other}\b", name, document))
    raise LabError("no pipeline in .drone.yml runs only `python lab/processes/NAME/main.py`, so "
                   "there is none to copy. Write one, and copy a folder of lab/processes by hand")


def _dashes(name: str) -> str:
    return name.replace("_", "-")
