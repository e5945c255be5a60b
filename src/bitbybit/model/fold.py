"""Constants of a graph: initializers, Constant nodes, and what files left to be folded.

Scales and zero points are checked here and brought into one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto

from bitbybit.arithmetic import move, quantize_linear
from bitbybit.errors import BitbybitError
from bitbybit.model.graph import Graph, Node
from bitbybit.model.onnx_file import DTYPES, MOST_DIMENSIONS, Allowance, Budget, wrong
from bitbybit.model.types import AnyArray, QuantizedTensor, QuantParams

CODE_DTYPES = tuple(np.dtype(t) for t in (np.int8, np.uint8, np.int16, np.uint16, np.int32))
"""Integer types of codes; int32 only for biases."""


class NoLayerError(Exception):
    """Why valid nodes are no integer layer: a clause whose subject is the operator.

    It ends the reading of a layer wherever it is found out, and becomes the reason of an island.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Constants:
    """Every tensor whose value the file fixes.

    A dequantized constant keeps its codes: it is a :class:`QuantizedTensor` with parameters.
    Anything else is one without.  Types that are not read (strings) are constants without values.

    Attributes
    ----------
    nodes : the nodes that were folded
    shapes : the constants that were computed from a known shape, which no initializer holds
    """

    def __init__(
        self, graph: Graph, budget: Budget, known: Mapping[str, tuple[int, ...]] | None = None
    ) -> None:
        self.graph = graph
        self.nodes: set[int] = set()
        self.shapes: set[str] = set()
        self._known = known or {}
        self._folded: dict[str, QuantizedTensor] = {}
        self._memory = Allowance(budget, graph.file)
        for node in graph.nodes:
            self._fold(node)

    def __contains__(self, name: str) -> bool:
        return name in self._folded or name in self.graph.initializers

    def update(self, new: Mapping[str, QuantizedTensor]) -> None:
        """Take constants that the file does not name."""
        self._folded.update(new)

    def get(self, name: str) -> QuantizedTensor | None:
        """Return a constant, None if ``name`` is none or has no values that can be read."""
        if name in self._folded:
            return self._folded[name]
        tensor = self.graph.initializers.get(name)
        if tensor is None or tensor.data_type not in DTYPES:
            return None
        return QuantizedTensor(name, self.graph.initializer(name))

    def plain(self, name: str) -> AnyArray | None:
        """Return the values of a constant that is not quantized, else None."""
        found = self.get(name)
        return found.values if found is not None and found.params is None else None

    def ints(self, node: Node, position: int, attribute: str) -> tuple[int, ...] | None:
        """Return integers that an input holds, in older opsets an attribute; None without."""
        if not node.input(position):
            return node.ints(attribute, ()) if attribute in node.attributes else None
        given = self.plain(node.input(position))
        if given is not None and given.dtype.kind not in "iu":
            raise NoLayerError(f"its {attribute} are no integers")
        return None if given is None else tuple(int(i) for i in given.reshape(-1))

    def params(
        self, node: Node, scale: int, zero_point: int, dtype: np.dtype[np.generic] | None, axis: int
    ) -> QuantParams:
        """Return the parameters at two input positions of ``node``, checked.

        One value of any shape counts as per tensor.

        Parameters
        ----------
        scale, zero_point : input positions; a missing zero point means 0
        dtype : the dtype of the codes, None where the zero point decides (then uint8 is default)
        axis : the channel axis, used if there are several scales

        Raises
        ------
        NoLayerError : no constants; a scale that is not float32, codes of another type, several
            axes
        ModelError : a zero point of another type than the codes, a scale that is not positive
            and finite, shapes that do not agree
        """
        names = (node.input(scale), node.input(zero_point))
        scales = self.plain(names[0])
        if scales is None:
            raise NoLayerError("its scale is not a constant")
        zeros = self.plain(names[1])
        if not names[1]:
            zeros = np.zeros(scales.shape, dtype or np.dtype(np.uint8))
        if zeros is None:
            raise NoLayerError("its zero point is not a constant")
        if dtype is not None and zeros.dtype != dtype:
            next_step = "Quantize the model again: ONNX wants one type for both."
            what = "the zero point has another type than the codes"
            raise wrong(f"{node.where}, input {zero_point}", what, dtype, zeros.dtype, next_step)
        if scales.dtype != np.float32:
            raise NoLayerError(f"its scale is {scales.dtype}, not float32")
        if zeros.dtype not in CODE_DTYPES:
            raise NoLayerError(f"its codes are {zeros.dtype}")
        flat = _positive(scales, f"{node.where}, input {scale}")
        if zeros.size not in (1, flat.size):
            next_step = "Give one of each for the tensor, or one of each for every channel."
            what = "scale and zero point have different shapes"
            where = f"{node.where}, input {scale}"
            raise wrong(where, what, scales.shape, zeros.shape, next_step)
        if flat.size == 1:
            return QuantParams(flat.reshape(()), zeros.reshape(()), None, *names)
        if scales.ndim != 1:
            raise NoLayerError("it has one scale per block")
        return QuantParams(flat, np.broadcast_to(zeros.reshape(-1), flat.shape), axis, *names)

    def linear(
        self, node: Node, dtype: np.dtype[np.generic] | None, rank: int | None
    ) -> QuantParams:
        """Return the parameters of a QuantizeLinear or DequantizeLinear node.

        ``dtype`` is that of the codes, None to take QuantizeLinear's ``output_dtype``; ``rank`` is
        the rank of the tensor, None leaves a negative axis unchecked.  Raises as :meth:`params`.
        """
        if node.int("block_size", 0):
            raise NoLayerError("it has one scale per block")
        dtype = dtype or DTYPES.get(node.int("output_dtype", 0))
        params = self.params(node, 1, 2, dtype, node.int("axis", 1))
        if params.axis is None or rank is None:
            return params
        return replace(params, axis=check_axis(params.axis, rank, f"{node.where}, axis"))

    def _fold(self, node: Node) -> None:
        """Evaluate a node if all its inputs are constants and it is one that files leave."""
        fold = _FOLDABLE.get(node.op)
        if fold is None or node.domain != "" or len(node.outputs) != 1:
            return
        output = node.outputs[0]
        if output in self._known:
            self._folded[output] = QuantizedTensor(output, np.array(self._known[output], np.int64))
            self.shapes.add(output)
            self.nodes.add(node.index)
            return
        inputs = [self.get(name) for name in node.inputs if name]
        known = [value for value in inputs if value is not None]
        if len(known) < len(inputs):
            return
        try:
            result = fold(self, node, known)
        except NoLayerError:  # what cannot be folded is read as a node
            return
        if result.values.base is None:
            self._memory.take(result.values.nbytes, node.where, "computing its constants")
        self._folded[output] = result
        self.nodes.add(node.index)
        if not self.shapes.isdisjoint(node.inputs):
            self.shapes.add(output)


def _positive(scale: AnyArray, where: str) -> NDArray[np.float32]:
    """Return scales as ``[C]``; raises ModelError unless all are finite and positive."""
    flat: NDArray[np.float32] = scale.astype(np.float32, copy=False).reshape(-1)
    bad = ~(np.isfinite(flat) & (flat > 0))
    if flat.size == 0 or bad.any():
        found = flat[bad][0] if flat.size else "none"
        next_step = "Calibrate again: a tensor that is always 0 still needs a scale above 0."
        raise wrong(where, "a scale must be finite and positive", found=found, next_step=next_step)
    return flat


def check_axis(axis: int, rank: int, where: str) -> int:
    """Return ``axis`` counted from the front; raises ModelError outside ``-rank .. rank-1``."""
    if not -rank <= axis < rank:
        raise wrong(where, "the axis is out of range", f"{-rank} to {rank - 1}", axis)
    return axis % rank


def check_channels(params: QuantParams, shape: tuple[int | None, ...], where: str) -> None:
    """Compare the number of scales with the length of their axis.

    Raises
    ------
    ModelError : another number of scales than channels
    """
    if params.axis is None:
        return
    length = shape[params.axis]
    if length is not None and length != params.scale.size:
        next_step = "Check the axis of the quantizer: it should be that of the channels."
        what = "the number of scales differs from the number of channels"
        raise wrong(where, what, length, params.scale.size, next_step)


_Inputs = list[QuantizedTensor]


def _codes_of(x: _Inputs) -> AnyArray:
    """Return the values of a constant of codes without parameters."""
    if x[0].params is not None or x[0].values.dtype not in CODE_DTYPES:
        raise NoLayerError("it holds no codes")
    return x[0].values


def _quantize(constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    values = x[0].values
    if x[0].params is not None or values.dtype != np.float32:
        raise NoLayerError("it quantizes a constant that is not float32")
    params = constants.linear(node, None, values.ndim)
    if params.dtype.itemsize > 2:
        raise NoLayerError(f"its codes are {params.dtype}")
    check_channels(params, values.shape, node.where)
    return QuantizedTensor(node.outputs[0], quantize_constant(values, params))


def quantize_constant(values: AnyArray, params: QuantParams) -> AnyArray:
    """Return the codes of float32 values, as QuantizeLinear does."""
    codes: AnyArray = quantize_linear(values, params.scale, params.zero_point, params.axis)
    return codes


def _dequantize(constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    values = _codes_of(x)
    params = constants.linear(node, values.dtype, values.ndim)
    check_channels(params, values.shape, node.where)
    return QuantizedTensor(x[0].name, values, params)


def _constant(constants: Constants, node: Node, _x: _Inputs) -> QuantizedTensor:
    for name, (kind, read) in _VALUES.items():
        found = node.attribute(name, kind)
        if found is not None:
            return QuantizedTensor(node.outputs[0], read(found))
    value = node.attribute("value", AttributeProto.TENSOR)
    if value is None or value.t.data_type not in DTYPES:
        raise NoLayerError("its value is of a type that is not read")
    return QuantizedTensor(node.outputs[0], constants.graph.attribute_tensor(node, "value"))


_VALUES: dict[str, tuple[int, Callable[[AttributeProto], AnyArray]]] = {
    "value_float": (AttributeProto.FLOAT, lambda a: np.array(a.f, np.float32)),
    "value_floats": (AttributeProto.FLOATS, lambda a: np.array(a.floats, np.float32)),
    "value_int": (AttributeProto.INT, lambda a: np.array(a.i, np.int64)),
    "value_ints": (AttributeProto.INTS, lambda a: np.array(a.ints, np.int64)),
}
"""Attribute of a Constant node → its type, and how it is read."""


def _transpose(_constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    rank = x[0].values.ndim
    order = node.ints("perm", tuple(reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        raise wrong(node.where, "perm does not order the dimensions", found=order)
    return x[0].transposed(order)


def _reshape(constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    tensor = x[0]
    if tensor.params is not None and tensor.params.axis is not None:
        raise NoLayerError("it reshapes a tensor with one scale per channel")
    shape = list(constants.ints(node, 1, "shape") or ())
    if not node.int("allowzero", 0):
        kept = tensor.values.shape + (0,) * len(shape)
        shape = [kept[i] if d == 0 else d for i, d in enumerate(shape)]
    try:
        return replace(tensor, values=tensor.values.reshape(shape))
    except ValueError:
        what = "the constant does not have this shape"
        raise wrong(node.where, what, shape, tensor.values.shape) from None


def _cast(_constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    to = DTYPES.get(node.int("to", 0))
    if x[0].params is not None or to is None or x[0].values.dtype.kind == "c":
        raise NoLayerError("it converts codes, or to a type that is not read")
    with np.errstate(all="ignore"):
        return QuantizedTensor(x[0].name, x[0].values.astype(to))


def _unsqueeze(constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    tensor, axes = x[0], constants.ints(node, 1, "axes") or ()
    rank = tensor.values.ndim + len(axes)
    if rank > MOST_DIMENSIONS:
        raise NoLayerError(f"it has more than {MOST_DIMENSIONS} dimensions")
    places = {check_axis(a, rank, node.where) for a in axes}
    if len(places) != len(axes):
        raise wrong(node.where, "an axis is named twice", found=list(axes))
    kept = [i for i in range(rank) if i not in places]
    params = tensor.params
    if params is not None and params.axis is not None:
        params = replace(params, axis=kept[params.axis])
    return QuantizedTensor(tensor.name, np.expand_dims(tensor.values, tuple(places)), params)


def _clip(constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    """Clip codes, as exporters of narrow ranges do before DequantizeLinear."""
    values = _codes_of(x)
    bounds: list[Any] = [None, None]
    for place, name in enumerate(node.inputs[1:3]):
        bound = constants.plain(name)
        if name and (bound is None or bound.size != 1):
            raise NoLayerError("its bounds are no single numbers")
        bounds[place] = None if bound is None else bound.reshape(())
    clipped: AnyArray = np.clip(values, *bounds).astype(values.dtype)
    return QuantizedTensor(x[0].name, clipped)


def _sizes(x: _Inputs) -> list[AnyArray]:
    """Return a few integers that describe shapes."""
    values = [tensor.values for tensor in x]
    if any(t.params is not None for t in x) or any(v.dtype.kind != "i" for v in values):
        raise NoLayerError("it computes no shape")
    if sum(v.size for v in values) > MOST_SIZES:
        raise NoLayerError("it computes more than a shape")
    return values


MOST_SIZES = 256
"""Integers that are folded as parts of a shape: more are data."""


def _shape(_constants: Constants, _node: Node, _x: _Inputs) -> QuantizedTensor:
    raise NoLayerError("it computes a shape that is not known yet")


def _gather(_constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    data, places = _sizes(x)
    try:
        return QuantizedTensor(node.outputs[0], np.take(data, places, node.int("axis", 0)))
    except IndexError:
        raise NoLayerError("its indices are out of range") from None


def _concat(_constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    values = _sizes(x)
    if any(v.ndim != 1 or v.dtype != values[0].dtype for v in values):
        raise NoLayerError("it joins no shapes")
    return QuantizedTensor(node.outputs[0], np.concatenate(values))


def _cut(constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    names = ("starts", "ends", "axes", "steps")
    found = {name: constants.ints(node, i, name) for i, name in enumerate(names, 1)}
    try:
        values = move(_sizes(x[:1])[0], "Slice", **found)
    except (BitbybitError, TypeError):
        raise NoLayerError("it does not say from where to where it cuts") from None
    return QuantizedTensor(node.outputs[0], np.array(values))


def _squeeze(constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    try:
        values = np.squeeze(_sizes(x[:1])[0], constants.ints(node, 1, "axes"))
    except ValueError:
        raise NoLayerError("it drops a dimension that is not 1") from None
    return QuantizedTensor(node.outputs[0], values)


def _calculate(_constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    """Compute with sizes, which are not negative; a quotient is rounded down."""
    a, b = _sizes(x)
    if node.op == "Div" and ((b <= 0).any() or (a < 0).any()):
        raise NoLayerError("it divides no sizes")
    try:
        return QuantizedTensor(node.outputs[0], np.asarray(_CALCULATIONS[node.op](a, b)))
    except ValueError:
        raise NoLayerError("the shapes of its inputs do not agree") from None


_CALCULATIONS: dict[str, Callable[[AnyArray, AnyArray], AnyArray]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.floor_divide,
}

_FOLDABLE: dict[str, Callable[[Constants, Node, _Inputs], QuantizedTensor]] = {
    "Constant": _constant,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Cast": _cast,
    "Unsqueeze": _unsqueeze,
    "Clip": _clip,
    "Shape": _shape,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _cut,
    "Squeeze": _squeeze,
    **dict.fromkeys(_CALCULATIONS, _calculate),
}
