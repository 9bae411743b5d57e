"""The results of a tag: what its runs gave, how those of two tags differ, whether they repeat."""

from typing import TYPE_CHECKING

from taglab.lazy import attributes

if TYPE_CHECKING:
    from taglab.results.tag_results import (
        NoResults, RunResult, TagResults, artifact_paths, read_tag_results)

__all__ = ["NoResults", "RunResult", "TagResults", "artifact_paths", "read_tag_results"]

__getattr__ = attributes(__name__, {"tag_results": __all__})
