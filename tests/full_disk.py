"""A small file system of its own for a test of what happens when a disk is full."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def run_on_small_disk(folder: Path, size: str, script: str,
                      **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script with a new file system of `size` on `folder`; nobody else sees it."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c",
         f"mount -t tmpfs -o size={size} none {folder} && {{ {script}\n}}"],
        text=True, capture_output=True, env={**os.environ, **variables})
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"needs to mount a file system: {done.stderr.strip()}")
    return done
