"""The chapters in a real JupyterLab: whole before they are run, and without an error after."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Page, browser
from tests.support.pages import HTML, ROOT, parsed

pytestmark = [pytest.mark.browser, pytest.mark.pages, pytest.mark.slow]  # about a minute a chapter

PATIENCE = 300
CHAPTERS = [
    path.stem
    for path in sorted((ROOT / "book").glob("*.md"))
    if "```{code-cell}" in path.read_text(encoding="utf-8")
]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "open_lab.py"))
PANEL = '[...window.jupyterapp.shell.widgets("main")].find((w) => w.context && w.content.widgets)'
READY = f"""(async () => {{
  for (let i = 0; i < 600; i++) {{
    const panel = window.jupyterapp && {PANEL};
    if (panel && panel.context && panel.context.isReady && panel.content.widgets) {{
      await panel.revealed;
      await panel.sessionContext.ready;
      window.jupyterapp.shell.activateById(panel.id);
      return true;
    }}
    await new Promise((resolve) => setTimeout(resolve, 200));
  }}
  return false;
}})()"""
RUN = f"""window.jupyterapp.commands.execute("notebook:run-all-cells").then(() =>
  ({PANEL}).content.widgets.filter((cell) => cell.model.type === "code"
    && cell.model.sharedModel.source.trim() && cell.model.executionCount === null).length)"""
ERRORS = f"""({PANEL}).content.widgets.flatMap((cell) => cell.model.type === "code"
  ? cell.model.outputs.toJSON().filter((output) => output.output_type === "error")
      .map((output) => output.ename + ": " + output.evalue) : [])"""
UNFOLD = 'window.jupyterapp.commands.execute("notebook:show-all-cell-outputs").then(() => 0)'
SHOWN = f"""(() => {{ const node = ({PANEL}).content.node; return {{
  errors: [...node.querySelectorAll('[data-mime-type*="error"], [data-mime-type*="stderr"]')]
    .map((item) => item.innerText.slice(0, 300)),
  text: [...node.querySelectorAll(".jp-RenderedMarkdown")]
    .map((item) => item.innerText).join("\\n"),
  figures: node.querySelectorAll("figure.bb-figure svg").length,
  tables: node.querySelectorAll("figure.bb-table").length,
  formulas: node.querySelectorAll("mjx-container").length,
  explorers: node.querySelectorAll("bb-explorer.bb-live").length}}; }})()"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """JupyterLab with the settings of the project, on the notebooks that ``make lab`` opens."""
    pytest.importorskip("jupyterlab", reason="the lab extra is not installed")
    home = tmp_path_factory.mktemp("home")
    folder = home / "notebooks"
    settings = {"JUPYTER_CONFIG_PATH": str(ROOT / ".jupyter"), "HOME": str(home)}
    settings |= {"JUPYTER_DATA_DIR": str(home / "data"), "JUPYTER_RUNTIME_DIR": str(home / "run")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        SCRIPT["trust"](SCRIPT["write_notebooks"](HTML / "_sources" / "book", folder))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--allow-root",
            "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}",
            "--expose-app-in-browser",
        ]  # fmt: skip
        with (home / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ.copy())
            try:
                _wait(f"http://127.0.0.1:{port}/api", home / "log")
                yield f"http://127.0.0.1:{port}", folder
            finally:
                process.terminate()
                process.wait(timeout=60)


def _wait(url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own server
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as page:
        yield page


def _open(tab: Page, address: str, name: str) -> dict[str, Any]:
    tab.visit(f"{address}/lab/tree/{name}.ipynb?reset", 1400, "light")
    assert tab.run(READY), name
    tab.run(UNFOLD)  # what is folded is not drawn, and running a cell unfolds it
    tab.settle(3)
    return dict(tab.run(SHOWN))


def _looks_right(name: str, shown: dict[str, Any]) -> None:
    assert shown["errors"] == [], name
    for raw in ("{glue", "{numref}", "{eq}", "{func}", "{cite", ":label:", ":class:", ")=\n"):
        assert raw not in shown["text"], (name, raw)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_is_whole_before_and_after_it_runs(
    tab: Page, lab: tuple[str, Path], name: str
) -> None:
    address, folder = lab
    before = _open(tab, address, name)
    _looks_right(name, before)
    left = tab.run(RUN)
    assert tab.run(ERRORS) == []
    assert left == 0, "cells that did not run"
    tab.settle(1)
    after = dict(tab.run(SHOWN))
    _looks_right(name, after)
    for kind in ("figures", "tables", "formulas", "explorers"):
        assert before[kind] == after[kind], kind
    page = parsed(HTML / "book" / f"{name}.html")
    assert after["figures"] == len(page.select("figure.bb-figure svg")), name
    assert after["tables"] == len(page.select("figure.bb-table")), name
    assert after["explorers"] == len(page.find_all("bb-explorer")), name
    assert (after["formulas"] > 0) == bool(page.find("math")), name
    assert "Would you like to" not in tab.run("document.body.innerText"), "the news of JupyterLab"
    assert json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
