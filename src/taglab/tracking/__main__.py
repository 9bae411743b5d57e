"""`python -m taglab.tracking COMMAND`."""

import sys

from taglab.tracking.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
