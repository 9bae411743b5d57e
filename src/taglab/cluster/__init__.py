"""Wide jobs: a step of a pipeline runs its process in many pods, as a Kubernetes Indexed Job.

`taglab.tracking.start_run` calls `run_wide` first. There the step starts the job, shows what its
pods print, each line with the pod's index, and exits as the job does. The pods run the same
`main.py`.
"""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.cluster.runs import run_of_pod
    from taglab.cluster.start import run_wide

__all__ = ["run_of_pod", "run_wide"]

__getattr__ = attributes(__name__, {"runs": ["run_of_pod"], "start": ["run_wide"]})
