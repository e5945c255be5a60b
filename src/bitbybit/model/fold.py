"""Constants of a graph: initializers, Constant nodes, and what files left to be folded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from onnx import AttributeProto

from bitbybit.arithmetic import quantize_linear
from bitbybit.model.graph import Graph, Node
from bitbybit.model.onnx_file import DTYPES, RAISE_BUDGET, Budget, unsupported, wrong
from bitbybit.model.parameters import CODE_DTYPES, No, check_axis, check_channels, make_params
from bitbybit.model.types import AnyArray, QuantizedTensor, QuantParams

ALLOWANCE = 8
"""How many times the size of a file its constants may take when they are folded or copied."""


class Constants:
    """Every tensor whose value the file fixes.

    A dequantized constant keeps its codes: it is a :class:`QuantizedTensor` with parameters.
    Anything else is one without.  Types that are not read (strings) are constants without values.

    Attributes
    ----------
    nodes : the nodes that were folded
    """

    def __init__(self, graph: Graph, budget: Budget | None = None) -> None:
        self.graph = graph
        self.nodes: set[int] = set()
        self._folded: dict[str, QuantizedTensor] = {}
        self._left = (budget or Budget()).bytes + ALLOWANCE * graph.file.size
        for node in graph.nodes:
            self._fold(node)

    def __contains__(self, name: str) -> bool:
        return name in self._folded or name in self.graph.initializers

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
        return None if given is None else tuple(int(i) for i in given.reshape(-1))

    def params(
        self, node: Node, scale: int, zero_point: int, dtype: np.dtype[np.generic] | None, axis: int
    ) -> QuantParams | No:
        """Return the parameters at two input positions of ``node``.

        Parameters
        ----------
        scale, zero_point : input positions; a missing zero point means 0
        dtype : the dtype of the codes, None where the zero point decides (then uint8 is default)
        axis : the channel axis, already counted from the front

        Raises
        ------
        ModelError : as :func:`make_params`; a zero point of another type than the codes
        """
        scales = self.plain(node.input(scale))
        if scales is None:
            return No("its scale is not a constant")
        names = (node.input(scale), node.input(zero_point))
        zeros = self.plain(names[1])
        if not names[1]:
            zeros = np.zeros(scales.shape, dtype or np.dtype(np.uint8))
        if zeros is None:
            return No("its zero point is not a constant")
        if dtype is not None and zeros.dtype != dtype:
            next_step = "Quantize the model again: ONNX wants one type for both."
            what = "the zero point has another type than the codes"
            raise wrong(f"{node.where}, input {zero_point}", what, dtype, zeros.dtype, next_step)
        return make_params(scales, zeros, axis, f"{node.where}, input {scale}", names)

    def linear(
        self, node: Node, dtype: np.dtype[np.generic] | None, rank: int | None
    ) -> QuantParams | No:
        """Return the parameters of a QuantizeLinear or DequantizeLinear node.

        ``dtype`` is that of the codes, None to take QuantizeLinear's ``output_dtype``; ``rank`` is
        the rank of the tensor, None leaves a negative axis unchecked.
        """
        if node.int("block_size", 0):
            return No("it has one scale per block")
        dtype = dtype or DTYPES.get(node.int("output_dtype", 0))
        params = self.params(node, 1, 2, dtype, node.int("axis", 1))
        if isinstance(params, No) or params.axis is None or rank is None:
            return params
        return replace(params, axis=check_axis(params.axis, rank, f"{node.where}, axis"))

    def _fold(self, node: Node) -> None:
        """Evaluate a node if all its inputs are constants and it is one that files leave."""
        fold = _FOLDABLE.get(node.op)
        if fold is None or node.domain != "" or len(node.outputs) != 1:
            return
        inputs = [self.get(name) for name in node.inputs if name]
        known = [value for value in inputs if value is not None]
        result = fold(self, node, known) if len(known) == len(inputs) else None
        if result is None:
            return
        if result.values.base is None:
            self._left -= result.values.nbytes
        if self._left < 0:
            what = "computing its constants takes more memory than reading may take"
            raise unsupported(node.where, what, next_step=RAISE_BUDGET)
        self._folded[node.outputs[0]] = result
        self.nodes.add(node.index)


_Inputs = list[QuantizedTensor]
_Folded = QuantizedTensor | None


def _quantize(constants: Constants, node: Node, x: _Inputs) -> _Folded:
    values = x[0].values
    if x[0].params is not None or values.dtype != np.float32:
        return None
    params = constants.linear(node, None, values.ndim)
    if isinstance(params, No) or params.dtype.itemsize > 2:
        return None
    check_channels(params, values.shape, node.where)
    return QuantizedTensor(node.outputs[0], quantize_constant(values, params))


def quantize_constant(values: AnyArray, params: QuantParams) -> AnyArray:
    """Return the codes of float32 values, as QuantizeLinear does."""
    codes: AnyArray = quantize_linear(values, params.scale, params.zero_point, params.axis)
    return codes


def _dequantize(constants: Constants, node: Node, x: _Inputs) -> _Folded:
    values = x[0].values
    if x[0].params is not None or values.dtype not in CODE_DTYPES:
        return None
    params = constants.linear(node, values.dtype, values.ndim)
    if isinstance(params, No):
        return None
    check_channels(params, values.shape, node.where)
    return QuantizedTensor(x[0].name, values, params)


def _constant(constants: Constants, node: Node, _x: _Inputs) -> _Folded:
    readers: dict[str, Callable[[AttributeProto], AnyArray]] = {
        "value": lambda _: constants.graph.attribute_tensor(node, "value"),
        "value_float": lambda a: np.array(a.f, np.float32),
        "value_floats": lambda a: np.array(a.floats, np.float32),
        "value_int": lambda a: np.array(a.i, np.int64),
        "value_ints": lambda a: np.array(a.ints, np.int64),
    }
    for name, read in readers.items():
        attribute = node.attributes.get(name)
        if attribute is not None and (name != "value" or attribute.t.data_type in DTYPES):
            return QuantizedTensor(node.outputs[0], read(attribute))
    return None


def _transpose(_constants: Constants, node: Node, x: _Inputs) -> QuantizedTensor:
    tensor = x[0]
    rank = tensor.values.ndim
    order = node.ints("perm", tuple(reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        raise wrong(node.where, "perm does not order the dimensions", found=order)
    params = tensor.params
    if params is not None and params.axis is not None:
        params = replace(params, axis=order.index(params.axis))
    return QuantizedTensor(tensor.name, tensor.values.transpose(order), params)


def _reshape(_constants: Constants, node: Node, x: _Inputs) -> _Folded:
    tensor = x[0]
    if tensor.params is not None and tensor.params.axis is not None:
        return None
    shape = [int(d) for d in x[1].values.reshape(-1)]
    if not node.int("allowzero", 0):
        kept = tensor.values.shape + (0,) * len(shape)
        shape = [kept[i] if d == 0 else d for i, d in enumerate(shape)]
    try:
        values = tensor.values.reshape(shape)
    except ValueError:
        raise wrong(
            node.where, "the constant does not have this shape", shape, tensor.values.shape
        ) from None
    return QuantizedTensor(tensor.name, values, tensor.params)


def _cast(_constants: Constants, node: Node, x: _Inputs) -> _Folded:
    to = DTYPES.get(node.int("to", 0))
    if x[0].params is not None or to is None:
        return None
    with np.errstate(all="ignore"):
        return QuantizedTensor(x[0].name, x[0].values.astype(to))


def _unsqueeze(constants: Constants, node: Node, x: _Inputs) -> _Folded:
    tensor, axes = x[0], constants.ints(node, 1, "axes") or ()
    rank = tensor.values.ndim + len(axes)
    places = {check_axis(a, rank, node.where) for a in axes}
    if len(places) != len(axes):
        raise wrong(node.where, "an axis is named twice", found=list(axes))
    kept = [i for i in range(rank) if i not in places]
    params = tensor.params
    if params is not None and params.axis is not None:
        params = replace(params, axis=kept[params.axis])
    return QuantizedTensor(tensor.name, np.expand_dims(tensor.values, tuple(places)), params)


def _clip(constants: Constants, node: Node, x: _Inputs) -> _Folded:
    """Clip codes, as exporters of narrow ranges do before DequantizeLinear."""
    values = x[0].values
    if x[0].params is not None or values.dtype not in CODE_DTYPES:
        return None
    low, high = (constants.plain(node.input(i)) if node.input(i) else None for i in (1, 2))
    clipped: AnyArray = np.clip(values, low, high).astype(values.dtype)
    return QuantizedTensor(x[0].name, clipped)


_FOLDABLE: dict[str, Callable[[Constants, Node, _Inputs], _Folded]] = {
    "Constant": _constant,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Cast": _cast,
    "Unsqueeze": _unsqueeze,
    "Clip": _clip,
}
