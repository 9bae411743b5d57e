"""Numbers and times in words, and tables of them."""

import math
import time
from collections.abc import Iterable, Sequence

from taglab.report.document import Block, Cell, Note, Table

NONE = "–"


def number(value: float | None) -> str:
    """Return a number with six digits, which are enough to tell two results apart."""
    return NONE if value is None else f"{value:.6g}"


def is_number(text: str) -> bool:
    """Return whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def rounded(text: str) -> str:
    """Return a text with six digits if it is a longer number."""
    return number(float(text)) if len(text) > 8 and is_number(text) else text


def difference(old: float | None, new: float | None, unit: str = "") -> tuple[str, str]:
    """Return by how much a number changed, and by how many percent of the old one.

    One that has a unit has one decimal.
    """
    if old is None or new is None:
        return "", ""
    by = new - old
    percent = f"{100 * by / abs(old):+.2f} %" if old and math.isfinite(by / old) else ""
    return f"{by:+.1f}{unit}" if unit else f"{by:+.4g}", percent


def duration(seconds: float | None) -> str:
    """Return how long something took: as 12.3 s, 4:56 or 1:02:03."""
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(seconds: float) -> str:
    """Return a time of day, which is the same for readers everywhere."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def size(count: int) -> str:
    """Return a number of bytes as 14 kB."""
    return f"{max(1, round(count / 1000))} kB"


def plural(count: int, word: str) -> str:
    """Return `1 run` or `2 runs`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def short(text: str, limit: int = 300) -> str:
    """Return a text that is cut, and says so, where it is long."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def cells(values: Iterable[object]) -> tuple[Cell, ...]:
    """Return cells without a kind; a cell stays as it is."""
    return tuple(each if isinstance(each, Cell) else Cell(short(str(each))) for each in values)


def table(
    head: tuple[str, ...], rows: Sequence[Iterable[object]], numbers: int = 0, limit: int = 40
) -> list[Block]:
    """Return a table of the first rows, and how many more there are; nothing without rows.

    The last `numbers` columns are numbers.
    """
    if not rows:
        return []
    more = len(rows) - limit
    shown = Table(head, tuple(map(cells, rows[:limit])), numbers)
    return [shown, *([Note(f"… and {more} more.")] if more > 0 else [])]
