"""Wide jobs: a pipeline's step runs its process in the many pods of a Kubernetes Indexed Job.

`taglab.tracking.start_run` asks `run_wide` first. The step then starts the job, shows what its pods
print with their index, waits, and ends as the job ends; the pods run the same `main.py`.
"""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.cluster.runs import run_of_pod
    from taglab.cluster.start import run_wide

__all__ = ["run_of_pod", "run_wide"]

__getattr__ = attributes(__name__, {"runs": ["run_of_pod"], "start": ["run_wide"]})
