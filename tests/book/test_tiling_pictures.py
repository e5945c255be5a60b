"""Memory over the layers, and a matrix cut into tiles: what is drawn is what is said."""

from __future__ import annotations

import re

import bitbybit
from bitbybit import hardware, pictures
from bitbybit.hardware import Array, Buffer


def test_each_buffer_has_a_row_and_each_layer_its_bytes() -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    names = [layer.name for layer in model.layers]
    live = [size or 0 for size in hardware.live_bytes(model)]
    buffers = hardware.buffers(model)
    drawn = pictures.live_ranges(buffers, names, live, label="fig-live", caption="c")
    assert "stem 16,384 bytes, stem to stack1.add" in drawn.alt
    assert drawn.alt.count(" bytes, ") == len(buffers)
    assert drawn.svg.count("<rect") == len(buffers) + len(names)
    assert drawn.svg.count(">48<") == 2
    assert drawn.svg.count("&lt; 1") == sum(size < 1024 for size in live)


def test_a_bar_is_as_long_as_its_buffer_is_kept() -> None:
    kept = (Buffer("a", 1024, 0, 1), Buffer("b", 2048, 1, 1))
    drawn = pictures.live_ranges(kept, ["x", "y"], [1024, 3072], label="fig-two", caption="c")
    widths = [float(w) for w in re.findall(r'<rect [^>]*?width="([\d.]+)"', drawn.svg)]
    assert round(widths[2] - 2 * widths[3]) == 2  # two layers and one, less the edges


def test_tiles_are_drawn_as_they_are_counted() -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    found = hardware.mapping(model, model.layer("stack1.conv1"), Array(64, 64))
    assert found is not None
    drawn = pictures.tiles(found, label="fig-tiles", caption="c")
    assert "3 x 1 tiles of 64 x 64, 18.8 % of the multipliers hold a weight" in drawn.alt
    assert drawn.svg.count("<line") == (3 + 1) + (1 + 1)
