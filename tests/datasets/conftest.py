"""A lab that reads data, a cache of its own, and a web server that can go away in the middle."""
from __future__ import annotations

import contextlib
import http.server
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from taglab.datasets.command import main
from tests.runner.conftest import SOURCE


@dataclass
class DataLab:
    """A lab on disk with an empty cache."""

    path: Path
    cache: Path

    def command(self, *arguments: object) -> list[str]:
        """Return the command that `lab data ARGUMENTS` becomes."""
        return [sys.executable, "-m", "taglab.datasets", *map(str, arguments)]

    def variables(self) -> dict[str, str]:
        """Return the environment of a command."""
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("LAB_", "XDG_", "AWS_", "MLFLOW_"))}
        return {**kept, "LAB_DATA": str(self.cache), "PYTHONPATH": str(SOURCE)}

    def data(self, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `lab data ARGUMENTS`."""
        out, err = io.StringIO(), io.StringIO()
        with (pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out),
              contextlib.redirect_stderr(err)):
            for name in os.environ.keys() - self.variables().keys():
                patch.delenv(name)
            for name, value in {**self.variables(), "LAB_ROOT": str(self.path), **more}.items():
                patch.setenv(name, value)
            status = main([*map(str, arguments)])  # a process of its own takes much longer
        return subprocess.CompletedProcess([], status, out.getvalue(), err.getvalue())

    def ok(self, *arguments: object, **more: str) -> str:
        """Run `lab data ARGUMENTS`, which must succeed; return what it printed."""
        done = self.data(*arguments, **more)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def error(self, *arguments: object, **more: str) -> str:
        """Run `lab data ARGUMENTS`, which must fail with one line; return it."""
        done = self.data(*arguments, **more)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("Error: ") and "Traceback" not in done.stderr
        return done.stderr

    def objects(self) -> list[Path]:
        """Return the files of the cache, whole and half."""
        return [path for part in ("objects", "parts") for path in (self.cache / part).rglob("*")
                if path.is_file()]


@pytest.fixture
def lab(tmp_path: Path) -> DataLab:
    """A lab with nothing but the library."""
    return make_lab(tmp_path / "lab", tmp_path / "cache")


def make_lab(path: Path, cache: Path) -> DataLab:
    """Make a lab with nothing but the library."""
    (path / "vendor").mkdir(parents=True)
    (path / "vendor" / "taglab").symlink_to(SOURCE / "taglab")
    return DataLab(path, cache)


@dataclass
class Web:
    """A web server that serves `content` at any path; it knows Range, as most do."""

    content: bytes = b""
    stops_after: list[int] = field(default_factory=list)  # bytes of each next answer
    pause: float = 0  # seconds after each 64 KiB
    ranges: list[str] = field(default_factory=list)  # that were asked for
    address: str = ""


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server that listens on 127.0.0.1."""
    state = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
            state.ranges.append(asked)
            if start >= len(state.content) > 0:
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hash(state.content)}"')
            self.end_headers()
            if self.command == "HEAD":
                return
            if state.stops_after:
                body = body[:state.stops_after.pop(0)]
            try:
                for place in range(0, len(body), 1 << 16):
                    self.wfile.write(body[place:place + (1 << 16)])
                    time.sleep(state.pause)
            except OSError:
                pass  # the client went away

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}/data/prices.csv"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()
