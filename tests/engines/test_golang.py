"""Go's integers have 64 bits, and leading zeros do not count."""
from __future__ import annotations

import pytest

from taglab.engines.drone.golang import parse_int64


@pytest.mark.parametrize("text, number", [
    ("0", 0), ("000", 0), ("+7", 7), ("-012", -12), ("0" * 5000 + "7", 7),
    (str(2**63 - 1), 2**63 - 1), (str(-2**63), -2**63),
])
def test_decimal_integers_are_parsed(text: str, number: int) -> None:
    assert parse_int64(text) == number


@pytest.mark.parametrize("text, message", [
    ("", "invalid syntax"), ("1_000", "invalid syntax"), (" 1", "invalid syntax"),
    ("1\n", "invalid syntax"), ("--1", "invalid syntax"), ("٣", "invalid syntax"),
    (str(2**63), "value out of range"), ("-" + "9" * 5000, "value out of range"),
])
def test_everything_else_has_gos_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^strconv.ParseInt: parsing \".*\": {message}$"):
        parse_int64(text)
