"""`python -m taglab.goals`: compare the lab's runs with its goals."""

import sys

from taglab.goals.judge import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
