"""What is not compared when a tag is run again, since it differs each time by its nature."""

import re
from fnmatch import fnmatch

ASYNCHRONOUS_REASON = "the search is asynchronous: its numbers depend on how fast its trials were"

# Globs of paths, each with why.
ARTIFACTS = {
    "output.log": "what is printed names times and folders",
    "versions.txt": "another machine may need other builds of the packages",
    "uncommitted.patch": "it is no result",
    "report/report.*": "a report names times and other tags",
    "traceback.txt": "a traceback names the folder of the build",
    "*events.out.tfevents.*": "TensorBoard's events hold times, also in their names",
    "*.svg": "matplotlib writes the date and random names into it",
    "*.pdf": "it holds the date when it was made",
    "*.gz": "it holds the time when it was packed",
    "*.zip": "it holds the times of the files",
}
# Of the files of a logged model: MLmodel holds its id and the time; its packages are in the commit.
MODEL_FILES = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt",
               "registered_model_meta"}
PARAMETERS = {"search.workers": "how many trials run at once is the machine's"}

_TIME = {"second", "seconds", "secs", "milliseconds", "ms", "minutes", "hours", "duration",
         "elapsed", "runtime", "time"}


def artifact_reason(path: str) -> str:
    """Return why an artifact is not compared, or ""."""
    return next((why for glob, why in ARTIFACTS.items() if fnmatch(path, glob)), "")


def metric_reason(name: str) -> str:
    """Return why a metric is not compared, or "": it is a time, a speed or a load of the machine.

    fit_time, epoch_seconds and samples_per_second are; time_to_event_error is not.
    """
    if name.startswith("system/"):
        return "the load of the machine"
    words = re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    is_time = words[-1] in _TIME or words[-2:-1] == ["per"] and words[-1] in {"s", "sec"}
    return "a time, or a speed" if is_time else ""
