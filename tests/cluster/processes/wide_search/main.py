"""One search, shared by the pods of a job."""

import time

from taglab.config import load_config
from taglab.search import search
from taglab.tracking import start_run


def train(x: int) -> dict[str, float]:
    time.sleep(2)
    return {"score": -(x - 3.0) ** 2}


def main() -> None:
    config = load_config(__file__)
    with start_run(__file__, config):
        found = search(train, {"x": list(range(config["points"]))}, direction="maximize",
                       method="grid", metric="score")
        print(f"best: x={found.best_params['x']}")


if __name__ == "__main__":
    main()
