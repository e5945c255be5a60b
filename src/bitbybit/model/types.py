"""The canonical view: one network of integer layers, whatever form its file has.

The same network gives the same :class:`QuantizedModel` from a QDQ file and from a QOperator
file, and the same layers, shapes and costs from its float file, where every ``params`` is None.

Symbols: N batch, C input channels, M output channels, H and W height and width,
K input features, G groups.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import ModelError

if TYPE_CHECKING:
    from bitbybit.model.graph import Graph

AnyArray = NDArray[Any]


@dataclass(frozen=True, eq=False)
class QuantParams:
    """Scale and zero point of a tensor: ``real = scale * (code - zero_point)``.

    Attributes
    ----------
    scale : float32, shape ``()`` per tensor or ``[C]`` per channel, finite and > 0
    zero_point : integer, same shape; its dtype is the dtype of the codes
    axis : the channel axis, or None per tensor
    scale_name, zero_point_name : names in the file ("" where the file has none)
    """

    scale: NDArray[np.float32]
    zero_point: AnyArray
    axis: int | None = None
    scale_name: str = ""
    zero_point_name: str = ""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The integer dtype of the codes."""
        return self.zero_point.dtype

    @property
    def qmin(self) -> int:
        """The smallest code."""
        return int(np.iinfo(self.zero_point.dtype.name).min)

    @property
    def qmax(self) -> int:
        """The largest code."""
        return int(np.iinfo(self.zero_point.dtype.name).max)

    @property
    def per_channel(self) -> bool:
        """Whether there is one scale per channel."""
        return self.axis is not None

    @property
    def at_lower_rail(self) -> bool:
        """Whether saturation acts as a ReLU: the zero point is the lowest code."""
        return bool(np.all(self.zero_point == self.qmin))

    def same_as(self, other: QuantParams) -> bool:
        """Tell whether both denote the same codes, bit for bit."""
        return (
            self.axis == other.axis
            and self.dtype == other.dtype
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )


def bias_params(
    x: QuantParams, weight: QuantParams, names: tuple[str, str] = ("", "")
) -> QuantParams:
    """Return the parameters of a bias: scale ``x_scale * w_scale`` in float32, zero point 0."""
    with np.errstate(over="ignore", under="ignore"):
        scale = np.multiply(x.scale, weight.scale, dtype=np.float32)
    zero_point = np.zeros(scale.shape, np.int32)
    return QuantParams(np.asarray(scale), zero_point, 0 if scale.ndim else None, *names)


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A constant: integer codes with their parameters, or float values with ``params`` None.

    ``name`` is the initializer's name in the file.
    """

    name: str
    values: AnyArray
    params: QuantParams | None = None

    def transposed(self, order: Sequence[int]) -> QuantizedTensor:
        """Return the tensor with its axes in another order; its channels move along."""
        params = self.params
        if params is not None and params.axis is not None:
            params = replace(params, axis=order.index(params.axis))
        return QuantizedTensor(self.name, self.values.transpose(order), params)


@dataclass(frozen=True, eq=False)
class Edge:
    """A tensor that flows between layers.

    Attributes
    ----------
    name : canonical name: the name of the layer that makes it; graph inputs keep their own
    onnx_name : the name in the file of the integer tensor (QDQ: what the quantizer makes)
    shape : dimensions; None where the file leaves one open (usually N), () if all are unknown
    dtype : dtype of the values that flow: int8, uint8, ..., float32 outside the integer part
    params : scale and zero point; None for a float tensor
    """

    name: str
    onnx_name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[np.generic]
    params: QuantParams | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """What every layer has.

    Attributes
    ----------
    name : canonical name: short, stable, unique, in graph order; also that of the edge it makes
    inputs : canonical names of the edges it reads
    nodes : ``(op_type, node name)`` of the ONNX nodes it was read from, in graph order
    kind : what the layer does, in one word
    twin : the ONNX operator that does the same with real values; "" if it computes nothing
    """

    kind: ClassVar[str] = "layer"
    twin: ClassVar[str] = ""

    name: str
    inputs: tuple[str, ...]
    nodes: tuple[tuple[str, str], ...] = field(kw_only=True, default=())


@dataclass(frozen=True, eq=False)
class Quantize(Layer):
    """float32 → integer, with the parameters of its output edge (QuantizeLinear)."""

    kind: ClassVar[str] = "quantize"


@dataclass(frozen=True, eq=False)
class Dequantize(Layer):
    """integer → float32, with the parameters of its input edge (DequantizeLinear)."""

    kind: ClassVar[str] = "dequantize"


@dataclass(frozen=True, eq=False)
class Conv(Layer):
    """2-D convolution (QLinearConv), ReLU folded into the output's lower rail.

    ``relu`` says of an integer layer that its zero point is the lowest code, so that saturation
    cuts off below 0, and of a float layer that a Relu follows it.

    weight ``[M, C/G, kH, kW]``, per-channel axis 0; bias int32 ``[M]`` at scale
    ``x_scale * w_scale[m]`` or None; ``pads`` (top, left, bottom, right), explicit:
    auto_pad is resolved by the reader.
    """

    kind: ClassVar[str] = "conv"
    twin: ClassVar[str] = "Conv"

    weight: QuantizedTensor
    bias: QuantizedTensor | None
    _: KW_ONLY
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    group: int = 1
    relu: bool = False


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """Fully connected layer (QGemm, QLinearMatMul, QDQ Gemm or MatMul).

    weight ``[K, M]`` whatever the file's transB says, per-channel axis 1; bias int32 ``[M]``
    or None.
    """

    kind: ClassVar[str] = "dense"
    twin: ClassVar[str] = "Gemm"

    weight: QuantizedTensor
    bias: QuantizedTensor | None
    relu: bool = field(kw_only=True, default=False)


@dataclass(frozen=True, eq=False)
class Add(Layer):
    """Elementwise sum of two edges, each with its own scale (com.microsoft QLinearAdd)."""

    kind: ClassVar[str] = "add"
    twin: ClassVar[str] = "Add"

    relu: bool = field(kw_only=True, default=False)


@dataclass(frozen=True, eq=False)
class GlobalPool(Layer):
    """Global average pooling ``[N,C,H,W]`` → ``[N,C,1,1]`` (QLinearGlobalAveragePool)."""

    kind: ClassVar[str] = "global_pool"
    twin: ClassVar[str] = "GlobalAveragePool"


@dataclass(frozen=True, eq=False)
class Reshape(Layer):
    """Flatten or Reshape: the codes are unchanged; input and output share their parameters.

    ``shape`` is the output shape; its first entry may be None (the batch).
    """

    kind: ClassVar[str] = "reshape"

    shape: tuple[int | None, ...] = ()


@dataclass(frozen=True, eq=False)
class Operation(Layer):
    """An operator without weights, from codes to codes.

    Attributes
    ----------
    op : the ONNX operator that does the same with real values
    attributes : its attributes and constant inputs, by their names in ONNX
    """

    op: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Move(Operation):
    """Codes in other places (Transpose, Slice, Pad, Resize); the parameters stay.

    A pad's ``constant_value`` is a code.
    """

    kind: ClassVar[str] = "move"


@dataclass(frozen=True, eq=False)
class MaxPool(Operation):
    """The largest code of a moving window; the parameters stay."""

    kind: ClassVar[str] = "max_pool"


@dataclass(frozen=True, eq=False)
class Lookup(Operation):
    """A function of one code: a table of 256 (Sigmoid, Relu, ...; Identity for a new scale)."""

    kind: ClassVar[str] = "lookup"


@dataclass(frozen=True, eq=False)
class Mul(Operation):
    """Elementwise product of two edges that broadcast (com.microsoft QLinearMul)."""

    kind: ClassVar[str] = "mul"
    twin: ClassVar[str] = "Mul"


@dataclass(frozen=True, eq=False)
class Concat(Operation):
    """Edges side by side, each brought to the scale of the result (QLinearConcat)."""

    kind: ClassVar[str] = "concat"
    twin: ClassVar[str] = "Concat"


@dataclass(frozen=True, eq=False)
class AveragePool(Operation):
    """The mean of a moving window (com.microsoft QLinearAveragePool)."""

    kind: ClassVar[str] = "average_pool"
    twin: ClassVar[str] = "AveragePool"


@dataclass(frozen=True, eq=False)
class Softmax(Operation):
    """Codes to probabilities (com.microsoft QLinearSoftmax)."""

    kind: ClassVar[str] = "softmax"
    twin: ClassVar[str] = "Softmax"


@dataclass(frozen=True, eq=False)
class Mean(Operation):
    """The mean of each channel's image (ReduceMean, summed in float32)."""

    kind: ClassVar[str] = "mean"


@dataclass(frozen=True, eq=False)
class FloatIsland(Layer):
    """Nodes outside the integer contract, kept whole and run by ONNX Runtime.

    Attributes
    ----------
    reason : one sentence that says why these nodes are not an integer layer
    model : serialized single-output ONNX model with the edges as inputs and output
    """

    kind: ClassVar[str] = "float_island"

    reason: str = ""
    model: bytes = b""


@dataclass(frozen=True, eq=False, kw_only=True)
class QuantizedModel:
    """A network in canonical view.

    Attributes
    ----------
    path, sha256 : the file it was read from
    form : "qdq", "qoperator", "mixed" or "float"
    opsets : domain → version ("" is the ONNX domain)
    inputs, outputs : canonical edge names of the graph's inputs and outputs, in file order
    layers : in graph (topological) order
    edges : canonical name → :class:`Edge`
    file_outputs : what the file calls its outputs: not always the tensor of the edge
    source : the parsed file, checked, with its protobuf (``source.file.proto``) and its folder
        (``source.file.folder``), kept by ``load`` so that nobody reads the file again; None for a
        model built in memory
    """

    path: Path
    sha256: str
    form: str
    opsets: dict[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    edges: dict[str, Edge]
    file_outputs: tuple[str, ...] = ()
    source: Graph | None = field(default=None, repr=False)

    def layer(self, name: str) -> Layer:
        """Return the layer called ``name``.

        Raises
        ------
        ModelError
            No layer has this name; the sentence lists near ones.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
        raise ModelError(
            "there is no such layer",
            where=self.path.name,
            found=name[:120],
            next_step=f"Near: {', '.join(near)}; `bitbybit inspect` lists all.",
        )
