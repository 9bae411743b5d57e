"""Which words `lab add` takes, and where it writes."""
from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taglab.cli.added import DIRECT, INDIRECT, check_names, with_added
from taglab.errors import LabError
from taglab.runner.requirements import LOCK
from tests.runner.conftest import Lab

NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
REFUSED = ["--target=x", "-e", "-rother.txt", "./mypkg", "/tmp/mypkg", "..", ".", "",
           "git+https://git.example/x.git", "https://files.example/x.whl", "file:x", "x @ file:y",
           "x-1.0.whl", "x.tar.gz", "requirements.txt", "x; python_version > '3'", "x\n--pre",
           "x --pre", "x==1 --hash=sha256:00", "a b", "x==", "~/mypkg", "x\\y"]


@pytest.mark.parametrize("word", REFUSED)
def test_what_is_not_a_package_is_refused_in_one_sentence(word: str) -> None:
    with pytest.raises(LabError, match="is not the name of a package") as refused:
        check_names(["numpy", word])
    assert len(str(refused.value).splitlines()) == 1


def test_refusing_leaves_the_file_and_makes_nothing(lab: Lab) -> None:
    lab.write("requirements.txt", "six==1.17.0\n")
    for words in (["--", "--target=x"], ["./mypkg"], ["git+https://git.example/x.git"]):
        done = lab.lab("add", *words)
        assert done.returncode == 1 and len(done.stdout.splitlines()) == 1
        assert f"Error: {words[-1]!r} is not the name of a package" in done.stdout
    assert (lab.path / "requirements.txt").read_text() == "six==1.17.0\n"
    assert not (lab.path / "x").exists()


@pytest.mark.parametrize("word", [
    "seaborn", "scikit-learn", "ruamel.yaml", "A_b", "x==1", "x>=1,<2", "x >= 1, != 1.5", "x~=1.4",
    "x==2.*", "uvicorn[standard]", "x[a, b]==1.0.post1+cpu", "3to2"])
def test_a_name_with_extras_and_versions_is_a_package(word: str) -> None:
    check_names([word])


@given(st.text(st.sampled_from("ab1-_./:@+[],=<> ;\n~\\'")))
def test_what_is_accepted_hands_no_option_path_or_url_to_pip(word: str) -> None:
    try:
        check_names([word])
    except LabError:
        return
    assert not word.startswith("-") and not re.search(r"[/:@;\\\n']", word) and word.strip() == word


def test_each_line_stands_under_its_own_heading() -> None:
    text = "# What the lab uses.\nnumpy==2.0\n\n# What torch needs besides.\nsympy==1.0\n"
    once = with_added(text, ["Sea_born>=1"], ["dep==3", "sea-born==1.0"])
    assert once == text + f"\n{DIRECT}\nsea-born==1.0\n\n{INDIRECT}\ndep==3\n"
    again = with_added(once + "\n# Mine.\nz==1\n", ["alpha"], ["alpha==2", "Zeta==1"])
    assert again == (text + f"\n{DIRECT}\nalpha==2\nsea-born==1.0\n\n{INDIRECT}\ndep==3\nZeta==1\n"
                     "\n# Mine.\nz==1\n")
    assert with_added("", ["a"], ["a==1"]) == f"{DIRECT}\na==1\n"


@settings(max_examples=50)
@given(st.lists(NAMES, unique_by=str.lower), st.sets(NAMES), st.lists(NAMES, max_size=3))
def test_what_was_there_stays_and_what_is_new_comes_once(
        old: list[str], new: set[str], asked: list[str]) -> None:
    text = "# Mine.\n" + "".join(f"{name}==1\n" for name in old)
    lines = [f"{name}==2" for name in sorted(new)]
    added = with_added(text, [*asked, *sorted(new)[:2]], lines)
    assert added.startswith(text.rstrip("\n")) and added.endswith("\n")
    pins = [line for line in added.splitlines() if line and not line.startswith("#")]
    assert sorted(pins) == sorted([f"{name}==1" for name in old] + lines)
    assert with_added(added, asked, []) == added


def test_add_keeps_a_lock_up_to_date_and_what_is_not_is_refused(lab: Lab) -> None:
    lab.write("requirements.txt", "six==1.17.0\n")
    done = lab.lab("lock")
    assert done.returncode == 0 and "hashes of 2 packages; commit it" in done.stdout, done.stdout
    done = lab.lab("add", "idna==3.20")
    assert done.returncode == 0, done.stdout
    assert "\nidna==3.20 \\\n    --hash" in (lab.path / LOCK).read_text()
    lab.write("requirements.txt", "six==1.17.0\n")
    lab.pipeline("steps: [{name: a, image: x, commands: [echo runs]}]\n")
    stale = f"{LOCK} was not written for this requirements.txt. Type: lab lock; then commit both"
    done = lab.lab("add", "tomli_w")
    assert done.returncode == 1 and stale in done.stdout
    assert stale in lab.push_tag("exp-1") and lab.build().status != "success"
