"""`lab migrate`: what it makes of imports, and of a real lab from before 0.2."""
from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter
from hypothesis import given, settings
from hypothesis import strategies as some

from taglab.cli.migrate import (
    REPLACED, library_names, plan, with_library_on_path, with_new_commands)
from taglab.cli.old_imports import MODULES, Names, rewrite_notebook, rewrite_python, rewrite_text
from taglab.errors import LabError
from taglab.runner.environment import environments_folder
from tests.bake.test_cruft import cruft
from tests.conftest import LAB, TEMPLATE, Bake, git
from tests.runner.conftest import Lab

CACHE = environments_folder().parents[1]  # of the user, who is another one in these tests
OLD = "d4c972f"  # the last commit whose labs held the machinery themselves
VIZ = {"np", "plot_scores", "plot_images"}
NAMES = Names(library_names(TEMPLATE / LAB), {"lib.viz": VIZ, "lib.mine": {"one"}})


@pytest.mark.parametrize("old, new", [
    ("from lib.tracking import start_run", "from taglab.tracking import start_run"),
    ("from lib.tracking import pinned as p, start_run  # noqa",
     "from taglab.tracking import pinned as p, start_run  # noqa"),
    ("from lib.tracking import *", "from taglab.tracking import *"),
    ("from lib.search.worker import Trial", "from taglab.search.worker import Trial"),
    ("from lib.training_data import as_tensors", "from taglab.training.data import as_tensors"),
    ("from lib.data import local_copy", "from taglab.datasets import local_copy"),
    ("from goals.main import read_goals", "from taglab.goals import read_goals"),
    # a name that went elsewhere
    ("from lib.store import state_folder", "from taglab.lab import state_folder"),
    ("from lib.tracking import start_run, Interrupted",
     "from taglab.tracking import start_run\nfrom taglab.tracking.signals import Interrupted"),
    ("if x:\n  from lib.viz import plot_scores, plot_pareto",
     "if x:\n  from lib.viz import plot_scores\n  from taglab.search.figures import plot_pareto"),
    ("if x: from lib.viz import plot_scores, plot_pareto",
     "if x: from lib.viz import plot_scores; from taglab.search.figures import plot_pareto"),
    # modules as names
    ("from lib import tracking, viz", "from taglab import tracking\nfrom lib import viz"),
    ("from lib import training_data", "from taglab.training import data as training_data"),
    ("from lib import data as d", "from taglab import datasets as d"),
    ("import lib.tracking as t\nt.start_run", "import taglab.tracking as t\nt.start_run"),
    ("import lib.tracking, lib.viz\nlib.tracking.start_run(lib.viz.plot_scores)",
     "import taglab.tracking, lib.viz\ntaglab.tracking.start_run(lib.viz.plot_scores)"),
    # inside lab/lib
    ("from .tracking import start_run", "from taglab.tracking import start_run"),
    ("from . import tracking, mine", "from taglab import tracking\nfrom lib import mine"),
    # layout
    ("from lib.tracking import (\n    # the start\n    start_run,  # of all\n)",
     "from taglab.tracking import (\n    # the start\n    start_run,  # of all\n)"),
    ("from lib.tracking import (pinned,  # of all\n                          start_run)",
     "# of all\nfrom taglab.tracking import pinned, start_run"),
    (f"from lib.tracking import start_run as {'a' * 30}, pinned as {'b' * 27}",
     f"from taglab.tracking import (\n    start_run as {'a' * 30}, pinned as {'b' * 27})"),
    ("é = 'ü'; from lib.config import load_config; y = 'é'",
     "é = 'ü'; from taglab.config import load_config; y = 'é'"),
    ("\r\nfrom lib.viz import plot_scores, plot_pareto\r\nx = 1\r\n",
     "\r\nfrom lib.viz import plot_scores\r\nfrom taglab.search.figures import plot_pareto\r\n"
     "x = 1\r\n"),
    # texts and comments
    ('{"trainer": "lib.training:fit"}  # see lib.search.plan',
     '{"trainer": "taglab.training:fit"}  # see taglab.search.plan'),
    ('patch("lib.tracking.NoServer")', 'patch("taglab.tracking.connection.NoServer")'),
])
def test_what_moved_is_imported_from_its_new_home(old: str, new: str) -> None:
    text, notes = rewrite_python(old, "lib", NAMES)
    assert (text, notes) == (new, [])
    assert rewrite_python(new, "lib", NAMES) == (new, [])


@pytest.mark.parametrize("text", [
    "from lib.viz import plot_scores, mine",
    "from lib.mine import start_run",
    "from library.tracking import start_run",
    "from other.lib.tracking import x",
    "import lib.viz\nlib.viz.plot_scores",
    "lib = ctypes.CDLL('x')\nlib.search(lib.data)",
    "open('lib/tracking.py'); open('x/lib.data')",
    "from .mine import one\nfrom . import viz",
])
def test_all_else_stays(text: str) -> None:
    assert rewrite_python(text, "lib", NAMES) == (text, [])


@pytest.mark.parametrize("text, note", [
    ("\nfrom lib.store import LAB", "line 2: taglab has no lib.store.LAB; use taglab.lab"),
    ("from lib.search import my_own", "line 1: taglab has no lib.search.my_own"),
    ("import lib.viz as v\nv.plot_pareto()", "line 2: import taglab.search.figures, which now"),
    ("from lib import viz\nviz.plot_pareto()", "line 2: import taglab.search.figures, which now"),
    ("import lib.viz\nlib.viz.plot_pareto()", "line 2: import taglab.search.figures, which now"),
    ("import lib.store\nlib.store.LAB", "line 2: taglab has no lib.store.LAB"),
])
def test_what_only_a_person_can_change_is_named_with_its_line(text: str, note: str) -> None:
    [found] = rewrite_python(text, "", NAMES)[1]
    assert found.startswith(note)


def test_a_module_that_its_owner_changed_stays_theirs() -> None:
    names = Names(NAMES.taglab, {**NAMES.lab, "lib.tracking": {"start_run", "mine"}})
    text = "from lib.tracking import mine, start_run\nfrom lib.search import search\n"
    assert rewrite_python(text, "", names)[0] == text.replace("lib.search", "taglab.search")


def test_a_name_of_two_packages_is_taken_from_that_of_its_old_module_or_left() -> None:
    modules = {"taglab.goals.judge": {"main"}, "taglab.tracking.ui": {"main", "serve"},
               "taglab.search.worker": {"serve"}}
    assert Names(modules, {}).home("lib.tracking", "main") == "taglab.tracking.ui"
    assert Names(modules, {}).home("lib.config", "serve") is None


MOVED = [("lib.tracking", "start_run", "taglab.tracking"),
         ("lib.tracking", "Interrupted", "taglab.tracking.signals"),
         ("lib.viz", "plot_scores", "lib.viz"), ("lib.viz", "plot_pareto", "taglab.search.figures"),
         ("lib.store", "state_folder", "taglab.lab"), ("os", "path", "os")]
LAYOUTS = ["from {module} import {names}", "from {module} import ({names})",
           "from {module} import (\n        {lines},\n)", "from {module} import ({lines}\n    )",
           "from {module} import (  # why\n  {lines})", "from {module} import \\\n  {names}"]


@settings(max_examples=200, deadline=None)
@given(some.lists(some.tuples(some.sampled_from(LAYOUTS), some.sampled_from(["", "    "]),
                              some.lists(some.sampled_from(MOVED), min_size=1, max_size=6),
                              some.sampled_from(["", "_as"])), max_size=4))
def test_every_name_is_imported_once_from_where_it_is_however_it_is_laid_out(imports) -> None:
    lines, expected = ["# ünï"], set()
    for number, (layout, indent, moved, suffix) in enumerate(imports):
        module = moved[0][0]
        known_as = {}
        for each, name, home in moved:
            if each == module:
                known_as[name] = f"{name} as n{number}_{name}{suffix}"
                expected.add((home, name, f"n{number}_{name}{suffix}"))
        statement = layout.format(module=module, names=", ".join(known_as.values()),
                                  lines=",  # é\n         ".join(known_as.values()))
        lines += ["if True:" * bool(indent), indent + statement + "  # é", f"x = 'é{number}'"]
    text, notes = rewrite_python("\n".join(lines), "", NAMES)
    found = [(node.module, alias.name, alias.asname) for node in ast.walk(ast.parse(text))
             if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert (set(found), len(found), notes) == (expected, len(expected), [])
    assert [line for line in text.splitlines() if line.startswith("x")] == lines[3::3]
    assert text.count("#") == "\n".join(lines).count("#"), "a comment was lost"
    assert rewrite_python(text, "", NAMES) == (text, [])


@pytest.mark.parametrize("indent", [1, 4, None])
def test_a_notebook_keeps_its_layout_and_its_magic(indent: int | None) -> None:
    cells = [["%matplotlib inline\n", "from lib.tracking import connect\n", "!ls | grep 'é'"],
             ["%%bash\n", "python -m lib.tracking summary (\n"],
             ["from lib.store import LAB"]]
    notebook = {"cells": [{"cell_type": "code", "source": source} for source in cells]
                + [{"cell_type": "markdown", "source": "from lib.tracking"}], "nbformat": 4}
    text = json.dumps(notebook, indent=indent, ensure_ascii=False) + "\n"
    new, notes = rewrite_notebook(text, NAMES)
    assert new == text.replace("lib.tracking import", "taglab.tracking import").replace(
        "lib.tracking summary", "taglab.tracking summary")
    assert notes == ["cell 3, line 1: taglab has no lib.store.LAB; use taglab.lab.lab_root()"]


@pytest.mark.parametrize("old, new", [
    ('trainer = "lib.training:fit"', 'trainer = "taglab.training:fit"'),
    ("[lib.data]\nlib.search = 1", "[lib.data]\nlib.search = 1"),
    ("- python -m lib.tracking summary", "- python -m taglab.tracking summary"),
    ("`lib.search` and from lib.viz import x", "`taglab.search` and from lib.viz import x"),
])
def test_texts_name_the_new_modules(old: str, new: str) -> None:
    assert rewrite_text(old, NAMES) == new


@pytest.mark.parametrize("old, new", [
    ("  PYTHONPATH: /drone/src/lab", "  PYTHONPATH: /drone/src/lab:/drone/src/vendor"),
    ('PYTHONPATH: "/drone/src/lab:/opt"', 'PYTHONPATH: "/drone/src/lab:/drone/src/vendor:/opt"'),
    ("export PYTHONPATH=$PWD/lab; x", "export PYTHONPATH=$PWD/lab:$PWD/vendor; x"),
    ("- PYTHONPATH=lab python x", "- PYTHONPATH=lab:vendor python x"),
    ("{PYTHONPATH: lab, A: /b/lab}", "{PYTHONPATH: lab:vendor, A: /b/lab}"),
    ("PYTHONPATH: lab:vendor", "PYTHONPATH: lab:vendor"),
    ("PYTHONPATH: /drone/src/lab/lib", "PYTHONPATH: /drone/src/lab/lib"),
    ("OTHER: /drone/src/lab", "OTHER: /drone/src/lab"),
])
def test_the_library_is_put_on_the_path(old: str, new: str) -> None:
    assert with_library_on_path(old) == new


def test_commands_name_the_new_places() -> None:
    assert with_new_commands("python goals/main.py; python3 runtimes/local init; python my/goals/"
                             "main.py; edit runtimes/local/machine.toml, runtimes/local/x") == (
        "python -m taglab.goals; python3 vendor/taglab init; python my/goals/"
        "main.py; edit runtimes/machine.toml, runtimes/local/x")


def test_the_new_homes_exist() -> None:
    assert set(MODULES.values()) <= set(NAMES.taglab)
    goals = "goals/test_goals.py"
    assert (TEMPLATE / LAB / goals).read_text() == REPLACED[goals], "the template has another one"


MINE = '''\
"""Mine."""
from lib.config import load_config
from lib.search import search
from lib.tracking import start_run
from lib.viz import plot_pareto, plot_scores
from lib.mine import twice

print(load_config, search, start_run, plot_pareto, plot_scores, twice)
'''


@pytest.fixture(autouse=True)
def cached_runner(person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the environment of the `lab` command made once for all tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))


@pytest.fixture
def old_template(person: Path, tmp_path: Path) -> Path:
    """Return the template as it was before 0.2."""
    if subprocess.run(["git", "cat-file", "-e", OLD], cwd=TEMPLATE, capture_output=True).returncode:
        pytest.skip(f"this clone of the template has no commit {OLD}")
    template = tmp_path / "old"
    template.mkdir()
    git("archive", f"--output={tmp_path / 'old.tar'}", OLD, cwd=TEMPLATE)
    shutil.unpack_archive(tmp_path / "old.tar", template, filter="data")
    return template


@pytest.fixture
def old_lab(old_template: Path, tmp_path: Path) -> Lab:
    """Return a lab that was baked before 0.2, with files of its owner."""
    labs = tmp_path / "labs"
    lab = Lab(Path(cookiecutter(str(old_template), no_input=True, output_dir=str(labs))))
    add_mine(lab)
    return lab


def add_mine(lab: Lab) -> None:
    """Write and commit what an owner does."""
    lab.write("lab/processes/mine/main.py", MINE)
    lab.write("lab/lib/mine.py", "from .provenance import config_hash\n\n\ndef twice():\n"
                                 "    return 2 * config_hash({})\n")
    lab.write("runtimes/local/machine.toml", "[limits]\ntimeout_minutes = 600\n")
    commit(lab)


def commit(lab: Lab) -> None:
    """Commit everything."""
    lab.git("add", "-A")
    lab.git("commit", "-q", "-m", "x")


@pytest.fixture
def lab_with_library(old_lab: Lab, bake: Bake) -> Lab:
    """Return the same lab after its owner has copied the library in."""
    shutil.copytree(bake(project_name="Beside") / "vendor", old_lab.path / "vendor")
    commit(old_lab)
    return old_lab


def test_an_old_lab_works_with_the_library_afterwards(lab_with_library: Lab) -> None:
    lab = lab_with_library
    shown = lab.lab("migrate")
    assert shown.returncode == 0 and "Nothing was changed. To do this, type" in shown.stdout
    assert lab.git("status", "--porcelain") == "" and "Left to you" not in shown.stdout

    done = lab.lab("migrate", "--yes")
    assert done.returncode == 0, done.stdout
    assert "git checkout . && rm runtimes/machine.toml" in done.stdout
    assert (lab.path / "runtimes/machine.toml").read_text() == "[limits]\ntimeout_minutes = 600\n"
    changed = set(re.findall(r"(?m)^\+\+\+ b/(.*)$", shown.stdout))
    removed = set(re.findall(r"(?m)^  (\S+)$", shown.stdout))
    assert {"lab/processes/mine/main.py", "lab/lib/mine.py", ".drone.yml"} <= changed
    assert {line[3:]: line[:2] for line in lab.git("status", "--porcelain").splitlines()} == {
        **dict.fromkeys(changed, " M"), **dict.fromkeys(removed, " D"),
        "runtimes/machine.toml": "??"}

    assert not (lab.path / "runtimes/local").exists()
    assert {file.name for file in (lab.path / "lab/lib").iterdir()} == {
        "__init__.py", "mine.py", "test_viz.py", "viz.py"}
    assert (lab.path / ".drone.yml").read_text().count("/drone/src/lab:/drone/src/vendor") == 5
    assert "vendor/taglab" in (lab.path / ".lab/origin.git/hooks/post-receive").read_text()
    assert lab.run("git", "grep", "-nE", r"\blib\.(tracking|search|config|testing|training)|"
                   "runtimes/local|goals/main", "--", ":!vendor", ":!README.md").stdout == ""
    commit(lab)
    assert lab.run(sys.executable, "-m", "flake8").stdout == ""
    for process in (lab.path / "lab" / "processes").iterdir():
        if process.name == "pytorch_example" and not importlib.util.find_spec("torch"):
            continue
        path = os.pathsep.join(map(str, (process, lab.path / "lab", lab.path / "vendor")))
        done = lab.run(sys.executable, "-c", "import main", PYTHONPATH=path)
        assert done.returncode == 0, done.stdout
    assert lab.lab("lint").returncode == 0
    assert lab.lab("migrate").stdout == "Nothing to do: the lab uses vendor/taglab.\n"


def test_cruft_update_leaves_the_rest_to_it(old_template: Path, template: Path,
                                            tmp_path: Path) -> None:
    source = Lab(old_template)
    source.git("init", "-q", "-b", "main")
    commit(source)
    assert cruft("create", str(source.path), "-y", cwd=tmp_path).returncode == 0
    lab = Lab(tmp_path / "my-lab")
    settings = (lab.path / "runtimes/local/machine.toml").read_text().replace("= 60 ", "= 600 ")
    lab.write("lab/processes/mine/main.py", MINE)
    lab.write("runtimes/local/machine.toml", settings)
    commit(lab)
    shutil.copytree(template, source.path, dirs_exist_ok=True, symlinks=True)
    for name in set(git("ls-files", "-z", cwd=source.path).split("\0")) - {""}:
        if not (template / name).is_symlink() and not (template / name).exists():
            (source.path / name).unlink()
    commit(source)

    assert cruft("update", "-y", cwd=lab.path).returncode == 0
    commit(lab)
    done = lab.lab("migrate", "--yes").stdout
    assert "runner/machine.toml" in done, "cruft took the settings there"
    assert {line[3:] for line in lab.git("status", "--porcelain").splitlines()} == {
        "lab/processes/mine/main.py", "runtimes/machine.toml"}
    new = (template / "src/taglab/runner/machine.toml").read_text()
    assert (lab.path / "runtimes/machine.toml").read_text() == new.replace("= 60 ", "= 600 ")
    assert "vendor/taglab" in (lab.path / ".lab/origin.git/hooks/post-receive").read_text()


def test_files_that_the_owner_changed_are_named_and_left(lab_with_library: Lab) -> None:
    lab = lab_with_library
    for name in ("lab/lib/ui.py", "runtimes/local/git.py", "conftest.py"):
        lab.write(name, (lab.path / name).read_text() + "MINE = 1\n")
    lab.write("lab/processes/broken.py", "from lib.tracking import (\n")
    lab.write("vendor/taglab/ci.py", "")
    commit(lab)
    done = lab.lab("migrate", "--yes").stdout
    assert re.findall(r"(?m)^  (\S+): was changed here", done) == ["lab/lib/ui.py",
                                                                   "runtimes/local/git.py"]
    assert "vendor/taglab: not as it was delivered are ci.py." in done
    assert "lab/processes/broken.py, line 1: is not Python" in done
    assert [(lab.path / name).exists() for name in ("lab/lib/ui.py", "lab/lib/store.py")] == [
        True, False]
    assert "from taglab.testing import environment" in (lab.path / "conftest.py").read_text()


def test_it_refuses_what_could_not_be_undone_and_a_lab_without_the_library(old_lab: Lab) -> None:
    with pytest.raises(LabError, match="vendor/taglab is missing. Type: cruft update"):
        plan(old_lab.path)
    shutil.copytree(TEMPLATE / "src" / "taglab", old_lab.path / "vendor" / "taglab")
    done = old_lab.lab("migrate", "--yes")
    assert done.returncode == 1 and "something is not committed" in done.stdout
    assert (old_lab.path / "runtimes/local").exists()


def test_a_lab_of_today_has_nothing_to_migrate(bake: Bake) -> None:
    done = Lab(bake()).lab("migrate")
    assert (done.returncode, done.stdout) == (0, "Nothing to do: the lab uses vendor/taglab.\n")
