"""Quantized networks drawn from a seed: what exporters do, in any order and combination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = (10, 11, 12, 13, 14, 16, 18, 19, 21, 22)
NAMES = ("conv", "a/b.c", "名前", "<b>x</b>", 'x"y', "two words", "../up", "back\\slash", "{dot}|")
MICROSOFT = (
    "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearGlobalAveragePool",
    "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QLinearSoftmax",
)  # fmt: skip


@dataclass(frozen=True)
class Codes:
    """An integer tensor: its name, shape without N, scale, and the names of its parameters."""

    name: str
    size: tuple[int, ...]
    scale: float
    params: tuple[str, str]


class RandomNetwork:
    """Draws the network of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.qdq = self.chance(0.5)
        self.mixed = self.chance(0.15)
        self.opset = int(self.rng.choice(OPSETS))
        self.dtype = np.dtype(str(self.rng.choice(["int8", "uint8"])))
        self.names = NAMES if self.chance(0.3) else ("t",)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return bool(self.rng.random() < probability)

    def _name(self) -> str:
        return f"{self.rng.choice(self.names)}{len(self.nodes)}_{len(self.initializers)}"

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node, sometimes without a name and sometimes with an Identity behind it."""
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        domain = "com.microsoft" if op in MICROSOFT else ""
        output, name = f"{self._name()}:{op}", "" if self.chance(0.2) else self._name()
        node = helper.make_node(op, inputs, [output], name=name, domain=domain, **attributes)
        self.nodes.append(node)
        return self.node("Identity", [output]) if self.chance(0.05) else output

    def constant(self, values: Any) -> str:
        """Add an initializer, or sometimes a Constant node."""
        tensor = numpy_helper.from_array(np.asarray(values), f"{self._name()}:constant")
        if self.chance(0.1):
            return self.node("Constant", [], value=tensor)
        self.initializers.append(tensor)
        return str(tensor.name)

    def params(self, scale: float, *, relu: bool = False) -> tuple[str, str]:
        """Add a scale and a zero point; uint8 codes with zero point 0 may lack it in QDQ form."""
        low, high = int(np.iinfo(self.dtype).min), int(np.iinfo(self.dtype).max)
        choice = [low, high, int(self.rng.integers(low, high))]
        zero = low if relu else choice[int(self.rng.integers(3))]
        absent = (
            self.qdq
            and not self.mixed
            and self.dtype == np.uint8
            and zero == 0
            and self.chance(0.5)
        )
        zero_point = "" if absent else self.constant(np.array(zero).astype(self.dtype))
        return self.constant(np.float32(scale)), zero_point

    def quantized(self, real: str, size: tuple[int, ...], scale: float, relu: float = 0.4) -> Codes:
        """Add QuantizeLinear, with a probability behind a ReLU."""
        behind_relu = self.chance(relu)
        params = self.params(scale, relu=behind_relu)
        real = self.node("Relu", [real]) if behind_relu else real
        return Codes(self.node("QuantizeLinear", [real, *params]), size, scale, params)

    def real(self, x: Codes) -> str:
        """Add DequantizeLinear."""
        return self.node("DequantizeLinear", [x.name, *x.params])

    def weight(self, shape: tuple[int, ...], axis: int) -> tuple[list[str], Any]:
        """Return codes, scale and zero point of a weight, and the values of the scale."""
        info, per_channel = np.iinfo(self.dtype), self.opset >= 13 and self.chance(0.6)
        count = (shape[axis],) if per_channel else ()
        scale = self.rng.uniform(0.002, 0.02, count).astype(np.float32)
        zero = 0 if self.dtype == np.int8 else int(self.rng.integers(90, 160))
        codes = self.rng.integers(info.min, info.max + 1, shape).astype(self.dtype)
        zeros = np.full(count, zero, self.dtype)
        operands = [self.constant(values) for values in (codes, scale, zeros)]
        if self.qdq:
            axes = {"axis": axis if self.chance(0.7) else axis - len(shape)} if per_channel else {}
            operands = [self.node("DequantizeLinear", operands, **axes)]
        return operands, scale

    def bias(self, channels: int, x: Codes, scale: Any) -> str:
        """Return a bias as int32, dequantized or float, or "" for none."""
        codes, scales = self.rng.integers(-3000, 3000, channels), np.float32(x.scale) * scale
        if self.opset >= 11 and self.chance(0.3):  # older ones have no Gemm without bias
            return ""
        if not self.qdq:
            return self.constant(codes.astype(np.int32))
        if self.opset >= 11 and self.chance(0.3):  # older ones have no Round, which ORT would use
            return self.constant((codes * scales).astype(np.float32))
        axis = {"axis": 0} if scales.ndim else {}
        operands = [self.constant(codes.astype(np.int32)), self.constant(scales)]
        return self.node("DequantizeLinear", operands, **axis)

    def layer(
        self, op: str, x: Codes, weight: list[str], bias: str, size: tuple[int, ...], **more: Any
    ) -> Codes:
        """Add a Conv or Gemm in the form of this network."""
        scale = x.scale * 40 * float(self.rng.choice([0.3, 1, 3]))
        if self.qdq:
            return self.quantized(self.node(op, [self.real(x), *weight, bias], **more), size, scale)
        y = self.params(scale, relu=self.chance(0.4))
        left = [x.name, *x.params, *weight]
        if op == "Conv":
            return Codes(self.node("QLinearConv", [*left, *y, bias], **more), size, scale, y)
        return Codes(self.node("QGemm", [*left, bias, *y], **more), size, scale, y)

    def conv(self, x: Codes) -> Codes:
        """Add a convolution with any window that fits."""
        channels, *image = x.size
        divisors = [d for d in range(1, channels + 1) if channels % d == 0]
        group = int(self.rng.choice(divisors)) if self.chance(0.3) else 1
        kernel = [int(self.rng.integers(1, min(3, d) + 1)) for d in image]
        strides = [int(s) for s in self.rng.integers(1, 3, 2)]
        window: dict[str, Any] = {"strides": strides, "group": group}
        wide = kernel
        if self.chance(0.2):
            window["dilations"] = dilations = [int(d) for d in self.rng.integers(1, 3, 2)]
            wide = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        fits = all(w <= d for w, d in zip(wide, image, strict=True))
        if self.chance(0.5) and fits:
            # the runtime has no SAME padding for dilated windows
            modes = ["VALID"] if "dilations" in window else ["SAME_UPPER", "SAME_LOWER", "VALID"]
            window["auto_pad"] = mode = str(self.rng.choice(modes))
            lost = [w - 1 if mode == "VALID" else 0 for w in wide]
            out = [-(-(image[i] - lost[i]) // strides[i]) for i in (0, 1)]
        else:
            window["pads"] = pads = [int(p) + 2 * (not fits) for p in self.rng.integers(0, 3, 4)]
            out = [(image[i] + pads[i] + pads[i + 2] - wide[i]) // strides[i] + 1 for i in (0, 1)]
        outputs = group * int(self.rng.integers(1, 4))
        weight, scale = self.weight((outputs, channels // group, *kernel), 0)
        bias = self.bias(outputs, x, scale)
        return self.layer("Conv", x, weight, bias, (outputs, *out), **window)

    def dense(self, x: Codes) -> Codes:
        """Add a fully connected layer behind a Flatten or Reshape of the codes."""
        features, outputs = int(np.prod(x.size)), int(self.rng.integers(1, 6))
        target = self.constant(np.array([-1, features], np.int64))
        flat = (
            self.node("Flatten", [x.name])
            if self.chance(0.5) and self.opset >= 11
            else self.node("Reshape", [x.name, target])
        )
        trans = int(self.chance(0.5))
        shape = (outputs, features) if trans else (features, outputs)
        weight, scale = self.weight(shape, 1 - trans)
        bias = self.bias(outputs, x, scale)
        more: dict[str, Any] = {"transB": trans}
        if self.chance(0.1):
            more["alpha"] = 0.5
        flat_x = Codes(flat, (features,), x.scale, x.params)
        return self.layer("Gemm", flat_x, weight, bias, (outputs,), **more)

    def add(self, a: Codes, b: Codes) -> Codes:
        """Add a sum."""
        scale = 0.7 * (a.scale + b.scale)
        if self.qdq:
            return self.quantized(self.node("Add", [self.real(a), self.real(b)]), a.size, scale)
        y = self.params(scale, relu=self.chance(0.4))
        c = self.node("QLinearAdd", [a.name, *a.params, b.name, *b.params, *y])
        return Codes(c, a.size, scale, y)

    def pool(self, x: Codes) -> Codes:
        """Add a global average pool."""
        size, scale = (x.size[0], 1, 1), x.scale * 0.7
        if self.qdq:
            mean = self.node("GlobalAveragePool", [self.real(x)])
            return self.quantized(mean, size, scale, relu=0.1)
        y = self.params(scale)
        pooled = self.node("QLinearGlobalAveragePool", [x.name, *x.params, *y])
        return Codes(pooled, size, scale, y)

    def outside(self, x: Codes) -> Codes:
        """Add an operator that has no weights, moves codes across the axes or is no layer."""
        kinds = [self.max_pool, self.average_pool, self.concat, self.activation, self.times,
                 self.images, self.rescaled, self.transposed, self.joined, self.folded, self.cut,
                 self.padded, self.bounded, self.product, self.resized, self.divided, self.gated,
                 self.mean, self.rectified]  # fmt: skip
        return kinds[int(self.rng.integers(len(kinds)))](x)

    def transposed(self, x: Codes) -> Codes:
        """Swap rows and columns of the codes."""
        codes = self.node("Transpose", [x.name], perm=[0, 1, 3, 2])
        return Codes(codes, (x.size[0], x.size[2], x.size[1]), x.scale, x.params)

    def joined(self, x: Codes) -> Codes:
        """Join the codes with themselves, as they are, and cut a part out."""
        axis = int(self.rng.integers(1, 4))
        codes = self.node("Concat", [x.name, x.name], axis=axis)
        size = [2 * n if place == axis else n for place, n in enumerate(x.size, 1)]
        return Codes(codes, tuple(size), x.scale, x.params)

    def folded(self, x: Codes) -> Codes:
        """Take rows and columns as one axis, and back, on codes or real numbers."""
        flat = self.constant(np.array([0, x.size[0], -1], np.int64))
        back = self.constant(np.array([0, *x.size], np.int64))
        if self.chance(0.5):
            codes = self.node("Reshape", [self.node("Reshape", [x.name, flat]), back])
            return Codes(codes, x.size, x.scale, x.params)
        real = self.node("Reshape", [self.node("Reshape", [self.real(x), flat]), back])
        return self.quantized(real, x.size, x.scale * float(self.rng.choice([1, 1.2])))

    def cut(self, x: Codes) -> Codes:
        """Leave out the first rows, on codes or real numbers."""
        rows = x.size[1] - 1 or 1
        ends = (np.array([x.size[1] - rows]), np.array([x.size[1]]), np.array([2]))
        operands = [self.constant(end.astype(np.int64)) for end in ends]
        size = (x.size[0], rows, x.size[2])
        if self.chance(0.5):
            return Codes(self.node("Slice", [x.name, *operands]), size, x.scale, x.params)
        return self.quantized(self.node("Slice", [self.real(x), *operands]), size, x.scale)

    def padded(self, x: Codes) -> Codes:
        """Put zeros around the image."""
        if self.opset < 11:
            real = self.node("Pad", [self.real(x)], pads=[0, 0, 1, 0, 0, 0, 0, 1])
        else:
            pads = self.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
            real = self.node("Pad", [self.real(x), pads])
        return self.quantized(real, (x.size[0], x.size[1] + 1, x.size[2] + 1), x.scale)

    def bounded(self, x: Codes) -> Codes:
        """Clip real numbers, as ReLU6 does or on both sides."""
        low, high = (float(v) * x.scale for v in self.rng.choice([-90, -20, 0, 20, 90], 2))
        low, high = min(low, high), max(low, high)
        if self.opset < 11:
            return self.quantized(
                self.node("Clip", [self.real(x)], min=low, max=high), x.size, x.scale
            )
        bounds = [self.constant(np.float32(v)) for v in (low, high)]
        return self.quantized(self.node("Clip", [self.real(x), *bounds]), x.size, x.scale)

    def product(self, x: Codes) -> Codes:
        """Multiply the last axis with a matrix."""
        columns = int(self.rng.integers(1, 6))
        info = np.iinfo(self.dtype)
        codes = self.rng.integers(info.min, info.max + 1, (x.size[-1], columns)).astype(self.dtype)
        zero = 0 if self.dtype == np.int8 else int(self.rng.integers(90, 160))
        values = (codes, np.float32(0.01), np.array(zero, self.dtype))
        operands = [self.constant(value) for value in values]
        size, scale = (*x.size[:-1], columns), x.scale * 20
        if self.qdq:
            weight = self.node("DequantizeLinear", operands)
            return self.quantized(self.node("MatMul", [self.real(x), weight]), size, scale)
        y = self.params(scale)
        codes_name = self.node("QLinearMatMul", [x.name, *x.params, *operands, *y])
        return Codes(codes_name, size, scale, y)

    def window(self, x: Codes) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Return attributes of a pooling window and the size of its output."""
        channels, *image = x.size
        kernel = [int(self.rng.integers(1, min(3, d) + 1)) for d in image]
        strides = [int(s) for s in self.rng.integers(1, 3, 2)]
        pads = [int(self.rng.integers(0, k)) for k in kernel + kernel]
        ceil = int(self.opset >= 11 and self.chance(0.4))
        size = []
        for i in (0, 1):
            room = image[i] + pads[i] + pads[i + 2] - kernel[i]
            count = (-(-room // strides[i]) if ceil else room // strides[i]) + 1
            # a window must not start in the padding behind the image
            count -= int(ceil and (count - 1) * strides[i] >= image[i] + pads[i])
            size.append(count)
        window = {"kernel_shape": kernel, "strides": strides, "pads": pads}
        return window | ({"ceil_mode": 1} if ceil else {}), (channels, *size)

    def max_pool(self, x: Codes) -> Codes:
        """Add MaxPool, on codes where the opset has it."""
        window, size = self.window(x)
        if self.opset >= 12 and self.chance(0.5):
            return Codes(self.node("MaxPool", [x.name], **window), size, x.scale, x.params)
        pooled = self.node("MaxPool", [self.real(x)], **window)
        return self.quantized(pooled, size, x.scale)

    def average_pool(self, x: Codes) -> Codes:
        """Add AveragePool between DequantizeLinear and QuantizeLinear."""
        window, size = self.window(x)
        window["count_include_pad"] = int(self.chance(0.5))
        if not self.qdq and "ceil_mode" not in window:  # whose shape ONNX Runtime infers wrongly
            return self.on_codes("QLinearAveragePool", x, size, x.scale * 0.8, **window)
        pooled = self.node("AveragePool", [self.real(x)], **window)
        return self.quantized(pooled, size, x.scale * 0.8)

    def on_codes(
        self, op: str, x: Codes, size: tuple[int, ...], scale: float, **more: Any
    ) -> Codes:
        """Add a QLinear operator of one input."""
        y = self.params(scale)
        return Codes(self.node(op, [x.name, *x.params, *y], **more), size, scale, y)

    def concat(self, x: Codes) -> Codes:
        """Put the channels of an edge twice behind each other, once at another scale."""
        other = self.rescaled(x) if self.chance(0.3) else x
        size = (2 * x.size[0], *x.size[1:])
        if not self.qdq:
            y = self.params(x.scale)
            parts = [x.name, *x.params, other.name, *other.params]
            return Codes(self.node("QLinearConcat", [*y, *parts], axis=1), size, x.scale, y)
        if other is not x:
            joined = self.node("Concat", [self.real(x), self.real(other)], axis=-3)
            return self.quantized(joined, size, x.scale)
        joined = self.node("Concat", [self.real(x), self.real(x)], axis=1)
        return self.quantized(joined, (2 * x.size[0], *x.size[1:]), x.scale)

    def activation(self, x: Codes) -> Codes:
        """Add an activation that is no ReLU."""
        kinds = ("LeakyRelu", "Tanh", "Sigmoid", "HardSigmoid", "Softmax", "HardSwish")
        kind = kinds[int(self.rng.integers(5 + (self.opset >= 14)))]
        scale = 1 / 255 if kind in {"Sigmoid", "Softmax"} else x.scale * 0.9
        if not self.qdq and kind in {"LeakyRelu", "Sigmoid", "Softmax"}:
            more = {"axis": 3, "opset": 13} if kind == "Softmax" else {}
            return self.on_codes(f"QLinear{kind}", x, x.size, scale, **more)
        return self.quantized(self.node(kind, [self.real(x)]), x.size, scale)

    def times(self, x: Codes) -> Codes:
        """Multiply an edge with itself."""
        if not self.qdq:
            y = self.params(x.scale * 20)
            codes = self.node("QLinearMul", [x.name, *x.params, x.name, *x.params, *y])
            return Codes(codes, x.size, x.scale * 20, y)
        product = self.node("Mul", [self.real(x), self.real(x)])
        return self.quantized(product, x.size, x.scale * 20)

    def gated(self, x: Codes) -> Codes:
        """Multiply an edge with one number for each channel, as squeeze and excite does."""
        gate = self.activation(self.pool(x))
        if self.qdq:
            product = self.node("Mul", [self.real(x), self.real(gate)])
            return self.quantized(product, x.size, x.scale * 0.8)
        y = self.params(x.scale * 0.8)
        codes = self.node("QLinearMul", [gate.name, *gate.params, x.name, *x.params, *y])
        return Codes(codes, x.size, x.scale * 0.8, y)

    def mean(self, x: Codes) -> Codes:
        """Average each channel's image by ReduceMean."""
        real = self.real(x)
        if self.opset < 18:
            real = self.node("ReduceMean", [real], axes=[2, 3], keepdims=1)
        else:
            real = self.node("ReduceMean", [real, self.constant(np.array([2, 3]))])
        return self.quantized(real, (x.size[0], 1, 1), x.scale * 0.7)

    def rectified(self, x: Codes) -> Codes:
        """Cut off negative values at the scale of the input, or at another one."""
        scale = x.scale * float(self.rng.choice([1, 0.7]))
        return self.quantized(self.node("Relu", [self.real(x)]), x.size, scale, relu=0.2)

    def resized(self, x: Codes) -> Codes:
        """Make the image larger by repeating its elements."""
        if self.opset < 11:
            return x
        scales = self.constant(np.array([1, 1, 2, 3], np.float32))
        none = self.constant(np.array([], np.float32)) if self.opset < 13 else ""
        size = (x.size[0], 2 * x.size[1], 3 * x.size[2])
        mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        codes = self.node("Resize", [x.name, none, scales], nearest_mode="floor", **mode)
        if self.chance(0.5):
            return Codes(codes, size, x.scale, x.params)
        real = self.node("Resize", [self.real(x), none, scales], nearest_mode="floor", **mode)
        return self.quantized(real, size, x.scale)

    def divided(self, x: Codes) -> Codes:
        """Split the rows into two parts, and join these in another order."""
        rows = [x.size[1] // 2, x.size[1] - x.size[1] // 2]
        if not rows[0]:
            return x
        real = self.chance(0.5)
        source, first = (self.real(x) if real else x.name), f"{self._name()}:first"
        second, name = f"{self._name()}:second", self._name()
        if self.opset < 13:
            inputs, more = [source], dict[str, Any](split=rows)
        else:
            inputs, more = [source, self.constant(np.array(rows, np.int64))], {}
        outputs = [first, second]
        self.nodes.append(helper.make_node("Split", inputs, outputs, name=name, axis=2, **more))
        joined = self.node("Concat", [second, first], axis=2)
        if real:
            return self.quantized(joined, x.size, x.scale)
        return Codes(joined, x.size, x.scale, x.params)

    def images(self, x: Codes) -> Codes:
        """Reshape so that the number of images changes, or swap images and channels and back."""
        channels, height, width = x.size
        if channels % 2 == 0 and self.chance(0.5):
            shape = self.constant(np.array([-1, channels // 2, height, width], np.int64))
            half = (channels // 2, height, width)
            return Codes(self.node("Reshape", [x.name, shape]), half, x.scale, x.params)
        swapped = self.node("Transpose", [x.name], perm=[1, 0, 2, 3])
        back = self.node("Transpose", [swapped], perm=[1, 0, 2, 3])
        return Codes(back, x.size, x.scale, x.params)

    def rescaled(self, x: Codes) -> Codes:
        """Quantize anew with another scale."""
        return self.quantized(self.real(x), x.size, x.scale * 1.3, relu=0.2)

    def model(self) -> onnx.ModelProto:
        """Return the network."""
        size = (int(self.rng.integers(1, 5)), *(int(d) for d in self.rng.integers(3, 9, 2)))
        batch = "N" if self.chance(0.8) else int(self.rng.integers(1, 4))
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, *size])
        made = [self.quantized("image", size, 0.05, relu=0)]
        for _ in range(int(self.rng.integers(1, 6))):
            x = made[-1] if self.chance(0.7) else made[int(self.rng.integers(len(made)))]
            kind = self.rng.choice(["conv", "add", "outside"], p=[0.5, 0.3, 0.2])
            self.qdq = self.chance(0.5) if self.mixed else self.qdq
            same = [other for other in made if other.size == x.size]
            if kind == "add":
                made.append(self.add(x, same[int(self.rng.integers(len(same)))]))
            else:
                made.append(self.conv(x) if kind == "conv" else self.outside(x))
        x = self.pool(made[-1]) if self.chance(0.5) else made[-1]
        x = self.dense(x) if self.chance(0.7) else x
        outputs = [self.real(x), *([self.real(made[0])] if self.chance(0.1) else [])]
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        if self.chance(0.1):
            element = helper.np_dtype_to_tensor_dtype(self.dtype)
            shown = made[int(self.rng.integers(len(made)))].name
            infos.append(helper.make_tensor_value_info(shown, element, None))
        graph = helper.make_graph(self.nodes, "random", [image], infos, self.initializers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)
