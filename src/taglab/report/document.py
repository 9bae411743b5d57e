"""The parts that a report consists of: what they say, and nothing of how a page shows it."""

import base64
from dataclasses import dataclass
from typing import ClassVar

GOOD, BAD, MARKED, CODE = "good", "bad", "marked", "code"  # kinds of cells


@dataclass(frozen=True)
class Cell:
    """A text, and what sets it apart."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Title:
    """The title of the blocks that follow; one of level 4 belongs to the last of level 3."""

    kind: ClassVar[str] = "title"
    text: str
    level: int = 3


@dataclass(frozen=True)
class Note:
    """A sentence."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class Code:
    """Lines as they were printed, or are to be typed."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Facts:
    """Names with a value each."""

    kind: ClassVar[str] = "facts"
    rows: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True)
class Table:
    """A table; its last `numbers` columns are numbers."""

    kind: ClassVar[str] = "table"
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: int = 0

    def is_number(self, column: int) -> bool:
        """Return whether a column, counted from 0, holds numbers."""
        return column >= len(self.head) - self.numbers


@dataclass(frozen=True)
class Picture:
    """An image in a report."""

    kind: ClassVar[str] = "picture"
    name: str
    data: bytes
    media: str = "image/png"

    @property
    def uri(self) -> str:
        """The image as a data: URI."""
        return f"data:{self.media};base64,{base64.b64encode(self.data).decode()}"


Block = Title | Note | Code | Facts | Table | Picture


@dataclass(frozen=True)
class Section:
    """A part of a report."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A report on a tag.

    mark: what is in each file of a report on this tag, and in no other.
    summary: how it went, in a few words each.
    """

    lab: str
    tag: str
    mark: str
    question: str
    summary: tuple[Cell, ...]
    sections: tuple[Section, ...]
    written: str
