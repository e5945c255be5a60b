"""A loopback HTTP server of one file that can break off, or know nothing of ranges."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """What to answer, and what was asked.

    Attributes
    ----------
    data : the bytes of the file
    stop_after : send at most this many bytes of a body, then close the connection
    ranges : whether a Range header is honoured
    status : answer with this error instead, if it is not 200
    asked : the Range header of each request, "" where there was none
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.stop_after: int | None = None
        self.ranges = True
        self.status = 200
        self.asked: list[str] = []
        self.url = ""


@contextmanager
def serve(data: bytes) -> Iterator[FileServer]:
    """Serve ``data`` under ``/file.tar.gz`` while the block runs."""
    state = FileServer(data)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append(wanted)
            if state.status != 200:
                self.send_error(state.status)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            start = start if state.ranges else 0
            self.send_response(206 if start else 200)
            body = state.data[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # the client may hang up first
                self.wfile.write(body if state.stop_after is None else body[: state.stop_after])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/file.tar.gz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
