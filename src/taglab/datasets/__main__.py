"""`python -m taglab.datasets COMMAND`: see `taglab.datasets.command`."""

import sys

from taglab.datasets.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
