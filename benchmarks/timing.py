"""Times commands side by side: in turns, several rounds, so that a busy machine slows all alike."""
from __future__ import annotations

import statistics
from collections.abc import Callable


def medians(measurements: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Take each measurement (seconds) once a round, in turns; return their medians."""
    results: dict[str, list[float]] = {name: [] for name in measurements}
    for number in range(rounds + 1):
        for name, measure in measurements.items():
            seconds = measure()
            if number:  # the first round only warms the caches
                results[name].append(seconds)
    return {name: statistics.median(values) for name, values in results.items()}
