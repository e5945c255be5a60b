"""Calibration: independent of batches, exact on pixels, and clear about bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bitbybit.errors import BitbybitError, DataError, UnsupportedError
from bitbybit.execution.engine import trace
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, QuantizedModel
from bitbybit.quantization import Calibration, Scheme, quantize
from bitbybit.quantization.conversion import weight_rows
from bitbybit.quantization.edges import CodeEdges
from bitbybit.quantization.record import unpack
from tests.support.float_nets import images_for
from tests.support.graphs import GraphMaker
from tests.support.models import float_small
from workshop.calibration import METHODS, calibrate
from workshop.calibration.observe import input_vectors, observe
from workshop.calibration.ranges import Grid, edge_grid
from workshop.calibration.tuning import RoundedNetwork, inner_edges, tune_ranges

Network = Callable[[str], QuantizedModel]
SCHEMES = (Scheme(), Scheme("uint8", "uint8", per_channel=False), Scheme(activation_bits=4))


def saved(calibration: Calibration, tmp_path: Path) -> str:
    calibration.save(tmp_path / "record.json")
    return (tmp_path / "record.json").read_text()


@pytest.mark.parametrize("method", METHODS)
def test_the_record_does_not_depend_on_the_batches(
    method: Any, network: Network, tmp_path: Path
) -> None:
    model = network("small")
    images = images_for(model, 7)
    cuts: list[Any] = [
        [images],
        images,
        {"image": images},
        list(images[:, None]),
        (part for part in (images[:3], images[3:])),
        [{"image": images[:6].astype(np.float32)}, {"image": images[6:].astype(np.float32)}],
    ]
    records = {saved(calibrate(model, cut, method, SCHEMES), tmp_path) for cut in cuts}
    assert len(records) == 1


def test_pixels_have_their_own_range(network: Network) -> None:
    """0..255 whatever was seen, also where the method would clip."""
    model = network("small")
    images = images_for(model) // 2
    for method in ("mse", "percentile"):
        calibration = calibrate(model, [images], method)
        assert calibration.variants[0].ranges["image"] == (0.0, 255.0)
        params = quantize(model, calibration).edges["input"].params
        assert params is not None
        assert (float(params.scale), int(params.zero_point)) == (1.0, -128)


@pytest.mark.parametrize("shift", [0.5, -1.0, 3.0])
def test_other_inputs_have_the_range_they_show(shift: float, network: Network) -> None:
    """Fractions, negative values, values beyond 255: no pixels."""
    model = network("small")
    images = images_for(model).astype(np.float32) + np.float32(shift)
    low, high = calibrate(model, [images], "minmax").variants[0].ranges["image"]
    assert (low, high) == (min(float(images.min()), 0.0), float(images.max()))


@pytest.mark.parametrize("name", ["small", "kinds", "foreign"])
def test_input_vectors_times_weight_rows_are_the_layer(name: str, network: Network) -> None:
    """The im2col of every kind of layer against ONNX Runtime's activations."""
    model = network(name)
    images = images_for(model, 2)
    edges = _float_edges(model, images)
    for layer in model.layers:
        if not isinstance(layer, Conv | Dense):
            continue
        vectors = input_vectors(layer, edges[layer.inputs[0]]).astype(np.float64)
        out = np.matmul(vectors, weight_rows(layer).transpose(0, 2, 1))  # [G, P, M/G]
        channels = out.transpose(0, 2, 1).reshape(-1, out.shape[1])
        if layer.bias is not None:
            channels += layer.bias.values[:, None].astype(np.float64)
        if layer.relu:
            channels = np.maximum(channels, 0)
        expected = np.moveaxis(edges[layer.name], 1, 0).reshape(len(channels), -1)
        np.testing.assert_allclose(channels, expected, rtol=1e-4, atol=1e-3)


def _float_edges(model: QuantizedModel, images: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Run the float file with every edge as an output."""
    import onnxruntime

    proto = onnx.load(model.path)
    names = {layer.name: model.edges[layer.name].onnx_name for layer in model.layers}
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names.values())
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = images.astype(np.float32)
    values = session.run(list(names.values()), {"image": x})
    return dict(zip(names, values, strict=True)) | {"image": x}


def test_moments_are_those_of_all_vectors(network: Network) -> None:
    model = network("kinds")
    images = images_for(model, 3)
    seen = observe(model, [images], CodeEdges(model), gram=True)
    edges = _float_edges(model, images)
    layer = model.layer("grouped")
    assert isinstance(layer, Conv)
    vectors = input_vectors(layer, edges[layer.inputs[0]]).astype(np.float64)
    moments = seen.moments["grouped"]
    assert moments.count == vectors.shape[1]
    np.testing.assert_allclose(moments.total, vectors.sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(moments.gram, vectors.transpose(0, 2, 1) @ vectors, rtol=1e-4)


def test_bias_correction_removes_the_mean_output_error(network: Network) -> None:
    """On the calibration images, in float, with the rounded weights."""
    model = network("kinds")
    images = images_for(model, 5)
    scheme = Scheme(weight_bits=3, weights="mse")
    record = calibrate(model, [images], "minmax", (scheme,)).variants[0].layers
    edges = _float_edges(model, images)
    for name in ("stem", "depthwise", "bare", "grouped", "dense"):
        layer = model.layer(name)
        assert isinstance(layer, Conv | Dense)
        rows = weight_rows(layer)
        entry = record[name]
        scale = entry.scale.astype(np.float64)[:, None]
        codes = np.clip(np.rint(rows.reshape(len(scale), -1) / scale), -3, 3)
        codes += unpack(entry.rounding, codes.shape)
        vectors = input_vectors(layer, edges[layer.inputs[0]]).astype(np.float64)
        missing = rows - (codes * scale).reshape(rows.shape)
        mean = np.matmul(vectors, missing.transpose(0, 2, 1)).mean(axis=1).reshape(-1)
        bias = 0 if layer.bias is None else layer.bias.values
        assert entry.bias is not None
        np.testing.assert_allclose(entry.bias - bias, mean, rtol=1e-3, atol=1e-4)


def _rounded_rows(layer: Conv | Dense, made: QuantizedModel) -> NDArray[np.float64]:
    """Return the weights that the integers stand for, in the shape of ``weight_rows``."""
    found = made.layer(layer.name)
    assert isinstance(found, Conv | Dense)
    assert found.weight.params is not None
    scale = found.weight.params.scale.astype(np.float64)
    axis = 0 if isinstance(layer, Conv) else 1
    codes = np.moveaxis(found.weight.values.astype(np.float64), axis, 0)
    return (codes.reshape(len(scale), -1) * scale[:, None]).reshape(weight_rows(layer).shape)


@pytest.mark.parametrize("corrected", [False, True])
def test_gptq_minimizes_the_error_that_the_bias_leaves(corrected: bool, network: Network) -> None:
    """All of it without bias correction, its variance with it: each beats the other's rounding."""
    model = network("kinds")
    images = images_for(model, 5)
    edges = _float_edges(model, images)
    schemes = [Scheme(weight_bits=3, bias_correction=kind) for kind in (corrected, not corrected)]
    calibration = calibrate(model, [images], "minmax", schemes)
    errors = []
    for scheme in schemes:
        made, total = quantize(model, calibration, scheme), 0.0
        for layer in model.layers:
            if isinstance(layer, Conv | Dense):
                vectors = input_vectors(layer, edges[layer.inputs[0]]).astype(np.float64)
                missing = weight_rows(layer) - _rounded_rows(layer, made)
                error = np.matmul(vectors, missing.transpose(0, 2, 1))
                error -= error.mean(axis=1, keepdims=True) if corrected else 0
                total += float(np.square(error).mean())
        errors.append(total)
    assert errors[0] < errors[1]


def test_without_correction_the_bias_is_the_networks_own(network: Network) -> None:
    model = network("small")
    scheme = Scheme(bias_correction=False)
    layers = calibrate(model, [images_for(model)], schemes=(scheme,)).variants[0].layers
    assert {record.bias for record in layers.values()} == {None}


@pytest.mark.parametrize("bits", [4, 5])
def test_tuned_ranges_bring_the_outputs_closer(bits: int, network: Network) -> None:
    """On the calibration images, on new ones, and by the exact integer network."""
    model = network("sum")
    images = images_for(model, 20)
    scheme = Scheme(activation_bits=bits)
    by_mse, tuned = (calibrate(model, [images], method, (scheme,)) for method in ("mse", "output"))
    widest = calibrate(model, [images], "minmax", (scheme,)).variants[0].ranges
    for name, (low, high) in tuned.variants[0].ranges.items():
        assert widest[name][0] <= low <= 0 <= high <= widest[name][1]
    for judged in (images, images_for(model, 60, seed=9)):
        errors = [_output_error(model, quantize(model, c), judged) for c in (by_mse, tuned)]
        assert errors[1] < 0.8 * errors[0]


def _output_error(model: QuantizedModel, made: QuantizedModel, images: Any) -> float:
    exact = _float_edges(model, images)[model.outputs[0]]
    found = trace(made, images)[made.outputs[0]]
    return float(np.square(found.astype(np.float64) - exact).sum())


@pytest.mark.parametrize("bits", [3, 5, 8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_rounded_network_is_the_integer_network(
    bits: int, symmetric: bool, network: Network
) -> None:
    """With weights that codes represent exactly, tuning sees the error of the integers."""
    model = network("exact")
    images = images_for(model, 30)
    scheme = Scheme(
        weights="minmax", bias_correction=False,
        activation_bits=bits, symmetric_activations=symmetric,
    )  # fmt: skip
    plan = CodeEdges(model)
    calibration = calibrate(model, [images], "mse", (scheme,))
    ranges = calibration.variants[0].ranges
    if symmetric:  # a symmetric input is not lossless, and tuning takes the input as it is
        ranges["image"] = (0.0, 254.0)
        images &= 0xFE
    network_error = RoundedNetwork(model, [images], inner_edges(plan)).error(
        {name: edge_grid(plan, scheme, name, ranges[name]) for name in inner_edges(plan)}
    )
    exact = _output_error(model, quantize(model, calibration), images)
    assert network_error == pytest.approx(exact, rel=2e-3)


def test_tuning_leaves_a_range_that_nothing_improves(network: Network) -> None:
    """With a grid that ignores the range no move helps, and none is made."""
    model = network("small")
    plan = CodeEdges(model)
    ranges = dict.fromkeys(inner_edges(plan), (0.0, 1.0))
    fixed = Grid(np.array(0.5, np.float32), -128, 127)
    found = tune_ranges(
        model, [images_for(model, 3)], inner_edges(plan), ranges, ranges,
        lambda name, ends: fixed, joint=False,
    )  # fmt: skip
    assert found == ranges


# -- bad input ------------------------------------------------------------------------------


def _bad_images(kind: str, model: QuantizedModel) -> list[Any]:
    images = images_for(model).astype(np.float32)
    if kind == "nan":
        images[3, 1, 2, 2] = np.nan
    if kind == "infinite":
        images[0, 0, 0, 0] = np.inf
    choices: dict[str, list[Any]] = {
        "nothing": [],
        "no image": [images[:0]],
        "wrong shape": [images[:, :2]],
        "wrong rank": [images[0]],
        "wrong dtype": [images.astype(np.complex64)],
        "wrong name": [{"picture": images}],
    }
    return choices.get(kind, [images])


@pytest.mark.parametrize(
    "kind",
    [
        *("nan", "infinite", "nothing", "no image"),
        *("wrong shape", "wrong rank", "wrong dtype", "wrong name"),
    ],
)
def test_bad_images_are_one_sentence(kind: str, network: Network) -> None:
    model = network("small")
    with pytest.raises(DataError) as caught:
        calibrate(model, _bad_images(kind, model))
    assert "\n" not in str(caught.value)
    if kind in {"nan", "infinite"}:
        assert str(caught.value).startswith("image: an activation is not a finite number")


def test_an_activation_that_overflows_is_named(tmp_path: Path) -> None:
    g = GraphMaker(("N", 1, 4, 4))
    weight = np.full((1, 1, 1, 1), 3e38, np.float32)
    x = g.node("Conv", "huge", ["image", g.constant("w", weight)])
    onnx.save(g.model(x), tmp_path / "m.onnx")
    with pytest.raises(DataError, match=r"^huge: an activation is not a finite number"):
        calibrate(load(tmp_path / "m.onnx"), [np.full((1, 1, 4, 4), 9, np.uint8)])


def test_an_unknown_method_is_one_sentence(network: Network) -> None:
    with pytest.raises(DataError, match="'median'"):
        calibrate(network("small"), [], "median")  # type: ignore[arg-type]


def test_a_quantized_model_is_refused(network: Network, tmp_path: Path) -> None:
    from bitbybit.model.writer import write

    model = network("small")
    calibration = calibrate(model, [images_for(model)])
    write(quantize(model, calibration), tmp_path / "q.onnx")
    again = load(tmp_path / "q.onnx")
    with pytest.raises(UnsupportedError, match="quantized already"):
        calibrate(again, [images_for(model)])
    with pytest.raises(UnsupportedError, match="quantized already"):
        quantize(again, calibration)


def test_a_file_with_a_fixed_batch_gets_that_batch(tmp_path: Path) -> None:
    proto = float_small()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    del proto.graph.value_info[:]
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(proto, tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    images = images_for(model, 8)
    assert calibrate(model, [images]).images["count"] == 8
    with pytest.raises(BitbybitError, match="wrong shape"):
        calibrate(model, [images[:3]])
