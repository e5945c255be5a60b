"""The fast engine is the obvious one, bit for bit, and keeps what it promises."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitbybit.errors import BitbybitError, DataError, UnsupportedError
from bitbybit.execution.engine import compute, stream, trace, walk
from bitbybit.execution.runtime import ort_trace
from bitbybit.model.load import load
from bitbybit.model.types import Conv, QuantizedModel
from tests.support.models import Network, float_small, resnet8, small
from tests.support.networks import one_add, one_conv, quantized_images
from tests.support.runtime import identical, many

FORMS = pytest.mark.parametrize(
    ("dtype", "per_channel"), [(np.int8, True), (np.int8, False), (np.uint8, False)]
)


def same(model: QuantizedModel, x: Any) -> bool:
    """Whether both engines give the same trace: names, order, dtypes, shapes, bits."""
    fast, obvious = trace(model, x), walk(model, x)
    return list(fast) == list(obvious) and all(identical(fast[n], obvious[n]) for n in obvious)


BLOCK = 16
"""Images that the fast form takes together; the tests hold for any number."""


@FORMS
@pytest.mark.parametrize("seed", range(3))
def test_a_network_like_resnet8(dtype: type, per_channel: bool, seed: int) -> None:
    model = resnet8(seed, dtype, per_channel=per_channel)
    assert same(model, quantized_images((BLOCK + 3, 3, 32, 32), seed))


@pytest.mark.parametrize("count", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_any_number_of_images(count: int) -> None:
    assert same(small(count), quantized_images((count, 3, 8, 8), count))


@many(150)
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 3)] * 4),
    extra=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    types=st.sampled_from([("int8", "int8"), ("uint8", "uint8"), ("uint8", "int8")]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_convolution(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    extra: tuple[int, int],
    channels: tuple[int, int],
    types: tuple[str, str],
    seed: int,
) -> None:
    size = [max(1, kernel[d] - pads[d] - pads[d + 2]) + extra[d] for d in (0, 1)]
    model = one_conv(seed, channels, kernel, strides, pads, (size[0], size[1]), types)
    x = np.random.default_rng(seed).integers(*_range(types[0]), (3, channels[0], *size))
    assert same(model, x.astype(types[0]))


def _range(dtype: str) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1


def test_sums_beyond_2_to_the_24_are_exact() -> None:
    model = one_conv(1, (600, 4), (3, 3), (1, 1), (1, 1, 1, 1), (4, 4), extreme=True)
    x = np.full((2, 600, 4, 4), 127, np.int8)
    assert np.abs(trace(model, x).accumulator("conv")).max() > 2**24
    assert same(model, x)


def test_sums_that_wrap_are_left_to_the_definition() -> None:
    model = one_conv(1, (3, 4), (3, 3), (1, 1), (1, 1, 1, 1), (4, 4), bias=2**31 - 1)
    assert same(model, np.full((2, 3, 4, 4), 127, np.int8))


@pytest.mark.parametrize("change", [{"group": 2}, {"dilations": (2, 1)}])
def test_groups_and_dilations_are_left_to_the_definition(change: dict[str, Any]) -> None:
    model = one_conv(3, (4, 6), (3, 3), (1, 1), (2, 1, 2, 1), (7, 7), **change)
    assert same(model, quantized_images((2, 4, 7, 7), 3).astype(np.int8))


@pytest.mark.parametrize("ratio", [5 / 6, 0.7371])
def test_an_addition_by_formula_and_by_table(ratio: float) -> None:
    """5/6 makes ties that the short formula rounds otherwise: there the table is taken."""
    model = one_add(ratio)
    codes = np.arange(-128, 128).astype(np.int8)
    a, b = (np.tile(v.reshape(1, 1, 256, 256), (2, 1, 1, 1)) for v in np.meshgrid(codes, codes))
    assert same(model, {"a": a, "b": b})


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (1, 1, 2)])
@pytest.mark.parametrize("count", [1, 2])
def test_an_addition_of_few_numbers(count: int, shape: tuple[int, int, int]) -> None:
    """Two single numbers swap their places: the order depends on the batch."""
    codes = np.arange(-128, 128).astype(np.int8)
    for a, b in ((3, -7), (-128, 127), (50, 51)):
        x = {"a": np.full((count, *shape), codes[a + 128]), "b": np.full((count, *shape), b)}
        assert same(one_add(0.7371, shape), {name: v.astype(np.int8) for name, v in x.items()})


def test_not_a_number_infinity_and_ties_are_quantized_alike() -> None:
    x = np.random.default_rng(0).integers(-600, 1200, (BLOCK + 1, 3, 8, 8)) / np.float32(2)
    x = x.astype(np.float32)
    assert same(small(0), x)
    for image in (0, 1, BLOCK - 1, BLOCK):
        for model in (small(0), small(0, np.uint8), _with_zero_point(small(0), "input", 7)):
            rare = x.copy()
            rare[image, 0, 0, :3] = np.nan, np.inf, -np.inf
            assert same(model, rare)
            dtype = model.edges["input"].dtype
            rails = np.iinfo(dtype.name)
            codes = trace(model, rare)["input"][image, 0, 0, :3]
            assert codes.tolist() == [rails.min, rails.max, rails.min]


def _with_zero_point(model: QuantizedModel, name: str, zero_point: int) -> QuantizedModel:
    edge = model.edges[name]
    assert edge.params is not None
    zero = np.array(zero_point, edge.params.zero_point.dtype)
    changed = replace(edge, params=replace(edge.params, zero_point=zero))
    return replace(model, edges={**model.edges, name: changed})


def test_an_infinite_multiplier_makes_nan_of_0_and_the_lowest_code_of_that() -> None:
    model = one_conv(5, (3, 4), (3, 3), (1, 1), (1, 1, 1, 1), (4, 4), bias=0)
    edges = {
        name: replace(edge, params=replace(edge.params, scale=np.array(scale, np.float32)))
        for (name, edge), scale in zip(model.edges.items(), (1e38, 1e-38), strict=True)
        if edge.params is not None
    }
    model = replace(model, edges=edges)
    zero = edges["x"].params.zero_point  # type: ignore[union-attr]
    x = np.full((2, 3, 4, 4), zero)
    x[1] = np.random.default_rng(0).integers(-128, 128, x[1].shape)
    assert same(model, x)
    assert (trace(model, x)["conv"][0] == -128).all()


def test_a_pool_of_many_pixels_is_left_to_the_definition() -> None:
    net = Network((None, 1, 300, 300))
    model = net.finish(net.pool("pool", "input"))
    assert same(model, quantized_images((2, 1, 300, 300), 0))


class TestTrace:
    def test_arrays_are_read_only_and_made_once(self) -> None:
        found = trace(small(0), quantized_images((2, 3, 8, 8), 0))
        for name in found:
            values = found[name]
            assert not values.flags.writeable
            assert found[name] is values

    def test_the_input_is_a_copy(self) -> None:
        x = quantized_images((2, 3, 8, 8), 0).astype(np.float32)
        found = trace(small(0), x)
        before = found["image"].copy()
        x[...] = 0
        assert identical(found["image"], before)

    def test_names_are_in_graph_order(self) -> None:
        model = small(0)
        found = trace(model, quantized_images((1, 3, 8, 8), 0))
        assert list(found) == ["image", *(layer.name for layer in model.layers)]
        assert len(found) == len(model.layers) + 1

    def test_a_trace_survives_the_next_one(self) -> None:
        """Memory is used again only when its trace is gone."""
        model = small(0)
        first, second = (quantized_images((5, 3, 8, 8), seed) for seed in (1, 2))
        kept = trace(model, first)
        trace(model, second)
        trace(model, second)
        again = walk(model, first)
        assert all(identical(kept[name], again[name]) for name in again)

    def test_accumulators_belong_to_the_trace(self) -> None:
        model = small(0)
        found = trace(model, quantized_images((2, 3, 8, 8), 0))
        acc = found.accumulator("stem")
        conv = model.layer("stem")
        assert isinstance(conv, Conv)
        x, w = found["input"].astype(np.int64) + 128, conv.weight.values.astype(np.int64)
        corner = (x[1, :, :2, :2] * w[3, :, 1:, 1:]).sum()
        assert conv.bias is not None
        assert acc.dtype == np.int32
        assert acc[1, 3, 0, 0] == corner + conv.bias.values[3]

    @pytest.mark.parametrize("name", ["add", "flatten", "logits"])
    def test_layers_without_accumulator_say_so(self, name: str) -> None:
        found = trace(small(0), quantized_images((1, 3, 8, 8), 0))
        with pytest.raises(UnsupportedError, match="has no accumulator"):
            found.accumulator(name)

    def test_an_unknown_layer_names_the_nearest(self) -> None:
        found = trace(small(0), quantized_images((1, 3, 8, 8), 0))
        with pytest.raises(BitbybitError, match=r"no such layer \(found steam.*Near: stem"):
            found.accumulator("steam")


class TestReplaced:
    def test_own_codes_change_nothing(self) -> None:
        model, x = small(0), quantized_images((3, 3, 8, 8), 0)
        own = trace(model, x)
        found = trace(model, x, replaced={"stem": own["stem"]})
        assert all(identical(found[name], own[name]) for name in own)

    def test_later_layers_take_the_other_codes_and_earlier_ones_do_not(self) -> None:
        model, x = small(0), quantized_images((3, 3, 8, 8), 0)
        own = trace(model, x)
        wrong = own["stem"] ^ 5
        found = trace(model, x, replaced={"stem": wrong})
        assert identical(found["stem"], wrong)
        assert identical(found["input"], own["input"])
        at = next(i for i, layer in enumerate(model.layers) if layer.name == "stem")
        for layer in model.layers[at + 1 :]:
            expected = compute(model, layer, [found[name] for name in layer.inputs])
            assert identical(found[layer.name], expected)
        assert not identical(found[model.layers[-1].name], own[model.layers[-1].name])

    @pytest.mark.parametrize("change", [lambda q: q[:1], lambda q: q.astype(np.int16)])
    def test_codes_of_another_shape_or_type_are_refused(self, change: Any) -> None:
        model, x = small(0), quantized_images((3, 3, 8, 8), 0)
        wrong = change(trace(model, x)["stem"])
        with pytest.raises(DataError, match=r"stem.*place of the layer's output"):
            trace(model, x, replaced={"stem": wrong})

    def test_an_unknown_layer_names_the_nearest(self) -> None:
        x = quantized_images((1, 3, 8, 8), 0)
        with pytest.raises(BitbybitError, match=r"no such layer \(found steam.*Near: stem"):
            trace(small(0), x, replaced={"steam": x})


def test_a_model_that_was_traced_can_be_forgotten() -> None:
    model = small(0)
    trace(model, quantized_images((2, 3, 8, 8), 0))
    forgotten = weakref.ref(model)
    del model
    gc.collect()
    assert forgotten() is None


def test_a_float_network_names_the_way_to_run_it(tmp_path: Path) -> None:
    onnx.save(float_small(), tmp_path / "float.onnx")
    model = load(tmp_path / "float.onnx")
    x = np.zeros((1, 3, 8, 8), np.float32)
    with pytest.raises(UnsupportedError, match=r"layer stem \(Conv node 'stem'\).*ort_trace"):
        trace(model, x)
    assert list(ort_trace(model, x)) == ["image", *(layer.name for layer in model.layers)]


class TestStream:
    def test_batches_together_are_the_trace(self) -> None:
        model, x = small(0), quantized_images((37, 3, 8, 8), 0)
        parts = [dict(part) for part in stream(model, x, 10)]
        whole = trace(model, x)
        assert [len(part["image"]) for part in parts] == [10, 10, 10, 7]
        for name in whole:
            assert identical(np.concatenate([part[name] for part in parts]), whole[name])

    def test_memory_does_not_depend_on_the_number_of_images(self) -> None:
        assert _peak(160) == pytest.approx(_peak(40), rel=0.02)

    def test_batches_of_zero_images_are_refused(self) -> None:
        with pytest.raises(DataError, match="batch size is not positive"):
            list(stream(small(0), quantized_images((2, 3, 8, 8), 0), 0))


def _peak(count: int) -> int:
    model, x = small(0), quantized_images((count, 3, 8, 8), 0)
    gc.collect()
    tracemalloc.start()
    for part in stream(model, x, 20):
        part["add"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


class TestInputs:
    def test_pixels_of_uint8_are_the_same_as_of_float32(self) -> None:
        x = quantized_images((2, 3, 8, 8), 0)
        assert identical(trace(small(0), x)["add"], trace(small(0), x.astype(np.float32))["add"])

    @pytest.mark.parametrize(
        ("x", "what"),
        [
            (np.zeros((3, 8, 8), np.float32), r"wrong shape \(expected \[N, 3, 8, 8\], found"),
            (np.zeros((0, 3, 8, 8), np.float32), "wrong shape"),
            (np.zeros((1, 3, 9, 8), np.float32), "wrong shape"),
            (np.zeros((1, 3, 8, 8)), r"wrong dtype \(expected float32, found float64\)"),
            ({"picture": np.zeros((1, 3, 8, 8), np.float32)}, "expected image, found picture"),
            ({}, "missing .expected image, found none"),
        ],
    )
    def test_wrong_inputs_are_named(self, x: Any, what: str) -> None:
        with pytest.raises(DataError, match=what):
            trace(small(0), x)

    def test_a_fixed_batch_is_kept(self) -> None:
        net = Network((4, 3, 8, 8))
        model = net.finish(net.conv("stem", "input", 2))
        parts = list(stream(model, quantized_images((8, 3, 8, 8), 0)))
        assert [len(part["logits"]) for part in parts] == [4, 4]
        with pytest.raises(DataError, match=r"expected \[4, 3, 8, 8\]"):
            list(stream(model, quantized_images((6, 3, 8, 8), 0)))
