"""`python -m taglab.report`: write a report on a tag; in a build, keep it with the build's runs."""

import sys

from taglab.report.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
