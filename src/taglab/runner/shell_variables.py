"""What a build keeps of the variables of the shell that pushed: steps run as the same user.

On Linux a step may read the environment of every process of its user in /proc.
"""
from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Collection
from pathlib import Path

from taglab.runner.secrets import PREFIX

# What git, Python and the installers are given: where things are, how to reach the package index,
# how to compile.
_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|TEMP|TMP|XDG_.*|LAB_.*|PYTHON.*|"
    r"SSL_.*|(?:REQUESTS|CURL)_CA_BUNDLE|NETRC|(?:https?|ftp|all|no)_proxy|PIP_.*|UV_.*|GIT_.*|"
    r"SSH_.*|(?:LD_)?LIBRARY_PATH|CPATH|CC|CXX|(?:C|CXX|CPP|LD|MAKE)FLAGS|PKG_CONFIG.*|"
    r"(?:CMAKE|CUDA|NIX)_.*|KRB5.*", re.IGNORECASE)
_SECRET = re.compile(r".*(?:TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIALS?|API_?KEY)", re.IGNORECASE)
# What only some are given: the steps their secrets, the commit's library what MLflow needs.
_GIVEN = re.compile(PREFIX + ".*|MLFLOW_.*")


def forget_shell(names: Collection[str]) -> dict[str, str]:
    """Take out of this process's environment what a build does not need; return what some need.

    Variables in `names` stay. On Linux /proc shows none of this process's variables afterwards;
    what it had is still in its memory. Must be called before there is a second thread.
    """
    given = {name: value for name, value in os.environ.items() if _GIVEN.fullmatch(name)}
    for name, value in list(os.environ.items()):
        is_needed = _KEPT.fullmatch(name) and not _SECRET.fullmatch(name) and name not in given
        if name in names or is_needed:
            os.environ[name] = value  # a copy elsewhere in memory
        else:
            del os.environ[name]
    if sys.platform == "linux":
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = map(int, fields[47:49])  # env_start and env_end, of proc(5)
        ctypes.memset(start, 0, end - start)
    return given
