"""MLflow's UI for the lab's store."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from taglab.tracking import store

HOST = "127.0.0.1"
START_TIMEOUT = 60  # seconds


def serve(uri: str, port: int = 5000, page: str = "") -> int:
    """Serve the store at `uri` on `port` or the next free one until Ctrl-C; return the status.

    Prints the address, with the path `page` after it. A tracking server serves itself: then its
    address is all that is printed.
    """
    if uri.startswith("http"):
        print(f"MLflow: {uri}")
        return 0
    if database := store.sqlite_file(uri):
        store.prepare(database)
    port = free_port(port)
    address = f"http://{HOST}:{port}"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryFile() as log:
        # A session of its own: Ctrl-C reaches this process alone, which then ends the whole group.
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri,
             "--host", HOST, "--port", str(port), "--workers", "1"],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            if not _answers(server, f"{address}/health"):
                log.seek(0)
                print(f"error: MLflow did not start\n{log.read().decode(errors='replace')}",
                      file=sys.stderr)
                return 1
            print(f"MLflow: {address}{page}", flush=True)
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _stop(server)


def free_port(first: int) -> int:
    """Return the first port from `first` on that is free."""
    for port in range(first, 65536):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                return port
            except OSError:
                continue
    raise SystemExit(f"error: no free port from {first} on")


def _answers(server: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until the server answers; return False when it exits or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its child processes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(timeout=5)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
