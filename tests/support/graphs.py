"""The one builder of ONNX graphs for tests: float layers, QDQ patterns of any shape, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

INT8_MIN, INT8_ZERO = np.int8(-128), np.int8(0)


class GraphMaker:
    """Builds a model node by node; constants are drawn from a seed where they do not matter."""

    def __init__(
        self,
        shape: tuple[int | str, ...] | None,
        seed: int = 0,
        opset: int = 17,
        element: int = TensorProto.FLOAT,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.inputs = [helper.make_tensor_value_info("image", element, shape)]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []

    def constant(self, name: str, values: Any) -> str:
        """Add an initializer."""
        self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node called ``name`` whose output is called ``name/out``."""
        output = f"{name or op + str(len(self.nodes))}/out"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name or None, **attributes))
        return output

    def conv(
        self,
        name: str,
        x: str,
        shape: tuple[int, int, int, int],
        *,
        relu: bool = True,
        **attributes: Any,
    ) -> str:
        """Add a float Conv with random weights, and Relu."""
        spread = 1 / np.sqrt(np.prod(shape[1:]))
        w = self.constant(f"{name}.weight", self.rng.normal(0, spread, shape).astype(np.float32))
        b = self.constant(f"{name}.bias", self.rng.normal(0, 0.2, shape[0]).astype(np.float32))
        y = self.node("Conv", name, [x, w, b], kernel_shape=shape[2:], **attributes)
        return self.node("Relu", f"{name}.relu", [y]) if relu else y

    def model(self, output: str, name: str = "logits") -> onnx.ModelProto:
        """Return the model; the tensor ``output`` is renamed ``name``."""
        for node in self.nodes:
            node.input[:] = [name if n == output else n for n in node.input]
            node.output[:] = [name if n == output else n for n in node.output]
        graph = helper.make_graph(
            self.nodes,
            "graph",
            self.inputs,
            [onnx.ValueInfoProto(name=name)],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        if any(n.domain == "com.microsoft" for n in self.nodes):
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return onnx.shape_inference.infer_shapes(model)

    def params(
        self, name: str, scale: Any, zero_point: NDArray[Any] | np.generic | None
    ) -> list[str]:
        """Add a scale and, unless it is None, a zero point."""
        name = name or f"constant{len(self.initializers)}"
        names = [self.constant(f"{name}.scale", np.asarray(scale, np.float32))]
        if zero_point is not None:
            names.append(self.constant(f"{name}.zero_point", zero_point))
        return names

    def quantize(
        self, name: str, x: str, scale: float = 0.05, zero_point: Any = INT8_MIN
    ) -> tuple[str, list[str]]:
        """Add QuantizeLinear; return the integer tensor and the names of its parameters."""
        parameters = self.params(name, scale, zero_point)
        return self.node("QuantizeLinear", name, [x, *parameters]), parameters

    def qdq(self, name: str, x: str, scale: float = 0.05, zero_point: Any = INT8_MIN) -> str:
        """Add QuantizeLinear and DequantizeLinear; return the real tensor."""
        codes, parameters = self.quantize(name, x, scale, zero_point)
        return self.node("DequantizeLinear", name and f"{name}.real", [codes, *parameters])

    def weight(
        self,
        name: str,
        shape: tuple[int, ...],
        scale: Any = 0.01,
        zero_point: Any = INT8_ZERO,
        **attributes: Any,
    ) -> str:
        """Add random codes and DequantizeLinear; return the real tensor."""
        dtype = np.asarray(zero_point).dtype
        info = np.iinfo(dtype)
        low, high = (-2000, 2000) if dtype == np.int32 else (info.min, info.max + 1)
        codes = self.constant(name, self.rng.integers(low, high, shape).astype(dtype))
        parameters = self.params(name, scale, zero_point)
        return self.node("DequantizeLinear", f"{name}.real", [codes, *parameters], **attributes)

    def save(self, path: Path, output: str, name: str = "logits") -> Path:
        """Write the model to ``path`` and return it."""
        onnx.save(self.model(output, name), path)
        return path


def run_onnx(path: Path, image: NDArray[Any]) -> list[NDArray[Any]]:
    """Run a file in ONNX Runtime with the options that make it run the integer graph."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[Any]] = session.run(None, {session.get_inputs()[0].name: image})
    return outputs
