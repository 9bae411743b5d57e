"""Seconds to log 1,000 epochs of four metrics to the store that the environment names."""
import contextlib
import io
from time import perf_counter

from taglab.tracking import connect
from taglab.training.logger import log_epochs

import mlflow

connect()
row = {"loss": 0.1, "accuracy": 0.2, "val_loss": 0.3, "val_accuracy": 0.4}
with mlflow.start_run() as run, contextlib.redirect_stdout(io.StringIO()):
    started = perf_counter()
    with log_epochs(1000, []) as logger:
        for epoch in range(1, 1001):
            logger.log(epoch, row)
            logger.flush_if_due()
    seconds = perf_counter() - started
client = mlflow.MlflowClient()
assert all(len(client.get_metric_history(run.info.run_id, name)) == 1000 for name in row)
print(seconds)
