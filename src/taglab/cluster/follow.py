"""Shows what the pods of a job print, and waits until the job ends."""

import threading
import time
from dataclasses import dataclass, field

from taglab.cluster.api import Api, ClusterError
from taglab.cluster.manifest import Manifest
from taglab.cluster.status import ending, pending_reasons, pod_failure, pod_index


@dataclass
class Follower:
    """Shows what the pods of a job print until the job ends."""

    api: Api
    job: str
    indexes: int
    readers: dict[str, threading.Thread] = field(default_factory=dict)  # of logs, by pod
    ended: set[str] = field(default_factory=set)  # pods
    shown: set[object] = field(default_factory=set)  # what was shown once

    def wait(self) -> int:
        """Wait until the job ends; return 0, or 1 when an index failed."""
        while True:
            job, pods = self.api.job(self.job), self.api.pods(f"job-name={self.job}")
            for pod in pods:
                self._follow(pod)
            self.ended |= {*self.readers} - {pod["metadata"]["name"] for pod in pods}
            if end := ending(job, pods):
                status, description = end
                for reader in self.readers.values():
                    reader.join(timeout=20)
                show(f"job {self.job} {description}")
                return status
            done = job["status"].get("succeeded", 0)
            self._show_once(20 * done // self.indexes, f"{done} of {self.indexes} indexes done")
            time.sleep(2 + len(pods) / 50)

    def _follow(self, pod: Manifest) -> None:
        """Read the log of a pod once it has started; show why it has not, or how it failed."""
        name, index = pod["metadata"]["name"], pod_index(pod)
        phase = pod["status"].get("phase")
        if phase == "Pending":
            for reason in pending_reasons(pod):
                self._show_once(reason, f"a pod waits: {reason}")
            return
        if phase in ("Succeeded", "Failed"):
            self.ended.add(name)
        if phase == "Failed":
            self._show_once(name, f"[{index}] {pod_failure(pod)}")
        if name not in self.readers:
            self.readers[name] = threading.Thread(
                target=self._show_log, args=(name, index), daemon=True)
            self.readers[name].start()

    def _show_log(self, pod: str, index: int) -> None:
        """Print each line of a pod's log once, and resume the stream when it breaks off."""
        newest, moment, attempts = "", 0.0, 5  # attempts to read the end of the log
        while attempts:
            ended = pod in self.ended  # if so, this reads all that is left
            try:
                since = time.time() - moment + 60 if newest else None
                for stamp, line in self.api.log(pod, since):
                    if stamp > newest:
                        newest, moment = stamp, time.time()
                        show(f"[{index}] {line}")
                attempts *= not ended
            except ClusterError:
                attempts -= ended
            time.sleep(1 if attempts else 0)

    def _show_once(self, key: object, text: str) -> None:
        if key not in self.shown:
            self.shown.add(key)
            show(text)


def show(text: str) -> None:
    """Print a line in one write, since the readers of many logs print at the same time."""
    print(f"{text}\n", end="", flush=True)
