"""`python -m taglab.goals`: judge the lab's runs by its goals."""

import sys

from taglab.goals.judge import main

if __name__ == "__main__":
    sys.exit(main())
