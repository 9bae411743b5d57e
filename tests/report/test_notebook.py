"""The outputs of notebooks in a report."""
from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taglab.report.document import Code, Note, Picture, Title
from taglab.report.notebook import LONGEST, NotebookError, notebook_blocks
from tests.report.conftest import PNG

IMAGE = base64.b64encode(PNG).decode()


def notebook(*outputs: dict[str, object]) -> str:
    """Return a notebook with a heading, a text and a cell of code with these outputs."""
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        {"cell_type": "markdown", "source": ["# The runs\n", "All of them."]},
        {"cell_type": "markdown", "source": "No heading"},
        {"cell_type": "code", "source": "secret()", "outputs": list(outputs)}]})


def test_a_report_has_the_outputs_without_code_html_and_colours() -> None:
    found = notebook_blocks(notebook(
        {"output_type": "stream", "name": "stdout", "text": ["a\n", "\x1b[31mred\x1b[0m\n"]},
        {"output_type": "execute_result", "data": {
            "text/html": "<table onclick='x()'>", "text/plain": ["   score\n", "0    1.0"]}},
        {"output_type": "display_data", "data": {"image/png": IMAGE, "text/plain": "<Figure>"}},
        {"output_type": "display_data", "data": {"image/svg+xml": ["<svg>", "</svg>"]}},
        {"output_type": "display_data", "data": {"text/html": "<script>"}},
        {"output_type": "error", "traceback": ["\x1b[1;31mKeyError\x1b[0m", "'x'"]}), 1000)
    assert found == [
        Title("The runs"), Code("a\nred"), Code("   score\n0    1.0"), Picture("", PNG),
        Picture("", b"<svg></svg>", "image/svg+xml"), Code("KeyError\n'x'")]


def test_a_heading_without_outputs_is_left_out_and_a_notebook_without_any_is_refused() -> None:
    heading = {"cell_type": "markdown", "source": "# Empty"}
    cells = json.loads(notebook({"output_type": "stream", "text": "a"}))["cells"]
    text = json.dumps({"cells": [heading, *cells, heading]})
    assert notebook_blocks(text, 0) == [Title("The runs"), Code("a")]
    with pytest.raises(NotebookError, match="run it and save it first"):
        notebook_blocks(notebook(), 0)


def test_what_is_too_long_or_too_large_is_cut_and_says_so() -> None:
    image = {"output_type": "display_data", "data": {"image/png": IMAGE}}
    found = notebook_blocks(notebook(
        {"output_type": "stream", "text": "x" * (LONGEST + 5)}, image, image), len(PNG))
    assert isinstance(found[1], Code) and found[1].text.endswith("x\n… 5 more characters")
    assert found[2:] == [
        Picture("", PNG), Note("An image is left out, since the page would get too large.")]


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"cells": 1}', '{"worksheets": []}', '{"cells": [{"cell_type": "code"}, 1]}',
    notebook({"output_type": "display_data"}),
    notebook({"output_type": "display_data", "data": {"image/png": "a"}})])
def test_what_is_no_notebook_is_refused(text: str) -> None:
    with pytest.raises(NotebookError, match="it is no notebook of format 4"):
        notebook_blocks(text, 1000)


KEYS = st.sampled_from(["text", "data", "text/plain", "image/png", "source"])
JSON = st.recursive(st.none() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=8)


@given(st.sampled_from(["markdown", "code"]), st.sampled_from(["stream", "error", "display_data"]),
       JSON, JSON)
def test_any_cell_is_read_or_refused(cell: str, output: str, source: object, data: object) -> None:
    text = json.dumps({"cells": [{"cell_type": cell, "source": source, "outputs": [
        {"output_type": output, "data": data, "text": data, "traceback": data}]}]})
    try:
        notebook_blocks(text, 1000)
    except NotebookError:
        pass
