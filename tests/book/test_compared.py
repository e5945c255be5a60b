"""Pictures that compare: which pixels a mistake changes, and where a number stands on its axis."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bitbybit import pictures

RIGHT = np.array([[0, 10], [20, 40]], np.int32)


def images(picture: pictures.Picture) -> list[NDArray[np.uint8]]:
    """The maps in a picture, RGB."""
    encoded = re.findall(r"data:image/png;base64,([^\"]+)", picture.svg)
    opened = [Image.open(io.BytesIO(base64.b64decode(data))) for data in encoded]
    return [np.asarray(image.convert("RGB")).astype(int) for image in opened]


def test_a_mistake_shows_its_map_and_where_and_how_much_it_differs() -> None:
    wrong = RIGHT + np.array([[0, 0], [-3, 1]])
    drawn = pictures.mistakes(
        RIGHT, {"off": wrong}, notes={"": "ship", "off": "a <cat>"}, label="fig-x", caption="c"
    )
    right, made, difference = images(drawn)
    assert right[0, 0].sum() < right[0, 1].sum() < right[1, 1].sum()  # dark 0, bright 40
    assert np.array_equal(made[1, 1], right[1, 1])  # beyond the right map: its last colour
    pale, blue, brown = difference[0, 0], difference[1, 0], difference[1, 1]
    assert np.array_equal(difference[0, 1], pale)
    assert pale.min() > 220
    assert blue[2] > blue[0]
    assert brown[0] > brown[2]
    assert blue.sum() < brown.sum()  # three times as far
    assert drawn.alt == "right: ship. off: 2 of 4 differ, by up to 3, a <cat>"
    assert "a &lt;cat&gt;" in drawn.svg


def test_a_map_with_negative_values_diverges_and_an_equal_one_is_pale() -> None:
    drawn = pictures.mistakes(
        RIGHT - 20, {"none": RIGHT - 20}, notes={}, label="fig-x", caption="c"
    )
    right, made, difference = images(drawn)
    assert np.array_equal(right, made)
    assert right[1, 0].min() > 220  # 0 is pale
    assert (difference == difference[0, 0]).all()
    assert "none: 0 of 4 differ, by up to 0" in drawn.alt


def test_a_map_of_another_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match="fig-x: cut has shape"):
        pictures.mistakes(RIGHT, {"cut": RIGHT[:1]}, notes={}, label="fig-x", caption="c")


def places(picture: pictures.Picture) -> list[float]:
    """Where the circles stand."""
    return [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', picture.svg)]


def test_a_number_stands_where_the_axis_says() -> None:
    drawn = pictures.dots(
        [("a", 20), ("b", 30), ("c", 25)], ["dB"], unit="dB", label="fig-x", caption="c"
    )
    a, b, c = places(drawn)
    assert c == pytest.approx((a + b) / 2, abs=0.01)
    assert a < b
    for text in (">20<", ">30<", ">25<"):
        assert text in drawn.svg
    assert drawn.alt == "dB: a 20; b 30; c 25"


def test_powers_of_ten_are_as_far_apart_as_each_other_and_zero_is_left_of_them() -> None:
    rows = [("none", 0), ("one", 1), ("ten", 10), ("many", 1000)]
    none, one, ten, many = places(
        pictures.dots(rows, ["n"], logarithmic=True, label="fig-x", caption="c")
    )
    assert none < one < ten < many
    assert many - ten == pytest.approx(2 * (ten - one), abs=0.05)


def test_series_are_told_apart_by_marks_and_not_by_the_colour_of_a_tensor() -> None:
    drawn = pictures.dots([("x", 1, 2.5, 3, 4)], ["p", "q", "r", "s"], label="fig-x", caption="c")
    assert "● p\u2003○ q\u2003■ r\u2003□ s" in drawn.svg
    assert drawn.svg.count("<circle") == 2
    assert drawn.svg.count("<rect") == 2
    assert "var(--bb-weight" not in drawn.svg
    assert drawn.alt == "p, q, r, s: x 1, 2.5, 3, 4"


def test_a_number_that_is_not_there_has_no_mark() -> None:
    drawn = pictures.dots([("x", 1, None), ("y", 2, 3)], ["p", "q"], label="fig-x", caption="c")
    assert drawn.svg.count("<circle") == 3
    assert drawn.alt == "p, q: x 1, —; y 2, 3"


@pytest.mark.parametrize(
    "rows", [[], [("a", 0)], [("a", None)], [("a", 5), ("b", 5)], [("a", -1e-30, 1e30)]]
)
@pytest.mark.parametrize("logarithmic", [False, True])
def test_any_numbers_can_be_drawn(rows: list[tuple[object, ...]], logarithmic: bool) -> None:
    drawn = pictures.dots(rows, ["n"], logarithmic=logarithmic, label="fig-x", caption="c")
    assert "nan" not in drawn.svg
    assert "inf" not in drawn.svg
