"""The results of a tag: what its runs gave, and how those of two tags differ."""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.results.differences import Differences, differences
    from taglab.results.tag_results import (
        RunResult, TagError, TagResults, artifact_paths, read_tag_results)

__all__ = ["Differences", "RunResult", "TagError", "TagResults", "artifact_paths", "differences",
           "read_tag_results"]

__getattr__ = attributes(__name__, {
    "differences": ["Differences", "differences"],
    "tag_results": ["RunResult", "TagError", "TagResults", "artifact_paths", "read_tag_results"]})
