"""Does nothing for a long time."""

import time

from lib.config import load_config
from lib.tracking import start_run


def main() -> None:
    with start_run(__file__, load_config(__file__)):
        print("asleep")
        time.sleep(600)


if __name__ == "__main__":
    main()
