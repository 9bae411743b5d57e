"""The state of a job and its pods, read from what the API server says of them."""

from taglab.cluster.manifest import Manifest


def ending(job: Manifest, pods: list[Manifest]) -> tuple[int, str] | None:
    """Return the exit status of a job and how it ended, or None while it runs."""
    for condition in job["status"].get("conditions", []):
        if condition["status"] == "True" and condition["type"] == "Complete":
            return 0, "succeeded"
        if condition["status"] == "True" and condition["type"] == "Failed":
            failed = ", ".join(map(str, failed_indexes(job, pods))) or "none by itself"
            return 1, f"failed: {condition.get('message')}; failed indexes: {failed}"
    return None


def failed_indexes(job: Manifest, pods: list[Manifest]) -> list[int]:
    """Return the indexes that failed and never succeeded."""
    status = job["status"]
    if "failedIndexes" in status:
        return sorted(_read_ranges(status["failedIndexes"]))
    failed = {pod_index(pod) for pod in pods if pod["status"].get("phase") == "Failed"}
    return sorted(failed - _read_ranges(status.get("completedIndexes", "")))


def pending_reasons(pod: Manifest) -> list[str]:
    """Return why a pod does not start, in the words of the scheduler and its node."""
    status = pod["status"]
    found = [f"{each.get('reason')}: {each['message']}" for each in status.get("conditions", [])
             if each["status"] == "False" and each.get("message")
             and each["type"] == "PodScheduled"]
    for each in status.get("containerStatuses", []):
        waiting = each["state"].get("waiting", {})
        if waiting.get("message"):
            found.append(f"{waiting['reason']}: {waiting['message']}")
    return found


def pod_failure(pod: Manifest) -> str:
    """Return how a pod failed, such as "failed with exit status 4 (Error)"."""
    status = pod["status"]
    for each in status.get("containerStatuses", []):
        if end := each["state"].get("terminated"):
            return f"failed with exit status {end['exitCode']} ({end.get('reason', 'no reason')})"
    return f"failed: {status.get('reason', '')} {status.get('message', '')}".rstrip()


def pod_index(pod: Manifest) -> int:
    """Return the index of a pod of an Indexed Job, or -1 when it has none."""
    annotations = pod["metadata"].get("annotations", {})
    return int(annotations.get("batch.kubernetes.io/job-completion-index", -1))


def _read_ranges(text: str) -> set[int]:
    """Return the numbers of a text such as "1,3-5"."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
