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
    lab.ok("lab new stamp")
    for version, score in ((1, "0.5"), (2, "time.time() % 1000")):
        (lab.path / "lab/processes/stamp/main.py").write_text(STAMP.replace("SCORE", score))
        lab.ok(f"git add -A && git commit -qm 'Stamp {version}'")
        lab.push(f"stamp-v{version}")

    shown = lab.ok("lab diff stamp-v1 stamp-v2")
    assert "1 commit, 1 file +1 -1" in shown and "stamp  score" in shown
    assert "packages   the same" in shown and max(map(len, shown.splitlines()[:-1])) <= 100

    shown = lab.ok("lab verify stamp-v1")
    assert "[stamp] + python lab/processes/stamp/main.py" in shown and "making the env" in shown
    assert ": same\n  1 run compared; the same: 1 status, " in shown, shown
    assert "not compared: metric seconds: a time" in shown

    done = lab.sh("lab verify --json stamp-v2 2> shown")
    assert done.returncode == 1, (lab.path / "shown").read_text()
    (lab.path / "shown").unlink()
    receipt = json.loads(done.stdout)
    [finding] = [each for each in receipt["runs"][0]["findings"] if each["outcome"] == "differs"]
    assert finding["name"] == "score" and finding["new"] != finding["old"]
    [run] = lab.runs(tag="stamp-v2")
    assert run["tags"]["verified"] == receipt["verdict"] and "score: " in receipt["verdict"]
    assert len([*(lab.path / ".lab/receipts").glob("stamp-v?-*.json")]) == 2
    assert not (lab.path / ".lab/verify").exists() and lab.ok("git status --porcelain") == ""
    assert "no tag stamp-v3; the nearest are " in lab.sh("lab verify stamp-v3").stdout
