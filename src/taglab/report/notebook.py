"""The outputs of a notebook, without its code: text and images. HTML is left out.

The format is Jupyter's nbformat 4, see
https://nbformat.readthedocs.io/en/latest/format_description.html
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any

from taglab.report.document import Block, Code, Note, Picture, Title

LONGEST = 20_000  # characters of an output
_MEDIA = ("image/png", "image/jpeg", "image/svg+xml")
# What a program writes to colour its output in a terminal.
_TERMINAL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])|[\x00-\x08\x0b-\x1f]")


class NotebookError(ValueError):
    """A file that is no notebook; the message says why."""


def notebook_blocks(text: str, room: int) -> list[Block]:
    """Return the headings and the outputs of a notebook, with images of at most `room` bytes.

    An output that is HTML, such as a table, appears as the text that Jupyter keeps beside it.
    Raises NotebookError.
    """
    try:
        cells = json.loads(text)["cells"]
        found = [block for cell in cells for block in _cell(cell)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotebookError(f"it is no notebook of format 4 ({error!r})") from None
    if all(isinstance(block, Title) for block in found):
        raise NotebookError("it has no outputs; run it and save it first")
    blocks: list[Block] = []
    for block, after in zip(found, [*found[1:], Title("")]):
        if isinstance(block, Title) and isinstance(after, Title):
            continue  # nothing stands below it
        if isinstance(block, Picture):
            if len(block.data) > room:
                blocks.append(Note("An image is left out, since the page would get too large."))
                continue
            room -= len(block.data)
        blocks.append(block)
    return blocks


def _cell(cell: dict[str, Any]) -> Iterator[Block]:
    if cell["cell_type"] == "markdown":
        if heading := re.match(r"#+ (.+)", _joined(cell["source"])):
            yield Title(heading[1].strip())
    for output in cell.get("outputs", ()):
        if output["output_type"] == "stream":
            yield _code(output["text"])
        elif output["output_type"] == "error":
            yield _code("\n".join(output["traceback"]))
        else:
            yield from _data(output["data"])


def _data(data: dict[str, Any]) -> Iterator[Block]:
    """Yield what a page shows of an output that is there in several formats."""
    media = next((media for media in _MEDIA if media in data), None)
    if media:
        yield Picture("", _bytes(_joined(data[media]), media), media)
    elif "text/plain" in data:
        yield _code(data["text/plain"])


def _bytes(text: str, media: str) -> bytes:
    try:
        return text.encode() if media == "image/svg+xml" else base64.b64decode(text)
    except binascii.Error as error:
        raise ValueError(f"an image of it is not base64: {error}") from None


def _code(text: str | list[str]) -> Code:
    shown = _TERMINAL.sub("", _joined(text)).rstrip()
    cut = f"\n… {len(shown) - LONGEST} more characters" if len(shown) > LONGEST else ""
    return Code(shown[:LONGEST] + cut)


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
