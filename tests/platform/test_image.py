"""The image of the steps: built by a real engine, and run as the runner of a cluster runs it."""
from __future__ import annotations

import json
import re
import shlex
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.lab.conftest import RUNS, BakedLab, bake
from tests.runner import conftest  # noqa: F401  puts the runner on sys.path

from taglab.engines.drone.decide import pipeline_to_run
from taglab.engines.drone.script import ENTRYPOINT, step_script
from taglab.engines.drone.variables import (
    Commit, Repository, Stage, drone_variables, step_variables)
from taglab.runner.requirements import read_requirements
from taglab.runner.secrets import look_up_secrets

from .engine import BASE, Engine, docker_engine

Build = Callable[..., str]

pytestmark = pytest.mark.xdist_group("image")  # one process, so that it is built once

TAG = "sklearn-example-v1"
WORKSPACE = "/drone/src"
CLONE = ("git init --quiet && git fetch --quiet --depth=1 /origin refs/tags/$DRONE_TAG && "
         "git -c advice.detachedHead=false checkout --quiet FETCH_HEAD")
FEW = ["numpy", "contourpy", "cycler", "fonttools", "kiwisolver", "matplotlib", "packaging",
       "pillow", "pyparsing", "python-dateutil", "six"]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A Docker engine that has the base image."""
    with docker_engine() as running:
        yield running


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> BakedLab:
    """A lab with one tag, in which `lab image` has been typed; without PyTorch, which is large."""
    made = bake(tmp_path_factory.mktemp("image"), deep_learning="none")
    (made.path / "build").write_text(
        made.ok(f"{shlex.quote(sys.executable)} vendor/taglab image registry.example/team/lab"))
    made.ok(f"git add .drone.yml && git commit --quiet --message=Image && git tag {TAG}")
    return made


@pytest.fixture(scope="module")
def build(engine: Engine, lab: BakedLab) -> Build:
    """Return a function that runs the build that `lab image` prints, perhaps in a changed lab."""
    command = re.search("docker build (.*) [.] &&", (lab.path / "build").read_text())[1]
    file, dockerfile, tag, name = shlex.split(command)

    def build(folder: Path = lab.path, new_tag: str = "", *words: str) -> str:
        made = f"{name}{new_tag}"
        engine.build(file, folder / dockerfile, tag, made, *words, folder)
        return made
    return build


@pytest.fixture(scope="module")
def image(build: Build) -> str:
    """The image that the steps of the lab name."""
    return build()


@pytest.fixture
def changed(lab: BakedLab, tmp_path: Path) -> Path:
    """A copy of the lab, to change it."""
    lab.ok(f"cp -r . {tmp_path}/lab")
    return tmp_path / "lab"


@pytest.fixture(scope="module")
def few(lab: BakedLab) -> list[str]:
    """Some of the lab's requirements, which are fast to install."""
    return [line for line in requirements(lab) if line.partition("==")[0] in FEW]


@pytest.fixture
def index(tmp_path: Path, few: list[str]) -> Iterator[str]:
    """The address of a package index that has another build of one package."""
    version = next(line for line in few if line.startswith("six==")).partition("==")[2] + "+cpu"
    folder = tmp_path / "index" / "six"
    folder.mkdir(parents=True)
    about = f"six-{version}.dist-info"
    files = {"six.py": "", f"{about}/RECORD": "",
             f"{about}/METADATA": f"Metadata-Version: 2.1\nName: six\nVersion: {version}\n",
             f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    with zipfile.ZipFile(folder / f"six-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "index"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def clone(engine: Engine, image: str, lab: BakedLab) -> Iterator[str]:
    """The option that mounts a clone of the tag; like the one of Drone it belongs to root."""
    volume = engine.ok("volume", "create").strip()
    mount = f"--volume={volume}:{WORKSPACE}"
    engine.run("--user=0", mount, f"--volume={lab.path}:/origin:ro", f"--workdir={WORKSPACE}",
               f"--env=DRONE_TAG={TAG}", image, "sh", "-c", CLONE)
    yield mount
    engine.ok("volume", "rm", volume)


@dataclass
class Step:
    """A step as the runner of a cluster starts it."""

    image: str
    environment: dict[str, str]

    def options(self) -> list[str]:
        """Return what `docker run` needs before the image."""
        return [f"--workdir={WORKSPACE}",
                *(f"--env={name}={value}" for name, value in self.environment.items())]


@pytest.fixture(scope="module")
def step(lab: BakedLab) -> Step:
    """The step sklearn-example in the lab's `.drone.yml`, but with a store in /results."""
    commit = Commit("tag", f"refs/tags/{TAG}", lab.ok(f"git rev-parse {TAG}").strip(), "0" * 40,
                    "Image", "ann", "Ann Lee", "ann@lab.example")
    repository = Repository("team", "lab", "main", "http://git.example/team/lab",
                            "http://git.example/team/lab.git")
    stage = Stage("experiments", 1, 7, 0, "@ann", "node1", 1, 1)
    variables = drone_variables(repository, commit, stage, 1)
    pipeline = pipeline_to_run((lab.path / ".drone.yml").read_text(), stage.name, variables)
    found, = (step for step in pipeline.steps if step.name == "sklearn-example")
    own, _ = look_up_secrets(found.environment, {})
    environment = step_variables(variables, pipeline, commit, WORKSPACE, own)
    return Step(found.image, {**environment, "MLFLOW_TRACKING_URI": "sqlite:////results/mlflow.db",
                              "DRONE_SCRIPT": step_script(found.commands)})


@pytest.fixture(scope="module")
def runs(engine: Engine, clone: str, step: Step,
         tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The runs that the step made, oldest first."""
    results = tmp_path_factory.mktemp("results")
    results.chmod(0o777)
    options = [clone, f"--volume={results}:/results", *step.options()]
    shell, *words = ENTRYPOINT
    engine.run(*options, f"--entrypoint={shell}", step.image, *words)
    return json.loads(engine.run(*options, step.image, "python", "-c", RUNS).splitlines()[-1])


def requirements(lab: BakedLab) -> list[str]:
    """Return what requirements.txt names, as installed_packages() does."""
    return normalised("\n".join(read_requirements(lab.path / "requirements.txt")))


def installed_packages(engine: Engine, image: str) -> list[str]:
    """Return the packages of an image, without pip and what comes with it."""
    return normalised(engine.run(image, "pip", "freeze", "--disable-pip-version-check"))


def normalised(text: str) -> list[str]:
    """Return sorted lines `name==version` in which each name has one spelling."""
    return sorted(re.sub("[-_.]+", "-", name) + "==" + version
                  for name, _, version in (line.lower().partition("==")
                                           for line in text.splitlines()))


def test_exactly_the_requirements_are_installed(engine: Engine, image: str, lab: BakedLab) -> None:
    assert installed_packages(engine, image) == requirements(lab)


def test_the_user_is_not_root_and_a_cluster_sees_it(engine: Engine, image: str) -> None:
    assert engine.run(image, "id", "-u") == "1000\n"
    # Kubernetes refuses a name where it is told runAsNonRoot.
    assert engine.ok("image", "inspect", "--format={{.Config.User}}", image) == "1000\n"


def test_the_first_process_ends_orphans_and_passes_signals_on(engine: Engine, image: str) -> None:
    assert engine.run(image, "cat", "/proc/1/comm") == "tini\n"


@pytest.mark.parametrize("user", ["1000", "4321"])
def test_git_works_in_a_clone_of_root(engine: Engine, image: str, clone: str, user: str) -> None:
    printed = engine.run(clone, f"--user={user}", f"--workdir={WORKSPACE}", image,
                         "sh", "-c", "stat --format=%u . && git status --porcelain")
    assert printed == "0\n"


def test_a_step_runs_its_process(runs: list[dict], lab: BakedLab) -> None:
    assert len(runs) == 8 and {run["status"] for run in runs} == {"FINISHED"}
    commit = lab.ok(f"git rev-parse {TAG}").strip()
    for run in runs:
        expected = {"tag": TAG, "commit": commit, "build": "7", "dirty": "false"}
        assert expected.items() <= run["tags"].items()
    first, = (run for run in runs if not run["parent"])
    assert first["artifacts"] and first["metrics"]["test_accuracy"] > 0.9


def test_state_has_a_place(engine: Engine, image: str, clone: str) -> None:
    engine.run(clone, f"--workdir={WORKSPACE}/vendor", image, "python", "-c",
               "from taglab.lab import state_folder; state_folder().mkdir(parents=True)")


def test_figures_need_no_search_for_fonts(engine: Engine, image: str) -> None:
    printed = engine.run(image, "python", "-c", "import matplotlib, os; "
                                                "print(os.listdir(matplotlib.get_cachedir()))")
    assert "fontlist" in printed


def test_the_lab_finds_the_programs_it_calls(engine: Engine, image: str, clone: str) -> None:
    engine.run(clone, f"--workdir={WORKSPACE}", image,
               "python", "-m", "pytest", "-q", "lab/processes/sklearn_example")


def test_the_build_sees_the_requirements_alone(engine: Engine, lab: BakedLab,
                                               tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nCOPY . /context\n")
    engine.build(f"--file={tmp_path}/Dockerfile", "--tag=context", lab.path)
    printed = engine.run("context", "find", "/context", "-type", "f", "-printf", "%P\n")
    assert set(printed.split()) - {".dockerignore"} == {"requirements.txt"}


def test_a_change_of_code_changes_no_layer(engine: Engine, image: str, build: Build,
                                           changed: Path) -> None:
    for file in ("lab/lib/viz.py", "README.md", ".drone.yml",
                 "vendor/taglab/runner/requirements.txt"):
        with (changed / file).open("a") as text:
            text.write("# changed\n")
    assert engine.layers(build(changed, "-code")) == engine.layers(image)


def test_changed_requirements_change_the_packages_alone(
        engine: Engine, image: str, build: Build, changed: Path, few: list[str],
        index: str) -> None:
    (changed / "requirements.txt").write_text("-r requirements-few.txt\n")
    (changed / "requirements-few.txt").write_text("\n".join(few))
    made = build(changed, "-few", f"--build-arg=PIP_EXTRA_INDEX_URL={index}")
    # A local version wins: this is how PyTorch's builds for CPUs are taken.
    assert installed_packages(engine, made) == [
        line + "+cpu" if line.startswith("six==") else line for line in few]
    before, after = engine.layers(image), engine.layers(made)
    assert before[:2] == after[:2] and before[2:] != after[2:]  # the base, git and tini
