"""The integer network: right integers, twins alike, files that come back and that run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bitbybit.execution.engine import trace
from bitbybit.execution.sessions import Session
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, QuantizedModel
from bitbybit.model.writer import Form, write
from bitbybit.quantization import Scheme, quantize
from bitbybit.quantization.edges import CodeEdges
from tests.support.equality import equivalent
from tests.support.float_nets import images_for
from tests.support.runtime import on_contract_platform
from workshop.calibration import calibrate

Network = Callable[[str], QuantizedModel]
U8U8: dict[str, Any] = {
    "weight_dtype": "uint8", "activation_dtype": "uint8", "per_channel": False,
}  # fmt: skip
FORMS: tuple[Form, ...] = ("qdq", "qoperator")
SCHEMES = {
    "default": Scheme(),
    "per tensor": Scheme(per_channel=False),
    "nearest": Scheme(weights="minmax", bias_correction=False),
    "unsigned": Scheme(**U8U8),
    "mixed": Scheme(activation_dtype="uint8"),
    "symmetric": Scheme(symmetric_activations=True),
    "symmetric unsigned": Scheme(symmetric_activations=True, **U8U8),
    "few bits": Scheme(weight_bits=4, activation_bits=3),
}


@cache
def quantized(model: QuantizedModel, scheme: Scheme, method: Any = "mse") -> QuantizedModel:
    """Quantize once what several tests read."""
    return quantize(model, calibrate(model, [images_for(model)], method, (scheme,)))


def sqnr(model: QuantizedModel, network: QuantizedModel) -> float:
    """Signal to quantization noise of the outputs on new images, in dB."""
    images = images_for(model, 16, seed=1).astype(np.float32)
    exact = Session(str(model.path)).run({"image": images})[0].astype(np.float64)
    found = trace(network, images)[network.outputs[0]]
    return float(10 * np.log10(np.square(exact).sum() / np.square(found - exact).sum()))


@pytest.mark.parametrize("name", ["small", "kinds", "foreign"])
def test_the_outputs_stay_close(name: str, network: Network) -> None:
    model = network(name)
    assert sqnr(model, quantized(model, Scheme())) > 28


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
@pytest.mark.parametrize("form", FORMS)
def test_a_written_network_comes_back(
    scheme: Scheme, form: Form, network: Network, tmp_path: Path
) -> None:
    made = quantized(network("small"), scheme)
    write(made, tmp_path / "q.onnx", form)
    assert equivalent(made, load(tmp_path / "q.onnx")) == ""


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
@pytest.mark.parametrize("name", ["kinds", "foreign"])
def test_both_forms_hold_the_same_integers(
    scheme: Scheme, name: str, network: Network, tmp_path: Path
) -> None:
    """Networks with float operators between the layers: every edge of both files is equal."""
    model = network(name)
    made = quantized(model, scheme)
    images = images_for(model, 4, seed=2)
    mine = trace(made, images)
    for form in FORMS:
        write(made, tmp_path / "q.onnx", form)
        theirs = trace(load(tmp_path / "q.onnx"), images)
        common = set(mine) & set(theirs)
        assert {layer.name for layer in made.layers if layer.kind == "conv"} <= common
        assert all(np.array_equal(mine[edge], theirs[edge]) for edge in common)


@on_contract_platform
@pytest.mark.parametrize("scheme", [s for s in SCHEMES.values() if s != SCHEMES["mixed"]], ids=str)
@pytest.mark.parametrize("name", ["small", "kinds", "foreign"])
def test_onnxruntime_computes_the_same(
    scheme: Scheme, name: str, network: Network, tmp_path: Path
) -> None:
    model = network(name)
    made = quantized(model, scheme)
    images = images_for(model, 4, seed=3).astype(np.float32)
    for form in FORMS:
        write(made, tmp_path / "q.onnx", form)
        theirs = Session(str(tmp_path / "q.onnx")).run({"image": images})[0]
        assert np.array_equal(theirs, trace(made, images)[made.outputs[0]])


def test_equal_records_give_equal_bytes(network: Network, tmp_path: Path) -> None:
    model = network("small")
    calibration = calibrate(model, [images_for(model)])
    calibration.save(tmp_path / "c.json")
    for name, source in (("a", calibration), ("b", type(calibration).load(tmp_path / "c.json"))):
        write(quantize(model, source), tmp_path / f"{name}.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_integers_are_those_of_the_formula(network: Network) -> None:
    """Nearest rounding, no correction: every code in plain Python."""
    model = network("small")
    made = quantized(model, SCHEMES["nearest"], "minmax")
    for name in ("stem", "right", "dense"):
        exact, layer = model.layer(name), made.layer(name)
        assert isinstance(exact, Conv | Dense)
        assert isinstance(layer, Conv | Dense)
        x = made.edges[layer.inputs[0]].params
        w = layer.weight.params
        assert x is not None
        assert w is not None
        assert layer.bias is not None
        assert exact.bias is not None
        axis = 0 if isinstance(layer, Conv) else 1
        channels = np.moveaxis(exact.weight.values, axis, 0)
        codes = np.moveaxis(layer.weight.values, axis, 0)
        for channel, scale in enumerate(w.scale):
            assert scale == np.float32(float(np.abs(channels[channel]).max()) / 127)
            expected = [round(float(v) / float(scale)) for v in channels[channel].ravel()]
            assert codes[channel].ravel().tolist() == expected
            bias_scale = np.float32(x.scale * scale)
            expected_bias = round(float(exact.bias.values[channel]) / float(bias_scale))
            assert layer.bias.values[channel] == expected_bias


def test_a_relu_is_the_lower_rail_and_a_reshape_shares_its_scale(network: Network) -> None:
    made = quantized(network("small"), Scheme())
    stem, pool, flat = (made.edges[name].params for name in ("stem", "pool", "flatten"))
    assert stem is not None
    assert int(stem.zero_point) == -128
    assert flat is pool
    assert [layer.kind for layer in made.layers].count("float_island") == 0


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_symmetric_activations_clip_where_a_relu_was(dtype: Any, network: Network) -> None:
    made = quantized(network("small"), Scheme(activation_dtype=dtype, symmetric_activations=True))
    middle = 0 if dtype == "int8" else 128
    found = trace(made, images_for(made, 6, seed=4))
    assert {int(e.params.zero_point) for e in made.edges.values() if e.params} == {middle}
    assert int(found["stem"].min()) < middle == int(found["stem.clip"].min())
    assert [layer.name for layer in made.layers if layer.kind == "float_island"] == [
        "stem.clip", "add.clip",
    ]  # fmt: skip


def extremes(model: QuantizedModel) -> NDArray[np.uint8]:
    """Images that push activations beyond every calibrated range."""
    images = images_for(model, 6, seed=5)
    images[0], images[1] = 0, 255
    images[2, 0], images[3, 1] = 255, 0
    images[4] = (np.indices(images.shape[1:]).sum(axis=0) % 2) * 255
    return images


@pytest.mark.parametrize("bits", [2, 3, 7])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("name", ["small", "foreign"])
def test_no_activation_leaves_its_bits(bits: int, dtype: Any, name: str, network: Network) -> None:
    """On any image: what layers read has at most ``2**bits`` codes, inputs and outputs 256."""
    model = network(name)
    scheme = Scheme(activation_dtype=dtype, activation_bits=bits)
    images = images_for(model, 3) // 4  # so that the extremes lie outside the ranges
    made = quantize(model, calibrate(model, [images], "mse", (scheme,)))
    low, high = scheme.activation_rails(bits)
    found = trace(made, extremes(model))
    plan = CodeEdges(model)
    clipped = 0
    for layer in made.layers:
        if layer.kind not in {"conv", "dense", "add", "global_pool"}:
            continue
        for edge in layer.inputs:
            if edge == "input":
                continue
            assert low <= found[edge].min()
            assert found[edge].max() <= high
            clipped += int((found[edge.removesuffix(".clip")] > high).any())
    assert clipped or name == "foreign", "the extremes reach the clips"
    assert {plan.bits(scheme, name) for name in plan.ends} == {8}


def test_names_do_not_collide(tmp_path: Path) -> None:
    """A graph input called input, a graph output called like its layer, a layer called clip."""
    import onnx

    from tests.support.graphs import GraphMaker

    g = GraphMaker(("N", 1, 4, 4))
    x = g.conv("input", "image", (2, 1, 3, 3))
    x = g.conv("input.clip", x, (2, 2, 1, 1), relu=False)
    onnx.save(g.model(x, name="input.clip"), tmp_path / "m.onnx")
    model = load(tmp_path / "m.onnx")
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 4, 4), dtype=np.uint8)
    scheme = Scheme(activation_bits=4)
    made = quantize(model, calibrate(model, [images], schemes=(scheme,)))
    names = [layer.name for layer in made.layers]
    assert len(set(names)) == len(names)
    write(made, tmp_path / "q.onnx")
    again = load(tmp_path / "q.onnx")
    assert np.array_equal(
        trace(again, images)[again.outputs[0]], trace(made, images)[made.outputs[0]]
    )
