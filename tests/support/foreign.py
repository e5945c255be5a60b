"""Quantized networks as other tools write them: each breaks one habit of our own files."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from tests.support.graphs import FloatGraph


class Calibration:
    """Feeds ONNX Runtime's quantizer with seeded noise."""

    def __init__(self, shape: tuple[int, ...], name: str = "image") -> None:
        rng = np.random.default_rng(5)
        self._items: Iterator[dict[str, Any]] = iter(
            [{name: rng.normal(0, 1, shape).astype(np.float32)} for _ in range(4)]
        )

    def get_next(self) -> dict[str, Any] | None:
        """Return one batch, None at the end."""
        return next(self._items, None)


def runtime_quantized(model: onnx.ModelProto, form: str, types: str, **options: Any) -> Any:
    """Quantize with ONNX Runtime's own static quantizer.

    Parameters
    ----------
    model
        A float network with the input ``image`` ``[N, 3, 16, 16]``.
    form
        ``"QDQ"`` or ``"QOperator"``.
    types
        ``"S8S8"``, ``"U8S8"`` or ``"U8U8"``: activations, weights.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    kind = {"S8": QuantType.QInt8, "U8": QuantType.QUInt8}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = Path(folder) / "quantized.onnx"
        quantize_static(
            model,
            target,
            Calibration((1, 3, 16, 16)),
            quant_format=QuantFormat[form],
            activation_type=kind[types[:2]],
            weight_type=kind[types[2:]],
            **options,
        )
        return onnx.load(target)


class QdqGraph(FloatGraph):
    """Builds a QDQ network by hand; ``x`` is always a float (dequantized) tensor."""

    def quantized(self, x: str, name: str, scale: float, zero: int | None = 0) -> str:
        """Put Q and DQ after ``x``; without zero point (then uint8) where ``zero`` is None."""
        s = self.constant(f"{name}.s", np.array(scale, np.float32))
        z = [] if zero is None else [self.constant(f"{name}.z", np.array(zero, np.int8))]
        q = self.node("QuantizeLinear", f"{name}.q", [x, s, *z])
        return self.node("DequantizeLinear", f"{name}.dq", [q, s, *z])

    def weight(self, name: str, shape: tuple[int, ...], axis: int | None = 0) -> str:
        """Add an int8 weight with DequantizeLinear, per channel or (axis None) per tensor."""
        codes = self.rng.integers(-127, 128, shape).astype(np.int8)
        size = () if axis is None else (shape[axis],)
        scale = np.asarray(self.rng.uniform(0.002, 0.01, size), np.float32)
        w = self.constant(f"{name}.w", codes)
        s = self.constant(f"{name}.ws", scale)
        z = self.constant(f"{name}.wz", np.zeros(size, np.int8))
        extra = {} if axis is None else {"axis": axis}
        return self.node("DequantizeLinear", f"{name}.wdq", [w, s, z], **extra)

    def qconv(
        self, name: str, x: str, shape: tuple[int, int, int, int], scale: float = 0.05,
        *, relu: bool = True, **attributes: object,
    ) -> str:  # fmt: skip
        """Add Conv without bias, Relu and Q/DQ."""
        y = self.node("Conv", name, [x, self.weight(name, shape)], **attributes)
        y = self.node("Relu", f"{name}.relu", [y]) if relu else y
        return self.quantized(y, name, scale, -128 if relu else 3)


def batch_norm_left() -> onnx.ModelProto:
    """A batch norm that was exported as Mul and Add, each with its own Q and DQ."""
    g = QdqGraph(("N", 3, 8, 8))
    x = g.qconv("conv", g.quantized("image", "image", 0.02), (4, 3, 3, 3), relu=False)
    factor = g.constant("bn.factor", g.rng.uniform(0.5, 2, (1, 4, 1, 1)).astype(np.float32))
    x = g.quantized(g.node("Mul", "bn.mul", [x, g.quantized(factor, "bn.f", 0.02)]), "bn.m", 0.05)
    shift = g.constant("bn.shift", g.rng.normal(0, 1, (1, 4, 1, 1)).astype(np.float32))
    x = g.quantized(g.node("Add", "bn.add", [x, g.quantized(shift, "bn.s", 0.02)]), "bn.a", 0.06)
    x = g.qconv("last", x, (2, 4, 1, 1))
    return g.model(x)


def channels_last() -> onnx.ModelProto:
    """A network of TensorFlow: NHWC outside, a Transpose before and after each convolution."""
    g = QdqGraph(("N", 8, 8, 3))
    x = g.quantized("image", "image", 0.02)
    for i, (out, inp) in enumerate(((4, 3), (6, 4))):
        x = g.node("Transpose", f"in{i}", [x], perm=[0, 3, 1, 2])
        x = g.qconv(f"conv{i}", x, (out, inp, 3, 3), pads=[1, 1, 1, 1])
        x = g.node("Transpose", f"out{i}", [x], perm=[0, 2, 3, 1])
    return g.model(x)


def shared() -> onnx.ModelProto:
    """One weight for two convolutions, one scale for all, one tensor with three consumers."""
    g = QdqGraph(("N", 4, 8, 8))
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
    g = QdqGraph(("N", 3, 8, 8))
    x = g.quantized("image", "image", 0.02, None)
    w = g.constant("weight", g.rng.integers(0, 256, (4, 3, 3, 3)).astype(np.uint8))
    ws = g.constant("weight_scale", np.array(0.01, np.float32))
    x = g.node("Conv", "c", [x, g.node("DequantizeLinear", "wdq", [w, ws])])
    x = g.quantized(g.node("Relu", "r", [x]), "y", 0.3, None)
    model = g.model(x)
    for node in model.graph.node:
        node.name = ""
    return model


def unfolded() -> onnx.ModelProto:
    """Constants left in Constant, Transpose, Reshape and QuantizeLinear nodes."""
    g = QdqGraph(("N", 3, 8, 8))
    x = g.quantized("image", "image", 0.02)
    hwio = g.rng.normal(0, 0.2, (3, 3, 3, 4)).astype(np.float32)
    value = numpy_helper.from_array(hwio, "hwio")
    w = g.node("Transpose", "w.t", [g.node("Constant", "w", [], value=value)], perm=[3, 2, 0, 1])
    x = g.node("Conv", "conv", [x, g.quantized(w, "wq", 0.01)])
    x = g.quantized(x, "conv.y", 0.05)
    flat = g.constant("flat.shape", np.array([-1, 144], np.int64))
    x = g.node("Reshape", "flatten", [x, flat])
    matrix = g.constant("fc.raw", g.rng.normal(0, 0.2, 720).astype(np.float32))
    shape = g.constant("fc.shape", np.array([144, 5], np.int64))
    dense = g.quantized(g.node("Reshape", "fc.w", [matrix, shape]), "fcq", 0.01)
    return g.model(g.quantized(g.node("MatMul", "fc", [x, dense]), "y", 0.1))


def grouped_and_pooled() -> onnx.ModelProto:
    """Depthwise and grouped convolutions, maximum and average pools, a concatenation."""
    g = QdqGraph(("N", 4, 16, 16))
    x = g.quantized("image", "image", 0.02)
    a = g.qconv("depthwise", x, (4, 1, 3, 3), 0.05, pads=[1, 1, 1, 1], group=4)
    b = g.qconv("grouped", x, (8, 2, 3, 3), 0.05, pads=[1, 1, 1, 1], group=2)
    joined = g.quantized(g.node("Concat", "concat", [a, b], axis=1), "concat", 0.05, -128)
    pool = g.node("MaxPool", "maxpool", [joined], kernel_shape=[2, 2], strides=[2, 2])
    pool = g.quantized(pool, "maxpool", 0.05, -128)
    mean = g.node("AveragePool", "average", [pool], kernel_shape=[2, 2], strides=[2, 2])
    mean = g.quantized(mean, "average", 0.04, -128)
    x = g.qconv("last", mean, (3, 12, 1, 1), 0.1)
    x = g.quantized(g.node("GlobalAveragePool", "pool", [x]), "pool", 0.05, -128)
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
