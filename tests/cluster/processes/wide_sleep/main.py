"""Does nothing for a long time."""

import time

from taglab.config import load_config
from taglab.tracking import start_run


def main() -> None:
    with start_run(__file__, load_config(__file__)):
        print("asleep")
        time.sleep(600)


if __name__ == "__main__":
    main()
