"""Wide work: a pipeline's step runs its process in the many pods of a Kubernetes Indexed Job.

`lib.tracking.start_run` asks `run_wide` first. The step then starts the job, shows what its pods
print with their index, waits, and ends as the job ends; the pods run the same `main.py`.
"""

from .runs import run_of_pod
from .start import run_wide

__all__ = ["run_of_pod", "run_wide"]
