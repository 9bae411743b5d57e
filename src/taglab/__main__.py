"""`python3 vendor/taglab COMMAND`: needs nothing but Python and git; prepares the rest itself."""
import os
import sys

PACKAGE = os.path.dirname(os.path.abspath(__file__))


def main():  # type: ignore[no-untyped-def]  # an older Python must get as far as the message
    """Run COMMAND for a lab, with the runner's own packages, which are installed when missing.

    The lab is the one whose `vendor/taglab` was typed, else the one that holds the working folder.
    Its own copy of this library does the work: an installed one hands over to it.
    """
    if sys.version_info < (3, 11):
        sys.exit("A lab needs Python 3.11 or newer, and `python3` is {}.{} ({}). Install a newer "
                 "one and put it first in PATH.".format(*sys.version_info[:2], sys.executable))
    if os.path.abspath(sys.path[0]) == PACKAGE:  # or our `config` and `search` would shadow others'
        sys.path[0] = os.path.dirname(PACKAGE)
    from pathlib import Path

    from taglab.cli.commands import help_text
    from taglab.errors import LabError
    from taglab.lab import HOW_TO_GET_A_LAB, LIBRARY, NoLab, find_lab

    lab = find_lab(sys.argv[0]) or find_lab(os.getcwd())
    if lab is None or not (lab / LIBRARY / "__main__.py").exists():
        raise NoLab(f"error: {lab or os.getcwd()} is not a lab. {HOW_TO_GET_A_LAB}")
    if not (lab / LIBRARY).samefile(PACKAGE):
        os.execv(sys.executable, [sys.executable, str(lab / LIBRARY), *sys.argv[1:]])
    if sys.argv[1:] in (["--help"], ["-h"]):  # before anything is installed
        print(help_text())
        return 0
    from taglab.runner.environment import ensure_environment, environment_path
    if sys.argv[1:] in (["doctor"], ["doctor", "--json"]):  # it works where nothing else does
        from taglab.cli.checks import report
        try:
            environment = environment_path(Path(PACKAGE, "runner"))
            sys.path[1:1] = map(str, environment.glob("lib/python*/site-packages"))
        except LabError:
            pass  # no home folder; the report says so
        return report(lab, "--json" in sys.argv)
    from taglab.runner.remote import renew_remote
    from taglab.runner.state import check_state

    try:
        check_state(lab)
        renew_remote(lab)
        as_json = "--json" in sys.argv
        if sys.argv[1:] in (["init"], ["init", "--json"]):
            from taglab.cli.init import init
            return init(lab, as_json)
        environment = ensure_environment(
            Path(PACKAGE, "runner"),
            lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True))
    except LabError as error:
        sys.exit(f"error: {error}")
    # The environment was made for this Python, so its packages serve here: a second start would
    # take as long as the command.
    sys.path[1:1] = map(str, environment.glob("lib/python*/site-packages"))
    from taglab.cli.main import main as run_command
    return run_command(lab)


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[no-untyped-call]
