"""`python3 runtimes/local COMMAND`: needs nothing but Python and git; prepares the rest itself."""
import os
import sys

LAB = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main():
    """Run COMMAND in the runner's own environment, which is made when it is missing."""
    if sys.version_info < (3, 11):
        sys.exit("A lab needs Python 3.11 or newer, and `python3` is {}.{} ({}). Install a newer "
                 "one and put it first in PATH.".format(*sys.version_info[:2], sys.executable))
    sys.path[0] = os.path.join(LAB, "runtimes")
    from pathlib import Path

    from local.environment import EnvironmentFailure, ensure_environment
    from local.init import init
    if sys.argv[1:] == ["init"]:
        return init(Path(LAB))
    try:
        environment = ensure_environment(Path(__file__).parent,
                                         lambda line: print(line, flush=True))
    except EnvironmentFailure as error:
        sys.exit(str(error))
    if not environment.samefile(sys.prefix):
        python = str(environment / "bin" / "python")
        os.execv(python, [python, *sys.argv])
    from local.commands import main as run_command
    return run_command(Path(LAB))


if __name__ == "__main__":
    sys.exit(main())
