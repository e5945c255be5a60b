"""Images, strip and charts of the inspection: each pixel and each edge stands for a value."""

from __future__ import annotations

import base64
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bitbybit.inspection.activations import FeatureMaps
from bitbybit.inspection.statistics import Distribution, bin_edges, histogram
from bitbybit.inspection.weights import tensor_report
from bitbybit.model.types import Conv, Dense, Layer, QuantizedTensor, QuantParams
from bitbybit.pictures.charts import accumulator_histogram, partial_sums, staircase
from bitbybit.pictures.distributions import (
    BarHeight,
    accuracy_map,
    channel_ranges,
    histograms,
)
from bitbybit.pictures.explorer import Stop, _lanes, strip
from bitbybit.pictures.followed import window
from bitbybit.pictures.picture import Axis
from bitbybit.pictures.tensor_images import (
    GROUND,
    LEVELS,
    RAIL,
    feature_grid,
    grid,
    levels,
    palette,
    png_address,
    weight_grid,
)
from tests.support.arrays import f32, i8


def decoded(data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Palette entries and palette of a PNG file, read by its definition, checksums verified."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(body)
        chunks[body[:4]] = body[4:]
        at += 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any(), "palette entries are not filtered"
    return rows[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


def test_png_files_hold_the_entries_and_the_palette() -> None:
    entries = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found, colours = decoded(
        base64.b64decode(png_address(entries, diverging=True).partition(",")[2])
    )
    assert np.array_equal(found, entries)
    assert np.array_equal(colours, palette(diverging=True))


def test_zero_is_the_pale_middle_of_a_diverging_map() -> None:
    entries = levels(f32([-2, -1, 0, 1, 2, np.nan]), 1, diverging=True)
    assert entries.tolist() == [0, 0, LEVELS // 2, LEVELS - 1, LEVELS - 1, GROUND]
    colours = palette(diverging=True).astype(int)
    assert colours[LEVELS // 2].min() > 220
    blue, brown = colours[5], colours[LEVELS - 6]
    assert blue[2] > blue[0]
    assert brown[0] > brown[2]
    assert (levels(f32([0, 1]), 1, diverging=False) == [0, LEVELS - 1]).all()


def test_luminance_of_the_sequential_map_rises() -> None:
    luminance = palette(diverging=False)[:LEVELS] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > -0.5).all()


def test_a_grid_keeps_every_image() -> None:
    images = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
    sheet = grid(images, 2)
    assert sheet.shape == (8, 7)
    assert np.array_equal(sheet[3:5, 4:7], images[3])
    assert (sheet[6:8, 4:7] == GROUND).all()


def weight_layer(codes: NDArray[np.int8]) -> tuple[Layer, QuantizedTensor]:
    axis = 1 if codes.ndim == 2 else 0
    count = codes.shape[axis]
    params = QuantParams(f32(np.full(count, 0.5)), i8(np.zeros(count)), axis)
    tensor = QuantizedTensor("w", codes, params)
    kind = Dense if codes.ndim == 2 else Conv
    return kind("c", ("x",), tensor, None), tensor


def test_kernels_stand_in_columns_of_output_channels() -> None:
    codes = np.zeros((3, 2, 1, 1), np.int8)
    codes[2, 0] = 127
    layer, tensor = weight_layer(codes)
    picture, caption = weight_grid(tensor_report(layer, "weight", tensor))
    assert picture.entries.shape == (3, 5)
    assert picture.entries[0, 4] == LEVELS - 1
    assert picture.entries[2, 4] == LEVELS // 2
    assert "all 3 output channels" in caption
    assert "all 2 input channels" in caption


def test_dense_weights_are_rows_of_outputs() -> None:
    layer, tensor = weight_layer(i8([[1, -127, 0], [127, 0, 0]]))
    picture, caption = weight_grid(tensor_report(layer, "weight", tensor))
    assert picture.entries.shape == (3, 2)
    assert picture.entries[0, 1] == LEVELS - 1
    assert picture.entries[1, 0] == 0
    assert "Rows: all 3 output channels" in caption


def test_the_code_minus_128_is_marked() -> None:
    layer, tensor = weight_layer(i8([[[[-128, -127]]]]))
    picture, caption = weight_grid(tensor_report(layer, "weight", tensor))
    assert picture.entries.tolist() == [[RAIL, 0]]
    assert "−128 are magenta" in caption


@pytest.mark.parametrize("shape", [(512, 512, 3, 3), (4096, 1, 5, 5), (4096, 1000)])
def test_large_weights_are_cut_and_the_caption_says_so(shape: tuple[int, ...]) -> None:
    layer, tensor = weight_layer(np.ones(shape, np.int8))
    for pixels in (3_000, 70_000):
        picture, caption = weight_grid(tensor_report(layer, "weight", tensor), pixels)
        assert picture.entries.size < 2.5 * pixels
        assert "the first" in caption


def test_feature_maps_mark_saturated_values() -> None:
    codes = i8([[[-128, 127], [0, 1]]])
    params = QuantParams(np.array(1, np.float32), np.array(-128, np.int8))
    real = f32(codes.astype(np.float32) + 128)
    grids, caption = feature_grid(FeatureMaps(codes, params, real, real * 2))
    assert [name for name, _ in grids] == ["integer", "float"]
    assert grids[0][1].entries[0, 1] == RAIL
    assert grids[0][1].entries[0, 0] == 0
    assert "1 values at the upper rail" in caption
    one, caption = feature_grid(FeatureMaps(codes[:, 0, 0], params, real[:, 0, 0], None))
    assert one[0][1].entries.shape == (1, 1)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(2, 12)), max_size=12))
def test_arcs_in_one_lane_never_cross(spans: list[tuple[int, int]]) -> None:
    skips = [(a, a + length) for a, length in spans]
    lanes = _lanes(skips)
    assert len(lanes) == len(skips)
    for (a, b), i in zip(skips, lanes, strict=True):
        for (c, d), j in zip(skips, lanes, strict=True):
            if i == j < 9 and (a, b) != (c, d):
                assert b <= c or d <= a


def test_the_strip_links_and_draws_each_edge() -> None:
    stops = [
        Stop("image", "", "3", False, ()),
        Stop("a", "layer-a", "8×4", True, ("image",)),
        Stop("b", "layer-b", "8×4", False, ("a",)),
        Stop("sum", "layer-sum", "8×4", True, ("b", "a")),
    ]
    svg = strip(stops)
    assert svg.count("<a ") == 3
    assert svg.count("<path") == 4
    assert svg.count("[Q]</small>") == 2
    assert "xxxxxx…xxxxxxx" in strip([Stop("x" * 40, "", "", False, ())])


def test_charts_of_nothing_and_of_one_value() -> None:
    empty = histogram(f32([]), bin_edges([f32([])]))
    nothing = [Distribution(title="t", role="weight", histogram=empty)]
    assert "no values" in histograms(nothing, label="l", caption="c").svg
    chart = channel_ranges("t", f32([0]), f32([0]))
    assert "nan" not in chart.picture("l", "c", "a").svg


def test_the_float_range_of_a_channel_is_a_line_in_its_bar() -> None:
    alone = channel_ranges("t", f32([-1, 0]), f32([1, 2])).picture("l", "c", "a").svg
    both = channel_ranges("t", f32([-1, 0]), f32([1, 2]), twin=(f32([-3, 0]), f32([1, 2])))
    svg = both.picture("l", "c", "a").svg
    assert (alone.count("<path"), svg.count("<path")) == (1, 2)
    assert "least −3" in svg


def test_ticks_are_round_values_below_the_top() -> None:
    for top in (0.3, 1.0, 9.8, 46.0, 100.0):
        ticks = BarHeight(logarithmic=False, top=top).ticks()
        assert 1 <= len(ticks) <= 3
        assert all(value <= top and label == f"{value:.4g} %" for value, label in ticks)
    assert BarHeight(logarithmic=False, top=4608).ticks()[0] == (2000, "2,000 %")
    ticks = BarHeight(logarithmic=True, top=np.log10(1 + 52_262)).ticks()
    assert [label for _, label in ticks] == ["100", "10,000"]
    assert BarHeight(logarithmic=True, top=0.5).ticks() == []


def test_axes_are_labelled_and_labels_keep_apart() -> None:
    values = f32([-0.001, 0, 1])
    h = histogram(values, bin_edges([values]))
    parts = [Distribution(title="FP32", role="bias", histogram=h)]
    drawn = histograms(parts, label="l", caption="c").svg
    assert ">bias<" in drawn
    assert ">−0.001<" in drawn
    assert ">0<" not in drawn  # it would cover the number at the end


def test_pictures_say_what_they_show() -> None:
    h = histogram(f32([0, 1, 1]), bin_edges([f32([0, 1])]))
    parts = [Distribution(title="FP32", role="weight", histogram=h, outline=h)]
    assert "FP32: 3 values" in histograms(parts, label="l", caption="c", logarithmic=True).alt
    drawn = accuracy_map({(2, 2): 10.0, (2, 4): 85.5, (4, 4): 88.0}, label="l", caption="c")
    assert "2 weight and 4 activation bits: 85.5 %" in drawn.alt
    assert drawn.svg.count("<rect") == 3


def test_charts_of_accumulators_draw_every_step() -> None:
    walk = partial_sums(np.array([5, -7, 100], np.int32), -1, label="fig-w", caption="")
    assert "from -1 to 97, lowest -3, highest 97" in walk.alt
    assert walk.svg.count("H") == 3
    assert ">97</text>" in walk.svg
    assert "bias −1<" in walk.svg
    steps = staircase(np.arange(6), i8([0, 0, 1, 1, 1, 2]), 0.4, 0, mark=3, label="f", caption="")
    assert steps.svg.count("H") == 3
    assert "3 → 1<" in steps.svg
    bars = accumulator_histogram(np.array([-40_000, 0, 32_767], np.int32), label="f", caption="")
    assert "; 1 lie outside -32768..32767" in bars.alt
    one = partial_sums(np.array([0], np.int32), label="fig-w", caption="")
    assert "nan" not in one.svg


def test_a_register_that_saturates_walks_beside_the_sum() -> None:
    drawn = partial_sums(
        np.array([100, 100, -60], np.int32), 10, label="fig-w", caption="", register=8
    )
    assert all(f">{value}</text>" in drawn.svg for value in ("127", "−128", "67", "150"))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_curve_does_not_cross_the_label_of_the_bias(sign: int) -> None:
    products = sign * np.array([50, 60, 500, -900, 30, 20, 0, 0, 0, 0, 0, 0], np.int32)
    drawn = partial_sums(products, 7, label="fig-w", caption="")
    label = re.search(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>bias 7<', drawn.svg)
    path = re.search(r'<path d="M([\d.]+) ([\d.]+)([VH\d.]+)"', drawn.svg)
    assert label
    assert path
    x, y = float(path[1]), float(path[2])
    heights = [y]
    for letter, number in re.findall(r"([VH])([\d.]+)", path[3]):
        x, y = (float(number), y) if letter == "H" else (x, float(number))
        if x < float(label[1]) + 70:
            heights.append(y)
    baseline = float(label[2])
    assert all(height > baseline or height < baseline - 9 for height in heights)
    assert max(heights) < baseline or min(heights) > baseline - 9


@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e9), st.integers(3, 9))
def test_ticks_are_few_and_lie_between_the_ends(low: float, span: float, most: int) -> None:
    ticks = Axis(low, low + span, 0, 1).ticks(most)
    assert 1 <= len(ticks) <= most + 1
    assert all(
        low - 1e-9 * span <= place <= low + span + 1e-9 * abs(low + span) for place, _ in ticks
    )


def test_a_window_of_many_channels_sums_those_that_it_does_not_draw() -> None:
    ones = np.ones((6, 3, 3), np.int32)
    drawn = window(ones, ones, 5, label="w", caption="c").svg
    assert "9 + 9 + 9 + 9 + 18 of 2 more channels  + bias 5  =  59" in drawn
    signed = window(ones, -ones, 0, label="w", caption="c").svg
    blue, brown = (signed.count(f"fill:{colour}") for colour in ("#0b5f92", "#a6500f"))
    assert (blue, brown) == (2 * 4 * 9, 4 * 9)
    with pytest.raises(ValueError, match=r"expected twice \[C, kH, kW\]"):
        window(ones, ones[:2], label="w", caption="c")
