"""The pictures of an addition: what they say is what the table holds, and names are escaped."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bitbybit import QuantParams, arithmetic, pictures


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_the_map_counts_the_pairs_on_the_rails_and_draws_both_lines(dtype: type) -> None:
    info = np.iinfo(dtype)
    zero, low = dtype(info.min + 140), dtype(info.min)
    table = arithmetic.add_table(0.05, zero, 0.02, zero, 0.02, low)
    picture = pictures.add_table(
        table, names=("a<b", "b"), mark=(info.min + 200, info.max), label="fig-x", caption=""
    )
    for rail in (info.min, info.max):
        assert f"{(table == rail).sum():,} " in picture.alt
    assert "a&lt;b" in picture.svg
    assert picture.svg.count("<path") == 4


def test_a_map_without_saturation_has_no_lines() -> None:
    table = np.tile(np.arange(-100, 156, dtype=np.int16).clip(-100, 100), (256, 1)).astype(np.int8)
    picture = pictures.add_table(table, label="fig-x", caption="")
    assert "<path" not in picture.svg


def test_rulers_of_any_sign_and_scale_stay_inside_the_drawing() -> None:
    coarse, fine = (
        QuantParams(np.asarray(s, np.float32), np.asarray(3, np.int8)) for s in (0.7, 0.001)
    )
    picture = pictures.rulers(
        ("x", coarse, -128), ("y", fine, 127), ("z", coarse, -100), label="fig-x", caption=""
    )
    places = [float(x) for x in re.findall(r'<line x1="([^"]+)"', picture.svg)]
    places += [float(x) for x in re.findall(r' x2="([^"]+)"', picture.svg)]
    assert 0 <= min(places) <= max(places) <= picture.width
    assert "-128 is -91.7" in picture.alt
