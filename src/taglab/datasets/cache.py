"""Data that is far away."""

from pathlib import Path

import fsspec


def local_copy(url: str, folder: str | Path = "~/.cache/taglab/data") -> Path:
    """Return a local copy of a file at any fsspec URL; it is fetched again when that changed."""
    kept = {"cache_storage": str(Path(folder).expanduser()), "check_files": True}
    return Path(fsspec.open_local(f"filecache::{url}", filecache=kept))
