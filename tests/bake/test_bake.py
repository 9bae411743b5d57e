"""What a new lab holds: with the default answers, and with each choice changed."""
from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

from taglab.engines.drone.conditions import Event
from taglab.engines.drone.decide import pipeline_to_run, triggered_pipelines
from taglab.engines.drone.outcome import PipelineState, PlannedStep, plan
from tests.conftest import LAB, TEMPLATE, Bake, files_below, git

QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text())
OPTIONS = {name: choices for name, choices in QUESTIONS.items()
           if isinstance(choices, list) and not name.startswith("_")}
MATRIX = [{}] + [{name: choice} for name, choices in OPTIONS.items() for choice in choices[1:]]
LEFT_OUT = {("deep_learning", "none"): "lab/processes/pytorch_example/"}
LIBRARY = "vendor/taglab/"
PYTHON_PATH = "/drone/src/lab:/drone/src/vendor"


def expected_files(template: Path, answers: dict[str, str]) -> set[str]:
    """Return the files of a lab with these answers: the template's and the library's."""
    expected = files_below(template / LAB) - {"vendor/taglab"}
    for answer in answers.items():
        folder = LEFT_OUT.get(answer, "no folder")
        expected = {name for name in expected if not name.startswith(folder)}
    library = {LIBRARY + name for name in files_below(template / "src" / "taglab")}
    return expected | library | {LIBRARY + "SHA256SUMS"}


@pytest.mark.parametrize("answers", MATRIX, ids=str)
def test_a_lab_holds_exactly_the_files_of_the_template(
        answers: dict[str, str], template: Path, bake: Bake) -> None:
    lab = bake(**answers)
    assert files_below(lab) == expected_files(template, answers)
    assert not [folder for folder in (lab / "lab").rglob("*")
                if folder.is_dir() and not any(folder.iterdir())], "an empty folder was left"


@pytest.mark.parametrize("answers", MATRIX, ids=str)
def test_no_template_syntax_is_left_in_a_lab(answers: dict[str, str], bake: Bake) -> None:
    lab = bake(**answers)
    for name in files_below(lab):
        text = (lab / name).read_text(encoding="utf-8")
        if not name.startswith(LIBRARY):
            assert "cookiecutter" not in text, name
            assert not re.search(r"\{\{|\{%|\{#", text), name
        assert text.endswith("\n") and not text.endswith("\n\n") or not text, name


@pytest.mark.parametrize("answers", MATRIX, ids=str)
def test_every_file_of_a_lab_can_be_parsed(answers: dict[str, str], bake: Bake) -> None:
    lab = bake(**answers)
    for name in files_below(lab):
        text = (lab / name).read_text(encoding="utf-8")
        if name.endswith(".toml"):
            tomllib.loads(text)
        elif name.endswith(".py"):
            compile(text, name, "exec")
        elif name.endswith(".ipynb"):
            json.loads(text)
        elif name.endswith(".yml"):
            list(yaml.safe_load_all(text))


def test_without_pytorch_nothing_names_it_as_a_package(bake: Bake) -> None:
    lab = bake(deep_learning="none")
    assert not (lab / "lab/processes/pytorch_example").exists()
    assert not re.search(r"(?mi)^(torch|nvidia|triton)\b", (lab / "requirements.txt").read_text())
    for name in files_below(lab):
        if not name.startswith(LIBRARY):
            assert not re.search(r"(?m)^(import|from) torch\b", (lab / name).read_text()), name


def test_notebooks_are_copied_byte_for_byte(template: Path, bake: Bake) -> None:
    lab = bake()
    notebook = "lab/analysis/compare_runs.ipynb"
    assert (lab / notebook).read_bytes() == (template / LAB / notebook).read_bytes()


def test_the_first_commit_holds_everything(bake: Bake) -> None:
    lab = bake()
    assert git("status", "--porcelain", cwd=lab) == ""
    assert set(git("ls-files", cwd=lab).split()) == files_below(lab)
    assert git("branch", "--show-current", cwd=lab) == "main\n"
    assert git("log", "--format=%an <%ae> %s", cwd=lab) == "Ann Lee <ann@lab.example> A new lab\n"


def test_the_remote_is_found_from_any_folder_and_after_a_move(bake: Bake, tmp_path: Path) -> None:
    lab = bake()
    assert git("remote", "get-url", "origin", cwd=lab) == ".lab/origin.git\n"
    git("ls-remote", "origin", cwd=lab / "lab" / "lib")
    shutil.move(lab, tmp_path / "moved")
    git("ls-remote", "origin", cwd=tmp_path / "moved" / "goals")


def test_git_ignores_what_runs_leave_behind(bake: Bake) -> None:
    lab = bake()
    for name in (".venv/x", "mlflow.db", "mlflow.db-wal", "mlartifacts/1/x", ".lab/x",
                 "lab/lib/__pycache__/x.pyc", ".pytest_cache/x", "lab/.ipynb_checkpoints/x"):
        (lab / name).parent.mkdir(parents=True, exist_ok=True)
        (lab / name).touch()
    assert git("status", "--porcelain", cwd=lab) == ""


def test_without_git_a_lab_is_files_only(bake: Bake, capfd: pytest.CaptureFixture[str]) -> None:
    lab = bake(start_git="no")
    assert not (lab / ".git").exists() and not (lab / ".lab").exists()
    shown = capfd.readouterr().out
    assert "  cd my-lab\n  git init -b main && git add -A && git commit -m 'A new lab'\n" in shown
    assert "  python3 vendor/taglab init\n" in shown


def test_the_last_words_are_the_next_commands(bake: Bake,
                                              capfd: pytest.CaptureFixture[str]) -> None:
    bake(project_name="Rain & Snow")
    assert (" Type:\n  cd rain-snow\n  git tag run-examples-v1\n  git push origin run-examples-v1\n"
            "  python3 vendor/taglab init") in capfd.readouterr().out


def test_a_second_bake_deletes_no_file_of_the_owner(bake: Bake) -> None:
    lab = bake()
    mine = {"notes.md": "mine", "vendor/mine.py": "x = 1\n", "lab/lib/mine.py": "y = 2\n",
            "lab/processes/pytorch_example/mine.py": "z = 3\n"}
    for name, text in mine.items():
        (lab / name).write_text(text)
    head = git("rev-parse", "HEAD", cwd=lab)
    for answers in ({"overwrite": True}, {"overwrite": True, "deep_learning": "none"}):
        bake(**answers)
        assert {name: (lab / name).read_text() for name in mine} == mine
    (lab / "README.md").write_text("My own words.\n")
    bake(overwrite=True, skip=True)
    assert (lab / "README.md").read_text() == "My own words.\n"
    assert git("rev-parse", "HEAD", cwd=lab) == head
    assert not git("diff", "--cached", "--name-only", cwd=lab)


def read_pipelines(lab: Path) -> dict[str, dict]:
    """Return the pipelines of `.drone.yml` by name."""
    documents = list(yaml.safe_load_all((lab / ".drone.yml").read_text(encoding="utf-8")))
    pipelines = {document["name"]: document for document in documents}
    assert len(pipelines) == len(documents), "two pipelines have the same name"
    return pipelines


def commands_of(pipeline: dict) -> list[str]:
    """Return the commands of all steps."""
    return [command for step in pipeline["steps"] for command in step["commands"]]


def plans(lab: Path, ref: str) -> dict[str, list[PlannedStep]]:
    """Return the steps that a push of a ref runs, by pipeline, as Drone decides."""
    text = (lab / ".drone.yml").read_text(encoding="utf-8")
    event = Event("tag" if ref.startswith("refs/tags/") else "push", ref)
    return {pipeline.name: plan(pipeline_to_run(text, pipeline.name, {}), event)
            for pipeline in triggered_pipelines(text, event)}


@pytest.mark.parametrize("answers", MATRIX, ids=str)
def test_a_tag_runs_its_process_or_all_and_then_checks_the_goals(
        answers: dict[str, str], bake: Bake) -> None:
    lab = bake(**answers)
    assert list(read_pipelines(lab)) == ["experiments", "checks", "publish-image"]
    processes = [folder.name for folder in sorted((lab / "lab" / "processes").iterdir())]
    assert len(processes) == (2 if answers.get("deep_learning") == "none" else 3)
    tags = {process.replace("_", "-"): [process] for process in processes}
    for tag, wanted in {"run-examples": processes, **tags}.items():
        [(pipeline, [clone, *steps])] = plans(lab, f"refs/tags/{tag}-v1").items()
        report = [steps.pop()] if tag == "run-examples" else []
        goals = steps.pop()
        assert pipeline == "experiments" and clone.name == "clone"
        assert sorted(command for step in steps for command in step.step.commands) == [
            f"python lab/processes/{process}/main.py" for process in wanted]
        assert goals.step.commands == ["python -m taglab.goals"]
        assert all(step.step.commands == ["python -m taglab.report"] for step in report)
        assert [step.depends_on for step in (*steps, goals, *report)] == [
            {step.name} for step in (clone, *steps, goals)][:len(steps) + 1 + len(report)]
    assert plans(lab, "refs/tags/v1") == {} and list(plans(lab, "refs/heads/main")) == ["checks"]


@pytest.mark.parametrize("wrong", ["flake8", "tests"])
def test_style_and_tests_are_both_checked_and_either_fails_the_build(
        wrong: str, bake: Bake) -> None:
    state = PipelineState(plans(bake(), "refs/heads/main")["checks"])
    [clone] = state.settle()
    state.start(clone.name, 1)
    state.finish(clone.name, 0, 2)
    ready = [planned.name for planned in state.settle()]
    assert ready == ["flake8", "tests"], "both start before either can fail"
    for name in ready:
        state.start(name, 3)
    for name in sorted(ready, key=lambda name: name != wrong):  # the failure first
        state.finish(name, int(name == wrong), 4)
    assert {name: step.status for name, step in state.steps.items()} == {
        "clone": "success", "flake8": "success", "tests": "success", wrong: "failure"}
    assert state.result == "failure"


@pytest.mark.parametrize("answers", [*MATRIX, {"project_slug": "123"}], ids=str)
def test_every_pipeline_means_to_drone_what_it_says(answers: dict[str, str], bake: Bake) -> None:
    lab = bake(**answers)
    text = (lab / ".drone.yml").read_text(encoding="utf-8")
    assert text.startswith("kind: pipeline\n"), "what is before it would be a document"
    assert not re.search(r"(?m)^\.\.\.|^---.|\n---\n*\Z|<<:|\$(?!\{DRONE_TAG##)|\\", text)
    pipelines = read_pipelines(lab)
    assert pipelines.pop("publish-image")["steps"][0].keys() == {"name", "image", "settings"}
    for pipeline in pipelines.values():
        assert (pipeline["kind"], pipeline["type"]) == ("pipeline", "kubernetes")
        assert {key for key in pipeline if key[:2] != "x-"} <= {
            "kind", "type", "name", "trigger", "environment", "resources",
            "steps"}, "needs no trusted repository"
        requests = pipeline["resources"]["requests"]
        assert type(requests["cpu"]) is int and re.fullmatch(r"\d+GiB", requests["memory"])
        assert all(isinstance(value, str) for value in pipeline["environment"].values())
        names = [step["name"] for step in pipeline["steps"]]
        assert len(set(names)) == len(names)
        for step in pipeline["steps"]:
            assert step.keys() <= {"name", "image", "commands", "environment", "when",
                                   "depends_on", "failure"}
    for path in re.findall(r"[\w/]+\.py\b", text):
        assert (lab / path).exists(), path


def test_all_pipelines_but_the_checks_know_the_servers(bake: Bake) -> None:
    lab = bake(project_slug="null", mlflow_tracking_uri="https://mlflow.example/a%20b",
               s3_endpoint="http://10.0.0.1:9000")
    pipelines = read_pipelines(lab)
    del pipelines["publish-image"]
    assert pipelines.pop("checks")["environment"] == {"PYTHONPATH": PYTHON_PATH}
    for pipeline in pipelines.values():
        assert pipeline["environment"] == {
            "PYTHONPATH": PYTHON_PATH, "PYTHONUNBUFFERED": "1",
            "MLFLOW_TRACKING_URI": "https://mlflow.example/a%20b",
            "MLFLOW_S3_ENDPOINT_URL": "http://10.0.0.1:9000", "MLFLOW_EXPERIMENT_NAME": "null"}
        for step in pipeline["steps"]:
            assert step["name"] == "goals" or step["environment"] == {
                name: {"from_secret": name.lower()}
                for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


def test_drone_reads_every_answer_as_the_text_that_was_typed(bake: Bake) -> None:
    lab = bake(project_slug="0x1f", runner_image="host.example/null:0b1",
               mlflow_tracking_uri="http://a:1", s3_endpoint="https://b/__c__/%20")
    pipelines = read_pipelines(lab)
    assert list(pipelines["experiments"]["environment"].values())[2:] == [
        "http://a:1", "https://b/__c__/%20", "0x1f"]
    settings = pipelines["publish-image"]["steps"][0]["settings"]
    assert (settings["repo"], settings["registry"]) == ("host.example/null", "host.example")
    text = (lab / ".drone.yml").read_text(encoding="utf-8")
    assert "results to `http://a:1`" in re.sub(r"\s+", " ", (lab / "README.md").read_text())
    for answer in ("http://a:1", "https://b/__c__/%20", "0x1f", "host.example/null:0b1",
                   "host.example/null", "host.example"):
        assert f' "{answer}"\n' in text and f": {answer}\n" not in text


@pytest.mark.parametrize("image", [
    "123-runner", "registry.example:5000/team/lab", "lab:2024.1", "no"])
def test_all_steps_use_one_image_tagged_with_the_requirements_hash(image: str, bake: Bake) -> None:
    images = []
    for choice in OPTIONS["deep_learning"]:
        lab = bake(runner_image=image, deep_learning=choice, project_slug=f"lab-{choice}")
        images += {step["image"] for pipeline in read_pipelines(lab).values()
                   for step in pipeline["steps"] if "commands" in step}
        assert not list(lab.rglob("__pycache__"))
    if image == "lab:2024.1":
        assert images == [image, image]
    else:
        assert images[0] != images[1]
        assert all(re.fullmatch(re.escape(image) + ":[0-9a-f]{12}", name) for name in images)
