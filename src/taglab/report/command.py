"""`python -m taglab.report [TAG]`: what `lab report` calls, and the step of a pipeline.

In a build TAG may be left out. Then the report is on the tag of the build, and becomes an artifact
of each of its runs that is not nested.
"""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from taglab.ci import read_build
from taglab.config import WRONG_USAGE
from taglab.lab import lab_root
from taglab.report.notebook import NotebookError, notebook_blocks
from taglab.report.document import Block, Picture, Report
from taglab.report.read import read_report, runs_of_build
from taglab.report.render import to_html, to_markdown
from taglab.report.sections import make_report
from taglab.results import NoResults
from taglab.results.receipt import to_json
from taglab.tracking.command import Parser
from taglab.tracking.connection import open_store

FAILED = 1  # an exit status
FOLDER = Path(".lab", "reports")  # of the lab; git ignores it
ROOM = 1_300_000  # bytes of images, which become a third longer in a page
ARTIFACTS = "report"  # the folder among the artifacts of a run


class ReportError(Exception):
    """A report that cannot be written; the message says what to do."""


def main(arguments: list[str]) -> int:
    """Write a report, and return an exit status: 0, 1 for a failure, or 3 for wrong usage."""
    parser = Parser(prog="python -m taglab.report")
    parser.add_argument("tag", nargs="?", help="by default, that of the build")
    parser.add_argument("--against", help="the tag to compare with")
    parser.add_argument("--output", type=Path, help="the folder to write to")
    parser.add_argument("--notebook", type=Path, help="a notebook whose outputs to show")
    parser.add_argument("--json", action="store_true", help="print the facts, write nothing")
    options = parser.parse_args(arguments)
    if options.tag is None and not read_build().tag:
        parser.error("name a tag, as in: lab report svm-search-v1")
    try:
        return report(options)
    except (NoResults, NotebookError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USAGE
    except (ReportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


def report(options: argparse.Namespace) -> int:
    """Do what the options say. Raises NoResults, NotebookError, ReportError or OSError."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    lab = lab_root()
    build = read_build() if options.tag is None else None
    tag = build.tag if build else options.tag
    notebook = read_notebook(options.notebook) if options.notebook else []
    taken = sum(len(block.data) for block in notebook if isinstance(block, Picture))
    facts, pictures = read_report(lab, tag, options.against, ROOM - taken, build)
    if options.json:
        print(to_json(facts))
        return 0
    made = make_report(facts, pictures, notebook)
    if build is None:
        for path in write(made, options.output or lab / FOLDER):
            print(path)
        return 0
    client = open_store()
    assert client is not None  # it has runs
    runs = runs_of_build(client, build)
    with TemporaryDirectory() as folder:
        for file in write(made, Path(folder), "report"):
            for run_id in runs:
                client.log_artifact(run_id, str(file), ARTIFACTS)
    print(f"report/report.html and report/report.md are with {len(runs)} runs of this build")
    return 0


def read_notebook(path: Path) -> list[Block]:
    """Return what a report shows of a notebook. Raises NotebookError."""
    try:
        return notebook_blocks(path.read_text(encoding="utf-8"), ROOM)
    except (OSError, UnicodeDecodeError, NotebookError) as error:
        raise NotebookError(f"cannot read {path}: {error}") from None


def write(report: Report, folder: Path, name: str = "") -> list[Path]:
    """Write a report as NAME.html and NAME.md to a folder, and return the two paths.

    Raises ReportError, and writes nothing, where another file has such a name.
    """
    name = name or report.tag.replace("/", "-")
    texts = {folder / f"{name}.html": to_html(report), folder / f"{name}.md": to_markdown(report)}
    for path in texts:
        if os.path.lexists(path) and report.mark not in _beginning(path):
            raise ReportError(f"{path} is there already, and is no report on {report.tag}. Move it "
                              "away, or name another folder with --output")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        draft = path.with_name(f"{path.name}.new")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    return [*texts]


def _beginning(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(1000)
