"""The live network on the landing page, in Chromium from file://: touched as readers touch it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bitbybit
from tests.support.broken import broken
from tests.support.browser import Page, browser
from tests.support.pages import HTML

pytestmark = [pytest.mark.browser, pytest.mark.pages]
INDEX = HTML / "book" / "index.html"
TITLE = "document.querySelector('.bb-live-title').textContent"
STATUS = "document.querySelector('.bb-live-status').textContent"


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as tab:
        yield tab


def opened(tab: Page, fragment: str = "", width: int = 1280) -> Page:
    tab.visit("about:blank", width, "light")
    tab.open(INDEX, width, "light", query=fragment)
    tab.settle(0.3)
    return tab


def press(tab: Page, key: str) -> None:
    code = {"Enter": 13, "Tab": 9, " ": 32}.get(key, 0)
    text = {"Enter": "\r", " ": " "}.get(key)
    more = {"text": text} if text else {}
    tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **more)
    tab.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)


def click(tab: Page, selector: str, right: float = 0.5, down: float = 0.5) -> None:
    """Click into an element, at shares of its width and height."""
    box = tab.run(
        f"((e) => {{ e.scrollIntoView({{block: 'center', behavior: 'instant'}}); const b ="
        f" e.getBoundingClientRect();"
        f" return [b.left, b.top, b.width, b.height]; }})(document.querySelector({selector!r}))"
    )
    at = {"x": box[0] + box[2] * right, "y": box[1] + box[3] * down}
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)


def test_it_computes_what_the_build_computed(tab: Page) -> None:
    opened(tab)
    assert "checksum is the one" in tab.run(STATUS)
    assert tab.run(TITLE) == "Receipt ship · stem · channel 3 · row 12 · column 20 · code −92"
    assert (tab.complaints(), tab.requests()) == ([], [])
    for name in ("uint8", "int8_per_tensor"):
        tab.run(f"bitbybit.view.go({{model: {name!r}}}); 0")
        tab.settle(1.0)
        assert "checksum is the one" in tab.run(STATUS)
    assert (tab.complaints(), tab.requests()) == ([], [])


def test_a_click_a_key_and_back(tab: Page) -> None:
    opened(tab)
    column, row = 3 * 8 + 5.5, 8 + 2.5  # in the map of channel 11, the fourth of the second row
    click(tab, 'button[data-layer="stack3.add"]', column / 64, row / 64)
    tab.settle()
    assert tab.run("location.hash") == "#ship/stack3.add/11/2/5"
    click(tab, 'button[data-layer="dense"][data-channel="8"]')
    tab.settle()
    assert tab.run("location.hash") == "#ship/dense/8/0/0"
    assert "dense" in tab.run(TITLE)
    tab.run("history.back(); 0")
    tab.settle(0.4)
    assert "channel 11 · row 2 · column 5" in tab.run(TITLE)
    tab.run("document.querySelector('button[data-layer=\"stack3.add\"]').focus(); 0")
    for key in ("ArrowRight", "ArrowDown", "PageUp"):
        press(tab, key)
    assert tab.run("location.hash") == "#ship/stack3.add/10/3/6"
    tab.run("document.querySelector('button[data-layer=\"stack2.add\"]').focus(); 0")
    press(tab, "Enter")
    tab.settle()
    assert "stack2.add · channel 10 · row 3 · column 6" in tab.run(TITLE)
    click(tab, '[data-picture="cat"]')
    tab.settle()
    assert tab.run("location.hash") == "#cat/stack2.add/10/3/6"
    assert (tab.complaints(), tab.requests()) == ([], [])


@pytest.mark.parametrize(
    ("fragment", "title", "status"),
    [
        ("#frog/pool/9/0/0", "frog · pool · channel 9", "checksum is the one"),
        ("#ship/nowhere/1/1/1", "ship · stem", "no layer"),
        ("#ship/stem/1/99/1", "stem · channel 1 · row 31", "nearest one"),
        ("#ship/stem/1/1/1?model=other", "ship · stem", "no model"),
        ("#yours/stem/1/1/1", "ship · stem", "choose it again"),
        ("#ship/stem/0/0/0?break=pad-0", "ship · stem", "codes changed"),
        ("#verify-it", "stem · channel 3 · row 12", "checksum"),
    ],
)
def test_an_address_opens_its_receipt(tab: Page, fragment: str, title: str, status: str) -> None:
    opened(tab, fragment)
    assert title in tab.run(TITLE)
    assert status in tab.run(STATUS)
    assert tab.complaints() == []


def test_a_switch_counts_what_it_changes_and_where(tab: Page) -> None:
    counts = "[...document.querySelectorAll('.bb-live-count')].map(c => c.textContent)"
    opened(tab)
    assert set(tab.run(counts)) == {""}
    click(tab, ".bb-live-break input[value=no-bias]")
    tab.settle()
    assert tab.run("location.hash") == "#ship/stem/3/12/20?break=no-bias"
    model = bitbybit.load(bitbybit.example("int8"))
    ship = bitbybit.samples().images[8:9].astype(np.float32)
    right, wrong = bitbybit.trace(model, ship), broken(model, ship, "no-bias")
    expected = {name: np.count_nonzero(right[name] != wrong[name]) for name in right}
    shown = tab.run("[...document.querySelectorAll('.bb-live-tile')].map(b => b.dataset.layer)")
    assert tab.run(counts) == [f"{expected[name]:,} changed" for name in shown]
    integers = [edge.name for edge in model.edges.values() if edge.params is not None]
    total = sum(expected[name] for name in integers)
    assert tab.run(STATUS).startswith(f"{total:,} of ")
    click(tab, ".bb-live-break input[value=wrap-16]")
    click(tab, ".bb-live-break input[value=saturate-16]")
    tab.settle()
    assert tab.run("location.hash").endswith("?break=no-bias,saturate-16"), "one of a group"
    for _ in range(3):
        tab.run("history.back(); 0")
        tab.settle(0.3)
    assert set(tab.run(counts)) == {""}
    assert (tab.complaints(), tab.requests()) == ([], [])


def own_picture(tab: Page, folder: Path, name: str, content: bytes) -> str:
    """Choose a file as the reader's own picture; return what the page says."""
    path = folder / name
    path.write_bytes(content)
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    node = tab.call("DOM.querySelector", nodeId=root, selector="#bb-own")["nodeId"]
    tab.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)
    tab.settle(0.6)
    return str(tab.run(STATUS))


def test_a_picture_of_the_reader_and_what_is_none(tab: Page, tmp_path: Path) -> None:
    opened(tab)
    assert "no picture" in own_picture(tab, tmp_path, "a.png", b"not a picture")
    assert "no picture" in own_picture(tab, tmp_path, "empty.png", b"")
    assert "ship" in tab.run(TITLE)
    wide = io.BytesIO()
    Image.new("RGBA", (1500, 700), (200, 30, 40, 0)).save(wide, "PNG")
    assert "Every integer of yours" in own_picture(tab, tmp_path, "wide.png", wide.getvalue())
    assert tab.run("location.hash") == "#yours/stem/3/12/20"
    assert tab.run("[...new Set(bitbybit.view.planes())]") == [255], "transparent is white"
    assert tab.run("!document.querySelector('.bb-live-preview').hidden")
    assert (tab.complaints(), tab.requests()) == ([], [])


def test_without_a_clipboard_the_receipt_stands_in_a_box(tab: Page) -> None:
    opened(tab)
    tab.run("Object.defineProperty(navigator, 'clipboard', {value: undefined}); 0")
    tab.run("history.pushState = () => { throw new Error('forbidden'); }; 0")
    for i, start in enumerate(("ship, stem, channel 3", "{", "/* ship")):
        tab.run(f"document.querySelectorAll('.bb-copy button')[{i}].click(); 0")
        tab.settle()
        assert tab.run("document.querySelector('.bb-copy textarea').value").startswith(start)
    assert "forbids" in tab.run(STATUS)
    click(tab, 'button[data-layer="stack3.add"]')
    tab.settle()
    assert "stack3.add" in tab.run(TITLE), "a page without a history works"


def test_without_a_script_the_same_picture_stands_there(tab: Page) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened(tab)
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
    drawn = "[...document.querySelectorAll('.bb-live noscript img')]"
    assert tab.run(f"{drawn}.length") == 14
    still = tab.run(f"{drawn}.every(i => i.naturalWidth > 0 && i.checkVisibility())")
    assert still
    first = "document.querySelector('[data-first]').dataset.channel"
    assert tab.run(first) == "8", "the ship"


def test_the_static_picture_is_the_live_one(tab: Page) -> None:
    opened(tab)
    drawn = tab.run(
        "[...document.querySelectorAll('.bb-live-tile')].map(b => "
        "[b.dataset.layer, b.querySelector('canvas').toDataURL('image/png')])"
    )
    assert len(drawn) == 13
    for name, address in drawn:
        live = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        with Image.open(HTML / "_static" / "live" / f"int8-{name}.png") as static:
            assert live.convert("RGB").tobytes() == static.convert("RGB").tobytes(), name


def test_nothing_shifts_and_nothing_needs_an_unsafe_policy(tab: Page) -> None:
    for width in (1280, 390):
        tab.visit("about:blank", width, "light")
        script = (
            "window.shifts = []; new PerformanceObserver(list => {"
            " for (const e of list.getEntries()) for (const s of e.sources)"
            " if (s.node?.parentElement?.closest('.bb-live')) shifts.push(s.node.outerHTML);"
            "}).observe({type: 'layout-shift', buffered: true});"
        )
        added = tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        opened(tab, width=width)
        assert tab.run("shifts") == [], "what the theme itself moves is not ours"
        tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])
    text = (HTML / "_static" / "live.js").read_text(encoding="utf-8")
    assert not any(word in text for word in ("eval(", "new Function", "innerHTML", "fetch("))
    live = INDEX.read_text(encoding="utf-8").partition('<div class="bb-live"')[2]
    assert " style=" not in live.partition("bb-live-receipt")[0]
    assert " on" not in {f" {key[:2]}" for key in tab.run(
        "[...document.querySelectorAll('.bb-live, .bb-live *')].flatMap(e => e.getAttributeNames())"
    )}  # fmt: skip
