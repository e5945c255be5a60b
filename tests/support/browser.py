"""A headless Chromium, spoken to over the DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websocket import WebSocketTimeoutException, create_connection

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 300.0
"""Seconds that a busy machine may need for one answer."""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0", "--remote-allow-origins=*", "--hide-scrollbars",
)  # fmt: skip


def program() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Page:
    """One tab; collects what it requests and complains about."""

    def __init__(self, address: str) -> None:
        self._socket = create_connection(address, timeout=PATIENCE)
        self._number = 0
        self._events: list[dict[str, Any]] = []
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result; raises RuntimeError if it is refused."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])
            self._events.append(message)

    def open(self, path: Path, width: int, theme: str, height: int = 900, query: str = "") -> None:
        """Load a file at ``width`` CSS pixels in the ``"light"`` or ``"dark"`` theme."""
        self.visit(path.resolve().as_uri() + query, width, theme, height)
        self.run(
            f"document.documentElement.dataset.mode = document.documentElement.dataset.theme"
            f" = {theme!r}; document.fonts.ready.then(() => 0)"
        )

    def visit(self, url: str, width: int, theme: str, height: int = 900) -> None:
        """Load an address."""
        self._events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 700,
        )  # fmt: skip
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": theme}],
        )
        self.call("Page.navigate", url=url)
        self._wait_for("Page.loadEventFired")

    def _wait_for(self, event: str) -> None:
        """Read events until one of this name has come."""
        while not any(message.get("method") == event for message in self._events):
            self._events.append(json.loads(self._socket.recv()))

    def settle(self, seconds: float = 0.2) -> None:
        """Collect the events of a short while."""
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                self._events.append(json.loads(self._socket.recv()))
        except WebSocketTimeoutException:
            pass
        finally:
            self._socket.settimeout(PATIENCE)

    def run(self, script: str) -> Any:
        """Evaluate JavaScript, wait for its promise and return its value."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def requests(self) -> list[str]:
        """Return the addresses asked for, except those of files and data."""
        urls = [
            message["params"]["request"]["url"]
            for message in self._events
            if message.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in urls if urlsplit(url).scheme not in ("file", "data", "blob")]

    def complaints(self) -> list[str]:
        """Return console errors, uncaught exceptions and failed loads."""
        found = []
        for message in self._events:
            method, parameters = message.get("method"), message.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"])[:500])
            elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(f"{parameters['entry']['text']} {parameters['entry'].get('url')}")
            elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
                found.append(str(parameters["args"])[:500])
        return found

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write a PNG of the window, or of the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@contextmanager
def browser() -> Iterator[Page]:
    """Start Chromium with a fresh profile and yield its tab; end it afterwards."""
    executable = program()
    if executable is None:
        raise RuntimeError("no Chromium is installed")
    with tempfile.TemporaryDirectory() as profile:
        process = subprocess.Popen(
            [executable, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            page = Page(_address(Path(profile)))
            yield page
            page.close()
        finally:
            process.terminate()
            process.wait(timeout=30)


def _address(profile: Path, patience: float = PATIENCE) -> str:
    """Return the tab's address once the browser has written its port."""
    import urllib.request

    deadline = time.monotonic() + patience
    port_file = profile / "DevToolsActivePort"
    while time.monotonic() < deadline:
        if port_file.is_file() and port_file.read_text().strip():
            port = port_file.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise RuntimeError("Chromium did not start")
