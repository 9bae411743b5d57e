"""A step that misses a file of the lab's folder is told how to commit it."""
from __future__ import annotations

import json
import time
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from taglab.runner.missing_files import names_of_missing_files, path_in_workspace

from .conftest import Lab

FOLDER, WORKSPACE = Path("/b/1/src/lab"), Path("/b/1/src")


def test_a_step_that_misses_a_file_says_how_to_commit_it(lab: Lab) -> None:
    lab.write(".gitignore", ".lab/\nvendor/\nraw/\n")
    program = json.dumps("python3 -c 'open(\"data/my prices.csv\")'")
    lab.pipeline(f"""\
        steps:
        - name: python
          image: x
          failure: ignore
          commands: [{program}]
        - {{name: shell, image: x, failure: ignore, working_dir: /drone/src/sub,
           commands: [cat below.csv]}}
        - {{name: ignored, image: x, failure: ignore, commands: [head raw/big.bin]}}
        - {{name: committed, image: x, failure: ignore, commands: ["rm .gitignore",
           cat .gitignore]}}
        - {{name: nowhere, image: x, failure: ignore, commands: [cat nowhere.csv]}}
        - {{name: succeeds, image: x, commands: [cat raw/big.bin || true]}}
        """)
    for name in ("data/my prices.csv", "sub/below.csv", "raw/big.bin"):
        lab.write(name, "1")
    shown = lab.push_tag("exp-1")
    commit = lab.git("rev-parse", "--short=7", "HEAD")
    hints = [line for line in shown.splitlines() if "is in the lab's folder" in line]
    assert [each.partition("]")[0] for each in hints] == ["[python", "[shell", "[ignored"]
    assert hints[0].startswith(f"[python] data/my prices.csv is in the lab's folder and not in "
                               f"commit {commit}, ")
    assert "Type: git add 'data/my prices.csv', commit it" in hints[0]
    assert hints[0].endswith(f"absolute path: {lab.path}/data/my prices.csv")
    assert "git add sub/below.csv," in hints[1] and "git add -f raw/big.bin," in hints[2]


LINES = {
    "FileNotFoundError: [Errno 2] No such file or directory: 'data/a b.csv'": "data/a b.csv",
    "FileNotFoundError: [Errno 2] No such file or directory: b'data/x'": "data/x",
    "FileNotFoundError: [Errno 2] No such file or directory: 'a' -> 'b'": "b",
    "FileNotFoundError: data/x.npy not found.": "data/x.npy",
    "FileNotFoundError: No such file or directory (os error 2): data/x.csv": "data/x.csv",
    "cat: data/a b.csv: No such file or directory": "data/a b.csv",
    "/bin/sh: 34: cannot open data/x.csv: No such file": "data/x.csv",
    "head: cannot open 'a b' for reading: No such file or directory": "a b",
    "head: cannot open ‘a’ for reading: No such file or directory": "a",
    "/bin/sh: 34: ./run.sh: not found": "./run.sh",
    "python: can't open file '/b/1/src/main.py': [Errno 2] No such file": "/b/1/src/main.py",
}


def test_names_are_found_in_the_messages_of_many_programs() -> None:
    for line, name in LINES.items():
        assert name in names_of_missing_files(f"before\n{line}\nafter 'quoted'\n"), line
    assert "quoted" not in names_of_missing_files("\n".join([*LINES, "after 'quoted'"]))
    assert names_of_missing_files("a: No such file\n" "b: No such file")[0] == "b"


@given(st.text(min_size=1, max_size=80))
@example("it's")
@example("""'"\\'""")
@example("\ud800\n\0")
def test_a_name_that_python_quotes_is_found(name: str) -> None:
    error = FileNotFoundError(2, "No such file or directory", name)
    assert name in names_of_missing_files(f"{type(error).__name__}: {error}")


@given(st.text(), st.sampled_from(["", "No such file or directory: "]))
def test_any_output_is_read_without_an_error(output: str, mark: str) -> None:
    for name in names_of_missing_files(mark + output):
        path = path_in_workspace(name, FOLDER, WORKSPACE)
        assert path is None or not path.startswith(("../", "/"))


def test_unusual_output_is_read_quickly() -> None:
    for part in ("'", "\\'", "\"'", "'\\", ": ", "a ", "No such file\n", "x"):
        before = time.process_time()
        names_of_missing_files("not found: " + part * 1000)
        names_of_missing_files("not found: " + part * (1000 // len(part)))
        names_of_missing_files(("not found: " + part * (1000 // len(part)) + "\n") * 8)
        assert time.process_time() - before < 1, part


def test_a_name_is_looked_up_from_the_folder_of_the_step() -> None:
    assert path_in_workspace("data/x", FOLDER, WORKSPACE) == "lab/data/x"
    assert path_in_workspace("../x", FOLDER, WORKSPACE) == "x"
    assert path_in_workspace("/b/1/src/main.py", FOLDER, WORKSPACE) == "main.py"
    for outside in ("../../x", "/etc/passwd", "..", "../", "../../.."):
        assert path_in_workspace(outside, FOLDER, WORKSPACE) is None, outside
