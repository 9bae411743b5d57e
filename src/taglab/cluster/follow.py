"""Shows what the pods of a job print, and waits for its end."""

import threading
import time
from dataclasses import dataclass, field

from taglab.cluster.api import Api, ClusterError
from taglab.cluster.manifest import Manifest
from taglab.cluster.status import ending, hindrances, pod_failure, pod_index


@dataclass
class Follower:
    """Shows what the pods of a job print until the job ends."""

    api: Api
    job: str
    indexes: int
    readers: dict[str, threading.Thread] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    said: set[object] = field(default_factory=set)

    def wait(self) -> int:
        """Wait for the end of the job and return 0, or 1 when an index failed."""
        while True:
            job, pods = self.api.job(self.job), self.api.pods(f"job-name={self.job}")
            for pod in pods:
                self._look_at(pod)
            self.ended |= {*self.readers} - {pod["metadata"]["name"] for pod in pods}
            if end := ending(job, pods):
                for reader in self.readers.values():
                    reader.join(timeout=20)
                show(f"job {self.job} {end[1]}")
                return end[0]
            done = job["status"].get("succeeded", 0)
            self._say(f"{done} of {self.indexes} indexes done", once=20 * done // self.indexes)
            time.sleep(2 + len(pods) / 50)

    def _look_at(self, pod: Manifest) -> None:
        """Read the log of a pod that has started; say why another has not, and how one failed."""
        name, index = pod["metadata"]["name"], pod_index(pod)
        phase = pod["status"].get("phase")
        if phase == "Pending":
            for reason in hindrances(pod):
                self._say(f"a pod waits: {reason}", once=reason)
            return
        if phase in ("Succeeded", "Failed"):
            self.ended.add(name)
        if phase == "Failed":
            self._say(f"[{index}] {pod_failure(pod)}", once=name)
        if name not in self.readers:
            self.readers[name] = threading.Thread(
                target=self._show, args=(name, index), daemon=True)
            self.readers[name].start()

    def _show(self, pod: str, index: int) -> None:
        """Print each line of a pod's log once; a stream that breaks is taken up again."""
        newest, moment, attempts = "", 0.0, 5
        while attempts:
            ended = pod in self.ended  # then what is read now is all that there is
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

    def _say(self, text: str, once: object) -> None:
        if once not in self.said:
            self.said.add(once)
            show(text)


def show(text: str) -> None:
    """Print a line at one go: readers of many logs do so at the same time."""
    print(f"{text}\n", end="", flush=True)
