"""The pod with index 1 fails at each attempt."""

import os

from taglab.config import load_config
from taglab.tracking import start_run


def main() -> None:
    with start_run(__file__, load_config(__file__)):
        index = os.environ["JOB_COMPLETION_INDEX"]
        print(f"this is {index} of {os.environ['JOB_COMPLETIONS']}, commit"
              f" {os.environ['DRONE_COMMIT_SHA']}")
        if index == "1":
            raise SystemExit(4)


if __name__ == "__main__":
    main()
