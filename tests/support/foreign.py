"""Quantized networks as other tools write them: each breaks one habit of our own files."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests.support.graphs import INT8_ZERO, GraphMaker


class Noise(CalibrationDataReader):  # type: ignore[misc]
    """Feeds ONNX Runtime's quantizer with seeded noise, or with raw pixels, for a network."""

    def __init__(self, model: onnx.ModelProto, *, pixels: bool) -> None:
        image = model.graph.input[0]
        size = [dim.dim_value or 1 for dim in image.type.tensor_type.shape.dim]
        rng = np.random.default_rng(5)
        drawn = [rng.integers(0, 256, size) if pixels else rng.normal(0, 1, size) for _ in range(4)]
        self._items = iter([{image.name: values.astype(np.float32)} for values in drawn])

    def get_next(self) -> dict[str, Any] | None:
        """Return one batch, None at the end."""
        return next(self._items, None)


def runtime_quantized(
    model: onnx.ModelProto, form: str, types: str, *, pixels: bool = False, **options: Any
) -> Any:
    """Quantize with ONNX Runtime's own static quantizer.

    Parameters
    ----------
    model
        A float network with one input.
    form
        ``"QDQ"`` or ``"QOperator"``.
    types
        ``"S8S8"``, ``"U8S8"`` or ``"U8U8"``: activations, weights.
    pixels
        Calibrate with values of 0 to 255, not with normal noise.
    """
    kind = {"S8": QuantType.QInt8, "U8": QuantType.QUInt8}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = Path(folder) / "quantized.onnx"
        quantize_static(
            onnx.ModelProto.FromString(model.SerializeToString()),  # it changes what it is given
            target,
            Noise(model, pixels=pixels),
            quant_format=QuantFormat[form],
            activation_type=kind[types[:2]],
            weight_type=kind[types[2:]],
            **options,
        )
        return onnx.load(target)


def qconv(
    g: GraphMaker, name: str, x: str, shape: tuple[int, int, int, int], scale: float = 0.05,
    *, relu: bool = True, **attributes: object,
) -> str:  # fmt: skip
    """Add Conv with a weight per channel and no bias, Relu and Q/DQ."""
    scales = g.rng.uniform(0.002, 0.01, shape[0])
    weight = g.weight(f"{name}.w", shape, scales, np.zeros(shape[0], np.int8), axis=0)
    y = g.node("Conv", name, [x, weight], **attributes)
    y = g.node("Relu", f"{name}.relu", [y]) if relu else y
    return g.qdq(f"{name}.y", y, scale, np.int8(-128 if relu else 3))


def batch_norm_left() -> onnx.ModelProto:
    """A batch norm that was exported as Mul and Add, each with its own Q and DQ."""
    g = GraphMaker(("N", 3, 8, 8))
    x = qconv(g, "conv", g.qdq("image.q", "image", 0.02, INT8_ZERO), (4, 3, 3, 3), relu=False)
    factor = g.constant("bn.factor", g.rng.uniform(0.5, 2, (1, 4, 1, 1)).astype(np.float32))
    product = g.node("Mul", "bn.mul", [x, g.qdq("bn.f.q", factor, 0.02, INT8_ZERO)])
    x = g.qdq("bn.m.q", product, 0.05, INT8_ZERO)
    shift = g.constant("bn.shift", g.rng.normal(0, 1, (1, 4, 1, 1)).astype(np.float32))
    total = g.node("Add", "bn.add", [x, g.qdq("bn.s.q", shift, 0.02, INT8_ZERO)])
    x = g.qdq("bn.a.q", total, 0.06, INT8_ZERO)
    x = qconv(g, "last", x, (2, 4, 1, 1))
    return g.model(x)


def channels_last() -> onnx.ModelProto:
    """A network of TensorFlow: NHWC outside, a Transpose before and after each convolution."""
    g = GraphMaker(("N", 8, 8, 3))
    x = g.qdq("image.q", "image", 0.02, INT8_ZERO)
    for i, (out, inp) in enumerate(((4, 3), (6, 4))):
        x = g.node("Transpose", f"in{i}", [x], perm=[0, 3, 1, 2])
        x = qconv(g, f"conv{i}", x, (out, inp, 3, 3), pads=[1, 1, 1, 1])
        x = g.node("Transpose", f"out{i}", [x], perm=[0, 2, 3, 1])
    return g.model(x)


def shared() -> onnx.ModelProto:
    """One weight for two convolutions, one scale for all, one tensor with three consumers."""
    g = GraphMaker(("N", 4, 8, 8))
    s = g.constant("s", np.array(0.05, np.float32))
    z = g.constant("z", np.array(0, np.int8))
    w = g.constant("w", g.rng.integers(-127, 128, (4, 4, 3, 3)).astype(np.int8))

    def around(x: str, name: str) -> str:
        q = g.node("QuantizeLinear", f"{name}.q", [x, s, z])
        return g.node("DequantizeLinear", f"{name}.dq", [q, s, z])

    x = around("image", "image")
    weight = g.node("DequantizeLinear", "w.dq", [w, s, z])
    first = around(g.node("Conv", "first", [x, weight], pads=[1, 1, 1, 1]), "first")
    second = around(g.node("Conv", "second", [first, weight], pads=[1, 1, 1, 1]), "second")
    total = around(g.node("Add", "sum", [first, second]), "sum")
    return g.model(around(g.node("Add", "again", [total, first]), "again"))


def nameless() -> onnx.ModelProto:
    """No node has a name, and uint8 tensors have no zero point."""
    g = GraphMaker(("N", 3, 8, 8))
    x = g.qdq("image.q", "image", 0.02, None)
    w = g.constant("weight", g.rng.integers(0, 256, (4, 3, 3, 3)).astype(np.uint8))
    ws = g.constant("weight_scale", np.array(0.01, np.float32))
    x = g.node("Conv", "c", [x, g.node("DequantizeLinear", "wdq", [w, ws])])
    x = g.qdq("y.q", g.node("Relu", "r", [x]), 0.3, None)
    model = g.model(x)
    for node in model.graph.node:
        node.name = ""
    return model


def unfolded() -> onnx.ModelProto:
    """Constants left in Constant, Transpose, Reshape and QuantizeLinear nodes."""
    g = GraphMaker(("N", 3, 8, 8))
    x = g.qdq("image.q", "image", 0.02, INT8_ZERO)
    hwio = g.rng.normal(0, 0.2, (3, 3, 3, 4)).astype(np.float32)
    value = numpy_helper.from_array(hwio, "hwio")
    w = g.node("Transpose", "w.t", [g.node("Constant", "w", [], value=value)], perm=[3, 2, 0, 1])
    x = g.node("Conv", "conv", [x, g.qdq("wq.q", w, 0.01, INT8_ZERO)])
    x = g.qdq("conv.y.q", x, 0.05, INT8_ZERO)
    flat = g.constant("flat.shape", np.array([-1, 144], np.int64))
    x = g.node("Reshape", "flatten", [x, flat])
    matrix = g.constant("fc.raw", g.rng.normal(0, 0.2, 720).astype(np.float32))
    shape = g.constant("fc.shape", np.array([144, 5], np.int64))
    dense = g.qdq("fcq.q", g.node("Reshape", "fc.w", [matrix, shape]), 0.01, INT8_ZERO)
    return g.model(g.qdq("y.q", g.node("MatMul", "fc", [x, dense]), 0.1, INT8_ZERO))


def grouped_and_pooled() -> onnx.ModelProto:
    """Depthwise and grouped convolutions, maximum and average pools, a concatenation."""
    g = GraphMaker(("N", 4, 16, 16))
    x = g.qdq("image.q", "image", 0.02, INT8_ZERO)
    a = qconv(g, "depthwise", x, (4, 1, 3, 3), 0.05, pads=[1, 1, 1, 1], group=4)
    b = qconv(g, "grouped", x, (8, 2, 3, 3), 0.05, pads=[1, 1, 1, 1], group=2)
    joined = g.qdq("concat.q", g.node("Concat", "concat", [a, b], axis=1), 0.05)
    pool = g.node("MaxPool", "maxpool", [joined], kernel_shape=[2, 2], strides=[2, 2])
    pool = g.qdq("maxpool.q", pool, 0.05)
    mean = g.node("AveragePool", "average", [pool], kernel_shape=[2, 2], strides=[2, 2])
    mean = g.qdq("average.q", mean, 0.04)
    x = qconv(g, "last", mean, (3, 12, 1, 1), 0.1)
    x = g.qdq("pool.q", g.node("GlobalAveragePool", "pool", [x]), 0.05)
    return g.model(x)


def tensor_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes of all initializers, to prove what an external file must hold."""
    arrays: list[NDArray[Any]] = [numpy_helper.to_array(i) for i in model.graph.initializer]
    return sum(a.nbytes for a in arrays)


def dynamic(model: onnx.ModelProto) -> Any:
    """Quantize with ONNX Runtime's dynamic quantizer: scales are computed at run time."""
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = Path(folder) / "dynamic.onnx"
        quantize_dynamic(model, target)
        return onnx.load(target)


def torch_fake_quantized() -> bytes:
    """Return a torch network with fake quantization, exported with its constants unfolded."""
    import io

    import torch

    from tests.support.torch_models import network

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.quantization import QConfigMapping, get_default_qat_qconfig
        from torch.ao.quantization.quantize_fx import prepare_qat_fx

        net = network().train()
        example = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        mapping = QConfigMapping().set_global(get_default_qat_qconfig("qnnpack", version=0))
        prepared = prepare_qat_fx(net, mapping, (example,))
        prepared(example)
        prepared = prepared.eval().apply(torch.ao.quantization.disable_observer)
        stream = io.BytesIO()
        torch.onnx.export(
            prepared, (example[:1],), stream, dynamo=False, opset_version=17,
            do_constant_folding=False, input_names=["image"], output_names=["logits"],
        )  # fmt: skip
        return stream.getvalue()


def torch_float() -> bytes:
    """Return the same torch network as float ONNX, batch norm folded by the exporter."""
    import io

    import torch

    from tests.support.torch_models import network

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = io.BytesIO()
        torch.onnx.export(
            network(), (torch.zeros(1, 3, 8, 8),), stream, dynamo=False, opset_version=17,
            input_names=["image"], output_names=["logits"],
        )  # fmt: skip
        return stream.getvalue()
