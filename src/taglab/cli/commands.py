"""The commands of `lab`, in groups, and the help that lists them: nothing need be installed."""
from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """Where a command is defined, and how it is typed."""

    module: str  # of this package
    function: str
    example: str  # or several, one a line


GROUPS = {
    "Run": {
        "launch": Command("builds", "launch", "lab launch svm-search"),
        "restart": Command("builds", "restart", "lab restart\nlab restart 2 --skip-done"),
        "cancel": Command("builds", "cancel", "lab cancel\nlab cancel 3"),
    },
    "See": {
        "status": Command("builds", "status", "lab status"),
        "builds": Command("builds", "list_builds", "lab builds --json"),
        "logs": Command("builds", "logs", "lab logs\nlab logs 1 --follow"),
        "runs": Command("results", "runs", "lab runs --build\nlab runs --build 2 --json"),
        "diff": Command("compare", "diff", "lab diff svm-search-v1 svm-search-v2"),
        "verify": Command("compare", "verify", "lab verify svm-search-v1"),
        "report": Command("report", "report", "lab report svm-search-v1"),
        "ui": Command("results", "ui", "lab ui --port 5001"),
        "goals": Command("results", "goals", "lab goals --json"),
        "notebook": Command("notebook", "notebook",
                            "lab notebook lab/analysis/compare_runs.ipynb"),
        "tensorboard": Command("results", "tensorboard", "lab tensorboard --port 6007"),
    },
    "Change": {
        "init": Command("project", "init", "lab init"),
        "new": Command("project", "new", "lab new predict_price"),
        "add": Command("project", "add", "lab add seaborn"),
        "lock": Command("project", "lock", "lab lock"),
        "data": Command("data", "data", "lab data add measurements/prices.csv"),
        "lint": Command("project", "lint", "lab lint"),
        "envs": Command("project", "envs", "lab envs --prune --days 7"),
        "doctor": Command("doctor", "doctor", "lab doctor"),
        "clean": Command("clean", "clean", "lab clean --keep 20 --yes"),
        "migrate": Command("migrate", "migrate", "lab migrate"),
    },
    "Share": {
        "connect": Command("project", "connect",
                           "lab connect https://git.example/team/my-lab.git"),
        "image": Command("project", "image", "lab image registry.example/team/my-lab"),
        "replay": Command("results", "replay", "lab replay"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
# What people type who know other programs; words that merely look alike need no row.
SYNONYMS = {
    "run": "launch", "start": "launch", "submit": "launch", "push": "launch", "tag": "launch",
    "retry": "restart", "rerun": "restart", "resume": "restart", "stop": "cancel",
    "kill": "cancel", "list": "builds", "ls": "builds", "ps": "status", "show": "ui",
    "results": "runs", "mlflow": "ui", "test": "goals", "jupyter": "notebook", "create": "new",
    "install": "add", "pip": "add", "check": "lint", "setup": "init", "remote": "connect",
    "docker": "image", "sync": "replay",
    "dvc": "data", "dataset": "data", "datasets": "data", "compare": "diff",
    "reproduce": "verify", "export": "report", "diagnose": "doctor", "prune": "clean",
    "gc": "clean",
}


def help_text() -> str:
    """Return what `lab --help` shows: each command with the first line of its own help."""
    width = max(map(len, COMMANDS)) + 2
    lines = ["Usage: lab [OPTIONS] COMMAND [ARGS]...", "",
             "  Run this lab's experiments and look at their results.", "", "Options:",
             "  --version   Show the version and exit.",
             "  -h, --help  Show this message and exit."]
    found = {module: _summaries(module)
             for module in {command.module for command in COMMANDS.values()}}
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:{width}}{found[command.module][command.function]}"
                                     for name, command in group.items())]
    return "\n".join(lines)


def nearest_command(word: str) -> str | None:
    """Return the command that somebody may have meant who typed `word`."""
    from difflib import get_close_matches  # slow to import, and seldom needed

    near = get_close_matches(word.lower(), [*COMMANDS, *SYNONYMS], n=1)
    return SYNONYMS.get(near[0], near[0]) if near else None


def _summaries(module: str) -> dict[str, str]:
    """Return the first line of each function's docstring; to import the module takes longer."""
    tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8"))
    return {node.name: (ast.get_docstring(node) or "").partition("\n")[0]
            for node in tree.body if isinstance(node, ast.FunctionDef)}
