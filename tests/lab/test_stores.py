"""A team's stores: MLflow's server on a real PostgreSQL, with artifacts in a real S3 server."""
from __future__ import annotations

from pathlib import Path

from .conftest import ONE_KIND, BakedLab
from .servers import S3_KEYS, mlflow_server, postgresql, s3_server

LOAD = """
import mlflow
from taglab.tracking import connect
connect()
[model] = mlflow.search_logged_models(output_format="list")
print(model.artifact_location, mlflow.sklearn.load_model(model.model_uri))
"""


@ONE_KIND
def test_a_process_logs_to_postgresql_and_s3(lab: BakedLab, tmp_path: Path) -> None:
    with postgresql(tmp_path / "postgresql") as database, s3_server(lab, tmp_path / "s3") as s3:
        team = {"MLFLOW_S3_ENDPOINT_URL": s3.uri, **S3_KEYS}
        with mlflow_server(lab, tmp_path / "mlflow", database, "s3://lab/runs", **team) as server:
            team["MLFLOW_TRACKING_URI"] = server.uri
            lab.ok("python lab/processes/sklearn_example/main.py", **team)
            [parent] = [run for run in lab.runs(team) if run["parent"] is None]
            assert parent["status"] == "FINISHED" and parent["metrics"]["test_accuracy"] > 0.9
            assert {"output.log", "leaderboard.png"} <= set(parent["artifacts"])
            loaded = lab.ok(f"python -c '{LOAD}'", **team)
            assert "s3://lab/runs/" in loaded and "Pipeline" in loaded
        # Without the server in between, as on a machine that may reach the database itself.
        team["MLFLOW_TRACKING_URI"] = database
        lab.ok("python lab/processes/sklearn_example/main.py", **team)
        assert lab.ok("python -m taglab.tracking summary", **team).count("sklearn_example") == 2
