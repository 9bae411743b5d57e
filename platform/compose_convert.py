"""Answers the Drone server of compose.yml: `type: kubernetes` becomes `type: docker`.

Drone sends every .drone.yml here before it reads it (a conversion extension), so a lab is the same
on one server and on a cluster. Only Drone can reach this address, and whoever asks gets back what
they sent, so requests are not checked.
"""
from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def convert(text: str) -> str:
    """Return a .drone.yml for Drone's docker runner.

    What that runner does not know it ignores: `resources`, node selectors, service accounts.
    """
    return re.sub(r"(?m)^type:[ \t]*(['\"]?)kubernetes\1(?=[ \t]*(#.*)?$)", "type: docker", text)


class Converter(BaseHTTPRequestHandler):
    """One request of Drone."""

    def do_GET(self) -> None:
        """Say that the converter is there."""
        self._answer(b"ready")

    def do_POST(self) -> None:
        """Take {"config": {"data": TEXT}} and answer {"data": TEXT}."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(json.dumps({"data": convert(request["config"]["data"])}).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), Converter).serve_forever()
