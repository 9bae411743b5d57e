"""The shell script that runs the commands of a step, as Drone writes it."""
from __future__ import annotations

from collections.abc import Iterable

# Drone hands the script over in a variable and pipes it into the shell, so it is the shell's input.
ENTRYPOINT = ("/bin/sh", "-c", 'echo "$DRONE_SCRIPT" | /bin/sh')
_HEAD = "\n" * 30 + "unset DRONE_SCRIPT\nset -e\n"  # as long as Drone's: errors name lines
_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
            "\v": "\\v", "\\": "\\\\", '"': '\\"'}


def step_script(commands: Iterable[str]) -> str:
    """Return the script: each command is printed and run; the first that fails ends it."""
    return _HEAD + "".join(map(traced_command, commands))


def traced_command(command: str) -> str:
    """Return one command of the script, after the line that prints it."""
    printed = go_quote(command).replace("$", "\\$")
    return f"\necho + {printed}\n{command}\n"


def go_quote(text: str) -> str:
    """Quote a text as Go's %q does: printable characters stay, others become escapes."""
    return '"' + "".join(map(_quote_character, text)) + '"'


def _quote_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 \
        else f"\\U{code:08x}"
