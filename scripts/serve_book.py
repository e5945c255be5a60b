"""Serve the built book on this machine until Ctrl-C."""

from __future__ import annotations

import functools
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bitbybit.errors import EnvironmentProblem
from bitbybit.terminal import Parser, run

PAGES = Path(__file__).resolve().parents[1] / "_build" / "html"


class Pages(SimpleHTTPRequestHandler):
    """Serves the built pages, and the book's own page where there is none."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with the book's page, where that is what was built."""
        page = PAGES / "404.html"
        if code != HTTPStatus.NOT_FOUND or not page.is_file():
            super().send_error(code, message, explain)
            return
        # Its links are relative to the root, whatever address was asked for.
        text = page.read_text(encoding="utf-8").replace("<head>", '<head><base href="/">', 1)
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    if not (PAGES / "index.html").is_file():
        raise EnvironmentProblem(
            "the book is not built yet", where="_build/html", next_step="Run: make book"
        )
    handler = functools.partial(Pages, directory=str(PAGES))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        other = port + 1 if 1023 < port < 65535 else 8000
        raise EnvironmentProblem(
            f"cannot be used: {getattr(error, 'strerror', None) or error}",
            where=f"port {port}",
            next_step=f"Choose another one: make serve PORT={other}",
        ) from error
    with server:
        print(f"The book is on http://localhost:{port}; stop with Ctrl-C.", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    run(main)
