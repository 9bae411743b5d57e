"""Every command of the lab's README, typed in its order by somebody who has just made the lab."""
from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from .conftest import BakedLab, bake

SERVER = "https://git.example/team/my-lab.git"


def blocks(readme: str) -> list[list[str]]:
    """Return the commands of each shell block, without their comments."""
    return [[re.sub(r"\s+#.*", "", line) for line in block.splitlines()]
            for block in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)]


def table(readme: str) -> dict[str, list[str]]:
    """Return the commands of the table `I want to …`, by what one wants."""
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", readme, re.MULTILINE)
    return {want: re.findall(r"`([^`]+)`", typed) for want, typed in rows if want[0] not in "I-"}


@pytest.mark.xdist_group("readme")
def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    lab = bake(tmp_path / "labs", deep_learning="none")
    readme = (lab.path / "README.md").read_text()
    [first] = blocks(readme)
    rows = table(readme)

    assert first[1] == ". .venv/bin/activate" and first[-1] == "lab ui"
    for command in (first[0], *first[2:-1]):
        lab.ok(command)
    with lab.start(f"timeout --foreground 120 {first[-1]}") as shown:
        assert any("http://127.0.0.1:" in line for line in shown.stdout)
        os.killpg(shown.pid, signal.SIGINT)

    special = {
        "see results, compare runs": lambda *_: None,  # `lab ui` above, and the notebook's test
        "have each package's hash checked": lambda *_: None,  # tests/cli/test_add.py
        "work in a notebook": start_jupyterlab,
        "use the results in a script elsewhere": use_a_script_elsewhere,
        "change a parameter for good": change_a_parameter,
        "add data to the commit, get it elsewhere": add_data,
        "run experiments in a colleague's clone": use_a_clone,
        "see what changed between two tags": compare_tags,
        "run a tag again and compare the results": lambda *_: None,  # tested elsewhere
        "stop a build": stop_a_build,
        "move to a team's server": move_to_a_server,
        "run the tests": run_some_tests,
    }
    for want, commands in rows.items():
        special.get(want, run_all)(lab, commands)
    assert set(special) <= set(rows), "the README changed"
    assert len(rows) == 34, "a row of the README is not tested"
    assert "seaborn==" in (lab.path / "requirements.txt").read_text()
    assert lab.build(5)["status"] == "success", lab.ok("lab logs 5")


def run_all(lab: BakedLab, commands: list[str]) -> None:
    """Type the commands."""
    for command in commands:
        lab.ok(command)


def change_a_parameter(lab: BakedLab, commands: list[str]) -> None:
    """Edit the file that is meant, commit, and push a new tag."""
    assert commands[0] == "config.toml"
    config = lab.path / "lab/processes/svm_search/config.toml"
    config.write_text(config.read_text().replace("folds = 3", "folds = 5"))
    run_all(lab, commands[1:])
    lab.push("svm-search-v9")
    assert lab.runs(tag="svm-search-v9")[0]["params"]["folds"] == "5"


def compare_tags(lab: BakedLab, commands: list[str]) -> None:
    """The second tag has changed a parameter, which its name tells."""
    [second] = lab.ok("git tag --list 'svm-search-v2*'").split()
    [command] = commands
    shown = lab.ok(command.replace("svm-search-v2", second))
    assert re.search(r"folds +3 +.* 5", shown), shown


def add_data(lab: BakedLab, commands: list[str]) -> None:
    """The file is there, and the cache is not the one of whoever tests."""
    (lab.path.parent / "prices.csv").write_text("day,price\n")
    for command in commands:
        lab.ok(command, LAB_DATA=str(lab.path.parent / "data"))
    assert '"prices.csv" = ' in (lab.path / "data.lock").read_text()


def start_jupyterlab(lab: BakedLab, commands: list[str]) -> None:
    """It starts and says its release; a cell that runs in it is tested elsewhere."""
    assert commands == ["lab notebook", ".venv"] and (lab.path / ".venv").exists()
    assert re.search(r"(?m)^4\.", lab.ok(f"{commands[0]} --version"))


def use_a_script_elsewhere(lab: BakedLab, commands: list[str]) -> None:
    """The script lies beside the lab, and counts the runs that are in the lab's store."""
    typed, call = commands
    folder = lab.path.parent / "elsewhere"
    folder.mkdir()
    (folder / "script.py").write_text(
        f"import taglab.tracking\n{call}\nimport mlflow\nprint(len(mlflow.search_runs()), 'runs')")
    printed = lab.ok(f"deactivate; cd {folder} && {typed}")
    assert int(printed.split()[-2]) >= 3 and [file.name for file in folder.iterdir()] == [
        "script.py"], "it has a store of its own"


def move_to_a_server(lab: BakedLab, commands: list[str]) -> None:
    """A bare repository stands for the one on the server."""
    server = lab.path.parent / "server.git"
    lab.ok(f"git init -q --bare {server} && git config url.{server}.insteadOf {SERVER}")
    run_all(lab, commands)
    lab.ok("git push -q origin main")
    assert "refs/heads/main" in lab.ok("git ls-remote origin")
    assert lab.ok("git config remote.local.url").strip() == ".lab/origin.git"


def stop_a_build(lab: BakedLab, commands: list[str]) -> None:
    """The build has ended by now; stopping one that runs is tested elsewhere."""
    assert commands == ["lab cancel 3"]
    assert "build 3 has already ended" in lab.sh(commands[0]).stdout


def run_some_tests(lab: BakedLab, commands: list[str]) -> None:
    """The command must work; that all of them pass is tested elsewhere, and takes minutes."""
    for command in commands:
        assert " passed" in lab.ok(command, PYTEST_ADDOPTS="lab/lib/test_viz.py")


def use_a_clone(lab: BakedLab, commands: list[str]) -> None:
    """Do it in a clone of the lab, whose `origin` is the lab."""
    lab.ok("git clone -q . ../colleague")
    colleague = BakedLab(lab.path.parent / "colleague")
    run_all(colleague, commands)
    assert colleague.build(1)["status"] == "success"
