"""Tags that are run again and compared, as a person does it."""
from __future__ import annotations

import json

from .conftest import ONE_KIND, BakedLab

STAMP = '''\
"""Log a score."""

import time

from taglab.config import load_config
from taglab.tracking import start_run

import mlflow


def main() -> None:
    with start_run(__file__, load_config(__file__)):
        mlflow.log_metrics({"score": SCORE, "seconds": time.time()})
        mlflow.log_text("1,2", "table.csv")


if __name__ == "__main__":
    main()
'''


@ONE_KIND
def test_a_tag_is_verified_and_one_that_takes_the_time_for_a_metric_is_not(lab: BakedLab) -> None:
    before = lab.ok("git rev-parse HEAD").strip()
    lab.ok("lab new stamp")
    for version, score in ((1, "0.5"), (2, "time.time() % 1000")):
        (lab.path / "lab/processes/stamp/main.py").write_text(STAMP.replace("SCORE", score))
        lab.ok(f"git add -A && git commit -qm 'Stamp {version}' && git tag stamp-v{version}")
    lab.ok("git push origin stamp-v1 stamp-v2")

    shown = lab.ok("lab diff stamp-v1 stamp-v2")
    assert "1 commit, 1 file +1 -1" in shown and "stamp  score" in shown
    assert "packages   the same" in shown and max(map(len, shown.splitlines()[:-1])) <= 100

    done = lab.sh("lab verify stamp-v1 stamp-v2")
    assert done.returncode == 1, done.stdout
    assert done.stdout.count("making the environment") == 1
    assert done.stdout.count("[stamp] + python lab/processes/stamp/main.py") == 2
    assert "same\n  1 run compared; the same: 1 status, " in done.stdout, done.stdout
    assert "not compared: metric seconds: a time" in done.stdout
    same, differs = done.stdout.splitlines()[-2:]
    assert same == "stamp-v1: same" and "stamp-v2: differs: stamp, metric score: " in differs

    [same, differs] = (json.loads(file.read_text()) for file in sorted(
        (lab.path / ".lab/receipts").glob("stamp-*.json")))
    assert (same["outcome"], differs["outcome"]) == ("same", "differs")
    [finding] = [each for each in differs["runs"][0]["findings"] if each["outcome"] == "differs"]
    assert finding["name"] == "score" and finding["new"] != finding["old"]
    assert {(run["tags"]["tag"], run["tags"]["verified"]) for run in lab.runs(process="stamp")} == {
        (receipt["tag"], receipt["verdict"]) for receipt in (same, differs)}
    assert not (lab.path / ".lab/verify").exists() and lab.ok("git status --porcelain") == ""
    lab.ok(f"git reset -q --hard {before}")  # the process's own test does not know such a main.py
