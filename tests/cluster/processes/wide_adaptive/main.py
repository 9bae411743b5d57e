"""One adaptive search, shared by the pods of a job."""

import time

from taglab.config import load_config
from taglab.search import search
from taglab.tracking import start_run


def train(x: float) -> dict[str, float]:
    time.sleep(4)
    return {"score": -(x - 3.0) ** 2}


def main() -> None:
    config = load_config(__file__)
    with start_run(__file__, config):
        found = search(train, {"x": (-10.0, 10.0)}, direction="maximize", method="tpe",
                       metric="score", trials=config["trials"])
        print(f"{len(found.trials)} trials")


if __name__ == "__main__":
    main()
