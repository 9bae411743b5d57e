"""Removes folders that steps have written to."""
from __future__ import annotations

import subprocess
from pathlib import Path


def remove_folder(folder: Path) -> None:
    """Remove a folder, as far as its permissions allow; one that is missing is no error.

    `shutil.rmtree` fails on folders that are nested a thousand deep, before Python 3.13.
    """
    subprocess.run(["rm", "-rf", "--", folder], stderr=subprocess.DEVNULL)
