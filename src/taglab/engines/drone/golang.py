"""What Go's standard library does with strings, where Drone's behaviour depends on it."""
from __future__ import annotations

import re

_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
            "\v": "\\v", "\\": "\\\\", '"': '\\"'}
_MOST_DIGITS = 19  # of a 64-bit integer


def go_quote(text: str) -> str:
    """Quote a string like `strconv.Quote`: printable characters stay, others are escaped."""
    return '"' + "".join(map(_quote_character, text)) + '"'


def _quote_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def parse_int64(text: str) -> int:
    """Parse a decimal integer like `strconv.ParseInt`. Raises ValueError with Go's message."""
    found = re.fullmatch(r"([-+]?)0*([0-9]+)", text)
    if not found:
        raise ValueError(f"strconv.ParseInt: parsing {go_quote(text)}: invalid syntax")
    sign, digits = found.groups()
    number = int(sign + digits) if len(digits) <= _MOST_DIGITS else 2**63
    if not -2**63 <= number < 2**63:
        raise ValueError(f"strconv.ParseInt: parsing {go_quote(text)}: value out of range")
    return number
