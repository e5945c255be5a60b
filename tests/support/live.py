"""The network of the page, outside of the page: the assembled script in Node or in Chromium.

What a script computed comes back as base64 of 32-bit little-endian arrays, since decimals would
hide a wrong bit.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitbybit.execution.engine import Trace, has_accumulator
from bitbybit.model.types import QuantizedModel

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "book" / "_static" / "live"
NODE = shutil.which("node")
Run: TypeAlias = Callable[[str], Any]
"""Evaluates an expression of JavaScript and returns its JSON value."""

HARNESS = """
globalThis.bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
globalThis.floats = (text) => new Float32Array(bytes(text).buffer);
globalThis.base64 = (array) => {
  const all = new Uint8Array(array.buffer);
  let text = "";
  for (let i = 0; i < all.length; i += 8192) {
    text += String.fromCharCode(...all.subarray(i, i + 8192));
  }
  return btoa(text);
};
globalThis.networks = {};
globalThis.network = (name) => networks[name] ??= bitbybit.read(bitbybitLive[name]);
globalThis.traced = (name, given, rules = {}) => {
  const model = network(name);
  const images = floats(given);
  const size = model.edges[model.input].size;
  const found = [];
  for (let at = 0; at < images.length; at += size) {
    const all = { ...bitbybit.CONTRACT, ...rules };
    const { codes, accumulators } = bitbybit.trace(model, images.subarray(at, at + size), all);
    const made = {};
    for (const { name } of model.layers) {
      const isReal = codes[name] instanceof Float32Array;
      made[name] = base64(isReal ? codes[name] : Int32Array.from(codes[name]));
      if (accumulators[name]) made[name + " acc"] = base64(accumulators[name]);
    }
    found.push(made);
  }
  return found;
};
0;
"""
"""``traced(model, images, rules)``: for each image, name of a tensor → its values."""


def extension() -> Any:
    """Return the part of the book's extension that exports networks and assembles scripts."""
    folder = str(ROOT / "book" / "_ext")
    if folder not in sys.path:
        sys.path.append(folder)
    from bitbybit_book import live  # type: ignore[import-not-found]

    return live


def script(entry: str = "page") -> str:
    """Return the script of a page."""
    return str(extension().script(MODULES, entry))


def assigned(models: Mapping[str, QuantizedModel]) -> str:
    """Return the script that gives a page these networks."""
    live = extension()
    return "".join(live.assigned(name, live.exported(model)) for name, model in models.items())


@contextmanager
def node(*scripts: str) -> Iterator[Run]:
    """Start Node with scripts; yield what evaluates one line of JavaScript at a time in it."""
    assert NODE is not None
    loop = (
        "const lines = require('readline').createInterface({input: process.stdin});"
        "globalThis.window = globalThis;"
        "lines.on('line', (line) => process.stdout.write("
        "JSON.stringify((0, eval)(JSON.parse(line))) + '\\n'));"
    )
    process = subprocess.Popen(
        [NODE, "-e", loop], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers = process.stdout

    def run(expression: str) -> Any:
        print(json.dumps(expression), file=process.stdin, flush=True)
        return json.loads(answers.readline())

    try:
        for text in (*scripts, HARNESS):
            run(f"{text}\n0;")
        yield run
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=60)


@contextmanager
def chromium(*scripts: str) -> Iterator[Run]:
    """Start Chromium with the same scripts in an empty page."""
    from tests.support.browser import browser

    with browser() as page:
        for text in (*scripts, HARNESS):
            page.run(f"{text}\n0;")
        yield page.run


def base64_of(values: NDArray[Any], dtype: str = "<f4") -> str:
    """Return an array's bytes as text."""
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode()


def differences(
    run: Run, name: str, expected: Trace, images: NDArray[Any], rules: str = "{}"
) -> dict[str, int]:
    """Return how many values of each tensor a script computes otherwise; equal ones are left out.

    Codes and accumulators of all layers are compared, of every image.
    """
    found = run(f"traced({name!r}, {base64_of(images)!r}, {rules})")
    assert len(found) == len(images) > 0
    wrong: dict[str, int] = {}
    for layer in expected.model.layers:
        tensors = {layer.name: expected[layer.name]}
        if has_accumulator(layer):
            tensors[f"{layer.name} acc"] = expected.accumulator(layer.name)
        for key, values in tensors.items():
            made = np.stack([decoded(image[key], values.dtype) for image in found])
            assert made.size == values.size, key
            count = int(np.count_nonzero(made.ravel() != values.ravel()))
            if count:
                wrong[key] = count
    return wrong


def decoded(text: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the 32-bit numbers of a tensor, real where ``dtype`` is."""
    return np.frombuffer(base64.b64decode(text), "<f4" if dtype.kind == "f" else "<i4")
