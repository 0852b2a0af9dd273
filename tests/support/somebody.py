"""Somebody else's server on a port that was to be ours: it says that it is ready, whoever is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class Somebody(BaseHTTPRequestHandler):
    """Says what our services say when they are ready."""

    def do_GET(self) -> None:
        said = b'{"ready": true, "reasons": {}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def somebody_ready(port: int) -> Iterator[None]:
    """Listen there while the block runs."""
    with HTTPServer(("127.0.0.1", port), Somebody) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield
        finally:
            server.shutdown()
            serving.join()
