"""The layer selector in a browser: chosen by mouse, keyboard, link and URL; and without script."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from bitbybit.pictures.inspection_page import explore
from bitbybit.pictures.inspection_page import page as report_page
from tests.support.browser import Page, browser

pytestmark = pytest.mark.browser

VISIBLE = """[...document.querySelectorAll('section[data-layer]')]
  .filter(s => s.checkVisibility()).map(s => s.dataset.layer)"""
AXE = """axe.run(document)
  .then(found => found.violations.flatMap(rule => rule.nodes.map(
    node => [rule.id, node.target.join(" "), node.html.slice(0, 200)])))"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as tab:
        yield tab


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bitbybit.inspection.inspected import examine

    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_page(examine()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that gets two outputs as a notebook does: their HTML is put in by a script."""
    path = tmp_path_factory.mktemp("notebook") / "notebook.html"
    outputs = explore(label="a")._repr_html_(), explore("uint8", label="b")._repr_html_()
    path.write_text(
        "<!DOCTYPE html><html lang=en><title>n</title><body>" + "".join(outputs), encoding="utf-8"
    )
    return path


ENDS = "[...document.querySelectorAll('.bb-control button')].map(b => b.ariaDisabled)"


def press(tab: Page, key: str, code: int) -> None:
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)


def test_one_layer_is_shown_and_kept_in_the_url(tab: Page, report: Path) -> None:
    tab.open(report, 1280, "light")
    assert tab.run(VISIBLE) == ["stem"], "the first layer with weights"
    assert tab.run(ENDS) == ["false", "false"]
    tab.run("document.querySelector('nav a[data-layer=\"stack1.add\"]').dispatchEvent("
            "new MouseEvent('click', {bubbles: true, cancelable: true})); 0")  # fmt: skip
    assert tab.run(VISIBLE) == ["stack1.add"]
    assert tab.run("location.hash") == "#layer-stack1.add"
    assert tab.run("document.querySelector('select').value") == "stack1.add"
    assert tab.run("document.querySelectorAll('nav a[aria-current]').length") == 1
    tab.run("document.querySelector('select').value = 'dense';"
            "document.querySelector('select').dispatchEvent(new Event('change')); 0")  # fmt: skip
    assert tab.run(VISIBLE) == ["dense"]
    tab.run("location.hash = '#layer-stem'; 0")
    tab.settle()
    assert tab.run(VISIBLE) == ["stem"]
    tab.run("location.hash = '#nothing'; 0")
    tab.settle()
    assert tab.run(VISIBLE) == ["stem"]
    assert (tab.complaints(), tab.requests()) == ([], [])


def test_a_link_to_a_layer_opens_it(tab: Page, report: Path) -> None:
    tab.call("Page.navigate", url="about:blank")
    tab.settle()
    tab.open(report, 1280, "light", query="#layer-stack2.conv1")
    assert tab.run(VISIBLE) == ["stack2.conv1"]
    place = tab.run("""(() => { const f = document.querySelector('nav .bb-frame');
      const a = f.querySelector('[aria-current]').getBoundingClientRect();
      const v = f.getBoundingClientRect(); return a.left >= v.left && a.right <= v.right; })()""")
    assert place is True


def test_the_keyboard_reaches_every_layer(tab: Page, report: Path) -> None:
    tab.open(report, 390, "light")
    tab.run("document.querySelector('select').focus(); 0")
    press(tab, "ArrowDown", 40)
    assert tab.run(VISIBLE) == ["stack1.conv1"]
    assert tab.run(ENDS) == ["false", "false"]
    tab.run("[...document.querySelectorAll('.bb-control button')].at(-1).focus(); 0")
    press(tab, "Enter", 13)
    tab.run("document.activeElement.click(); 0")
    assert tab.run("document.querySelector('select').selectedIndex") >= 2
    tab.run("document.querySelector('nav a[data-layer=pool]').focus(); 0")
    assert tab.run("document.activeElement.dataset.layer") == "pool"


def test_arrows_walk_along_the_strip_which_is_one_tab_stop(tab: Page, report: Path) -> None:
    tab.open(report, 1280, "light")
    tab.run("document.querySelector('nav .bb-frame').focus(); 0")
    press(tab, "Tab", 9)
    assert tab.run("document.activeElement.dataset.layer") == "stem"
    press(tab, "End", 35)
    assert tab.run(VISIBLE) == ["logits"]
    press(tab, "Home", 36)
    press(tab, "ArrowRight", 39)
    press(tab, "ArrowRight", 39)
    press(tab, "ArrowLeft", 37)
    assert tab.run(VISIBLE) == ["stem"]
    assert tab.run("document.activeElement.dataset.layer") == "stem"
    press(tab, "Tab", 9)
    assert tab.run("document.activeElement.tagName") == "SELECT"


def test_without_script_every_layer_is_visible(tab: Page, report: Path) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(report, 1280, "light")
        assert len(tab.run(VISIBLE)) == 17
        assert tab.run("document.querySelectorAll('bb-explorer select').length") == 0
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)


def test_two_selectors_do_not_disturb_each_other(tab: Page, notebook: Path) -> None:
    tab.open(notebook, 1280, "light")
    assert tab.run(VISIBLE) == ["stem", "stem"]
    tab.run("""(s => { s.value = 'pool'; s.dispatchEvent(new Event('change')); })(
      document.querySelectorAll('select')[1]); 0""")
    assert tab.run(VISIBLE) == ["stem", "pool"]
    assert tab.run("location.hash") == "#b-pool"
    assert tab.complaints() == []


def counts(tab: Page) -> tuple[int, dict[str, Any]]:
    tab.call("HeapProfiler.collectGarbage")
    used = tab.call("Runtime.getHeapUsage")["usedSize"]
    return int(used), tab.call("Memory.getDOMCounters")


def test_memory_does_not_grow_when_layers_are_switched(tab: Page, notebook: Path) -> None:
    tab.open(notebook, 1280, "light")
    switch = """(n => { const s = document.querySelector('select');
      for (let i = 0; i < n; i++) { s.selectedIndex = i %% s.length;
        s.dispatchEvent(new Event('change')); } })(%d); 0"""
    tab.run(switch % 50)
    before, nodes = counts(tab)
    tab.run(switch % 200)
    after, later = counts(tab)
    assert after - before < 50_000
    assert later["nodes"] - nodes["nodes"] < 50
    assert later["jsEventListeners"] == nodes["jsEventListeners"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_the_report_is_accessible(tab: Page, report: Path, width: int, theme: str) -> None:
    pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    axe = resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    tab.open(report, width, theme)
    assert tab.run("document.documentElement.scrollWidth") == width
    tab.run("document.querySelectorAll('section[hidden]').forEach(s => s.hidden = false); 0")
    tab.run(axe)
    assert tab.run(AXE) == []
    assert (tab.requests(), tab.complaints()) == ([], [])
