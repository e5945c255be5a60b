"""The picture of the followed pixel: the pixels it draws, its marks, bars and words."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import bitbybit
from bitbybit import pictures

IMAGE = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)


def drawn(
    feature_map: NDArray[np.int32], logits: tuple[float, ...] = (-2.0, 1.0)
) -> pictures.Picture:
    """A followed pixel with the window around (1, 2) and two classes."""
    return pictures.followed(
        IMAGE, feature_map, np.array(logits, np.float32), window=(0, 1, 3, 3), pixel=(1, 2),
        names=("a<b", "ship"), highlight=1, label="fig-x", caption="how to read it",
    )  # fmt: skip


def images(picture: pictures.Picture) -> list[NDArray[np.uint8]]:
    """The images in a picture, RGB."""
    encoded = re.findall(r"data:image/png;base64,([^\"]+)", picture.svg)
    opened = [Image.open(io.BytesIO(base64.b64decode(data))) for data in encoded]
    return [np.asarray(image.convert("RGB")) for image in opened]


def test_the_image_keeps_its_own_colours_and_no_pixel_is_smoothed() -> None:
    picture = drawn(np.eye(4, dtype=np.int32))
    assert np.array_equal(images(picture)[0], IMAGE.transpose(1, 2, 0))
    assert picture.svg.count("image-rendering:pixelated") == 2


def test_a_map_without_negative_values_is_sequential_and_one_with_them_diverges() -> None:
    zero_in_the_dark = images(drawn(np.eye(4, dtype=np.int32) * 7))[1]
    assert zero_in_the_dark[0, 1].max() < 100 < zero_in_the_dark[0, 0].max()
    pale_zero = images(drawn(np.eye(4, dtype=np.int32) * 7 - 2 * np.eye(4, k=1, dtype=np.int32)))[1]
    assert pale_zero[3, 0].min() > 220
    assert "blue −7" in drawn(-7 * np.eye(4, dtype=np.int32)).svg


def test_the_window_and_the_pixel_are_framed_where_they_are() -> None:
    picture = drawn(np.eye(4, dtype=np.int32))
    frames = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" '
        r'style="fill:none;[^"]*stroke-width:2"',
        picture.svg,
    )
    (left, top), (right, _) = (
        tuple(map(float, place))
        for place in re.findall(r'<image x="([\d.]+)" y="([\d.]+)"', picture.svg)
    )
    unit = 208 / 4
    assert [tuple(map(float, frame)) for frame in frames] == [
        (left + unit, top, 3 * unit, 3 * unit),
        (right + 2 * unit, top + unit, unit, unit),
    ]


def test_a_bar_is_as_long_as_its_logit_and_only_one_is_strong() -> None:
    picture = drawn(np.eye(4, dtype=np.int32))
    bars = re.findall(
        r'width="([\d.]+)"[^>]*fill-opacity:([\d.]+);stroke:var\(--bb-act', picture.svg
    )
    widths, tints = zip(*(map(float, bar) for bar in bars), strict=True)
    assert widths[0] == pytest.approx(2 * widths[1], rel=1e-4)
    assert tints == (0.25, 1.0)
    assert "a&lt;b" in picture.svg
    assert "ship is 1.00" in picture.alt


@pytest.mark.parametrize("logits", [(0.0, 0.0), (5.0, 5.0), (-1e30, 1e30)])
def test_any_logits_can_be_drawn(logits: tuple[float, ...]) -> None:
    picture = drawn(np.zeros((4, 4), np.int32), logits)
    assert not re.search(r'(width|x|x1)="-?(nan|inf)', picture.svg)


def test_a_name_for_each_logit_is_required() -> None:
    with pytest.raises(ValueError, match="2 names for 3 logits"):
        drawn(np.eye(4, dtype=np.int32), (1.0, 2.0, 3.0))


def test_the_strip_marks_the_layers_that_it_names_and_is_no_numbered_figure() -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    strip = pictures.you_are_here(model, "stack1.add", "pool")
    assert strip.svg.count("<rect") == len(model.layers)
    assert strip.svg.count("fill-opacity:1;") == 2
    assert "You are here: stack1.add, pool" in strip.svg
    assert "<figure" not in strip._repr_html_()
    assert 'aria-label="The network' in strip._repr_html_()


def test_the_strip_of_a_layer_that_is_not_there_is_an_error() -> None:
    model = bitbybit.load(bitbybit.example("int8"))
    with pytest.raises(bitbybit.BitbybitError, match="stack9"):
        pictures.you_are_here(model, "stack9.add")
