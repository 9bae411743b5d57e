"""Local copies of remote data."""

from pathlib import Path

import fsspec


def local_copy(url: str, folder: str | Path = "~/.cache/taglab/data") -> Path:
    """Return a local copy of the file at an fsspec URL, downloaded again when the file changed.

    Raises what the URL's file system raises, such as FileNotFoundError.
    """
    options = {"cache_storage": str(Path(folder).expanduser()), "check_files": True}
    return Path(fsspec.open_local(f"filecache::{url}", filecache=options))
