"""Compares the files of two runs: artifacts by their bytes, models by what they predict."""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from taglab.tracking.quick_mlflow import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from taglab.results.comparison import (
    DIFFERS, MODEL, SAME, SKIPPED, WITHIN, Finding, compare_paths, compare_texts)
from taglab.results.not_compared import MODEL_FILES
from taglab.results.tag_results import RunResult, artifact_paths

CHUNK = 1 << 20  # bytes
LONGEST_TEXT = 10_000_000  # bytes; the numbers of a longer file are not compared one by one


@dataclass(frozen=True)
class Interpreter:
    """What loads the models of a tag: Python in the environment of its commit.

    code: a checkout of that commit.
    """

    python: str
    code: Path

    def variables(self, process: str) -> dict[str, str]:
        """Return the environment in which the modules of a process are found."""
        folders = [self.code / "lab", self.code / "vendor", self.code / "lab/processes" / process]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)),
                "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_DISABLE_AGENT_HINT": "true"}


def compare_files(
    old: tuple[MlflowClient, RunResult], new: tuple[MlflowClient, RunResult], tolerance: float,
    interpreter: Interpreter | None,
) -> list[Finding]:
    """Return how the artifacts and the logged models of two runs compare.

    interpreter: None where the commit has no environment; then models are compared by their bytes.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory() as folder:
        left, right = (_artifacts(*each, Path(folder, name)) for name, each in (
            ("old", old), ("new", new)))
        found = [_with_numbers(each, Path(folder), tolerance)
                 for each in compare_paths(left, right)]
    return found + _compare_models(old, new, tolerance, interpreter)


def _artifacts(client: MlflowClient, run: RunResult, folder: Path) -> dict[str, str]:
    """Write a run's artifacts to a folder; return the digests of their bytes by path."""
    folder.mkdir()
    paths = artifact_paths(client, run.run_id)
    if paths:
        client.download_artifacts(run.run_id, "", str(folder))
    return {path: digest(folder / path) for path in paths if (folder / path).is_file()}


def digest(file: Path) -> str:
    """Return the first 16 hex digits of the SHA-256 of a file."""
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()[:16]


def _with_numbers(finding: Finding, folder: Path, tolerance: float) -> Finding:
    """Return what a closer look finds: two texts may differ in the last digits of numbers alone."""
    files = [folder / name / finding.name for name in ("old", "new")]
    if finding.outcome != DIFFERS or not all(
            file.is_file() and file.stat().st_size <= LONGEST_TEXT for file in files):
        return finding
    by = compare_texts(files[0].read_bytes(), files[1].read_bytes(), tolerance)
    return finding if by is None else replace(finding, outcome=WITHIN, by=by, reason="")


def _compare_models(
    old: tuple[MlflowClient, RunResult], new: tuple[MlflowClient, RunResult], tolerance: float,
    interpreter: Interpreter | None,
) -> list[Finding]:
    left, right = (_models(*each) for each in (old, new))
    found = []
    for name in sorted(left.keys() | right.keys()):
        if name in left and name in right:
            found.append(_compare_model(
                name, (old[0], left[name]), (new[0], right[name]), tolerance, interpreter,
                old[1].process))
        else:
            which = "old" if name in left else "new"
            found.append(Finding(MODEL, name, DIFFERS, left.get(name), right.get(name),
                                 reason=f"only the {which} run has it"))
    return found


def _models(client: MlflowClient, run: RunResult) -> dict[str, str]:
    """Return the ids of a run's models by name; of several with one name, by name and number."""
    found: dict[str, str] = {}
    for model_id in run.models:
        name = client.get_logged_model(model_id).name or "model"
        number = sum(each.partition(" #")[0] == name for each in found)
        found[f"{name} #{number + 1}" if number else name] = model_id
    return found


def _compare_model(
    name: str, old: tuple[MlflowClient, str], new: tuple[MlflowClient, str], tolerance: float,
    interpreter: Interpreter | None, process: str,
) -> Finding:
    """Return how two models compare: by the bytes of their files, else by their predictions."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            one, other = (_download(*each, Path(folder, where)) for where, each in (
                ("old", old), ("new", new)))
        except MlflowException as error:
            return Finding(MODEL, name, SKIPPED, reason=f"it cannot be read: {error}"[:300])
        if _content(one) == _content(other):
            return Finding(MODEL, name, SAME)
        if mlflow.models.Model.load(str(one)).saved_input_example_info is None:
            return Finding(MODEL, name, SKIPPED, reason="its files differ, and it was logged "
                           "without an input_example")
        if interpreter is None:
            return Finding(MODEL, name, SKIPPED, reason="its files differ, and its commit has no "
                           "environment to load it in")
        told = predictions(one, other, interpreter, process)
    if "by" not in told:
        return Finding(MODEL, name, SKIPPED, reason=str(told["reason"]))
    by = float(str(told["by"]))
    outcome = SAME if by == 0 else WITHIN if by <= tolerance else DIFFERS
    return Finding(MODEL, name, outcome, by=by, reason="its predictions" if by else "")


def _download(client: MlflowClient, model_id: str, folder: Path) -> Path:
    folder.mkdir()
    where = client.get_logged_model(model_id).artifact_location
    return Path(mlflow.artifacts.download_artifacts(
        where, dst_path=str(folder), tracking_uri=client.tracking_uri))


def _content(model: Path) -> dict[str, str]:
    """Return the digests of a model's own files."""
    return {file.relative_to(model).as_posix(): digest(file) for file in model.rglob("*")
            if file.is_file() and file.relative_to(model).parts[0] not in MODEL_FILES}


def predictions(
    old: Path, new: Path, interpreter: Interpreter, process: str
) -> Mapping[str, object]:
    """Return what the module `predictions` says of two models, in the environment of their commit.
    """
    program = Path(__file__).with_name("predictions.py")
    done = subprocess.run(
        [interpreter.python, "-P", str(program), str(old), str(new)], cwd=interpreter.code,
        env=interpreter.variables(process), capture_output=True, encoding="utf-8",
        errors="replace")
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[-1]
        return {"reason": f"it cannot be loaded: {said}"}
    told: Mapping[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told
