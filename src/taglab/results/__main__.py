"""`python -m taglab.results`: compare tags."""

import sys

from taglab.results.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
