"""The shell script that runs the commands of a step, as Drone writes it."""
from __future__ import annotations

from collections.abc import Iterable

from taglab.engines.drone.golang import go_quote

# Drone passes the script in a variable and pipes it into the shell, so it is the shell's stdin.
ENTRYPOINT = ("/bin/sh", "-c", 'echo "$DRONE_SCRIPT" | /bin/sh')
# As long as Drone's own preamble, so that the shell's errors name the same line numbers.
_PREAMBLE = "\n" * 30 + "unset DRONE_SCRIPT\nset -e\n"


def step_script(commands: Iterable[str]) -> str:
    """Return a script that prints and runs each command and stops at the first that fails."""
    return _PREAMBLE + "".join(map(_traced, commands))


def _traced(command: str) -> str:
    """Return a command, preceded by the line that prints it."""
    printed = go_quote(command).replace("$", "\\$")
    return f"\necho + {printed}\n{command}\n"
