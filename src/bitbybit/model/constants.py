"""Constants of a graph: initializers, Constant nodes, and what files left to be folded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto

from bitbybit.errors import ModelError
from bitbybit.model.graph import Graph, Node
from bitbybit.model.parameters import (
    CODE_DTYPES,
    NotIntegerError,
    check_axis,
    check_channels,
    make_params,
)
from bitbybit.model.tensors import DTYPES
from bitbybit.model.types import AnyArray, QuantizedTensor, QuantParams


class Constants:
    """Every tensor whose value the file fixes.

    A dequantized constant keeps its codes: it is a :class:`QuantizedTensor` with parameters.
    Anything else is one without.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._folded: dict[str, QuantizedTensor] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._folded or name in self.graph.initializers

    def get(self, name: str) -> QuantizedTensor | None:
        """Return a constant, None if ``name`` is none; raises as ``tensor_values``."""
        if name in self._folded:
            return self._folded[name]
        if name in self.graph.initializers:
            return QuantizedTensor(name, self.graph.initializer(name))
        return None

    def plain(self, name: str) -> AnyArray | None:
        """Return the values of a constant that is not quantized, else None."""
        found = self.get(name)
        return found.values if found is not None and found.params is None else None

    def fold(self, node: Node) -> bool:
        """Evaluate a node of constants; False if it is none or not one of the foldable ones."""
        fold = _FOLDABLE.get(node.op)
        if fold is None or node.domain != "" or len(node.outputs) != 1:
            return False
        inputs = [self.get(name) for name in node.inputs if name]
        if any(value is None for value in inputs):
            return False
        try:
            result = fold(self, node, [value for value in inputs if value is not None])
        except NotIntegerError:
            return False
        if result is None:
            return False
        self._folded[node.outputs[0]] = result
        return True

    def params(
        self, node: Node, scale: int, zero_point: int, dtype: np.dtype[np.generic] | None, axis: int
    ) -> QuantParams:
        """Return the parameters at two input positions of ``node``.

        Parameters
        ----------
        scale, zero_point : input positions; a missing zero point means 0
        dtype : the dtype of the codes, None where the zero point decides (then uint8 is default)
        axis : the channel axis, already counted from the front

        Raises
        ------
        ModelError : as :func:`make_params`; a zero point of another type than the codes
        NotIntegerError : parameters that are not constants
        """
        where = node.where
        scales = self.plain(node.input(scale))
        if scales is None:
            raise NotIntegerError("its scale is not a constant")
        names = (node.input(scale), node.input(zero_point))
        if not names[1]:
            zeros: AnyArray = np.zeros(scales.shape, dtype or np.dtype(np.uint8))
        else:
            given = self.plain(names[1])
            if given is None:
                raise NotIntegerError("its zero point is not a constant")
            zeros = given
        if dtype is not None and zeros.dtype != dtype:
            raise ModelError(
                "the zero point has another type than the codes",
                where=f"{where}, input {zero_point}",
                expected=dtype,
                found=zeros.dtype,
            )
        return make_params(scales, zeros, axis, f"{where}, input {scale}", names)


def quantize_params(constants: Constants, node: Node, rank: int | None) -> QuantParams:
    """Return the parameters of a QuantizeLinear node.

    ``rank`` is the rank of the tensor; None leaves a negative axis unchecked.
    """
    _refuse_blocks(node)
    dtype = DTYPES.get(node.int("output_dtype", 0))
    params = constants.params(node, 1, 2, dtype, node.int("axis", 1))
    return _with_axis(params, node, rank)


def dequantize_params(
    constants: Constants, node: Node, dtype: np.dtype[np.generic], rank: int | None
) -> QuantParams:
    """Return the parameters of a DequantizeLinear node whose codes are ``dtype``."""
    _refuse_blocks(node)
    params = constants.params(node, 1, 2, dtype, node.int("axis", 1))
    return _with_axis(params, node, rank)


def _refuse_blocks(node: Node) -> None:
    if node.int("block_size", 0):
        raise NotIntegerError("it has one scale per block")


def _with_axis(params: QuantParams, node: Node, rank: int | None) -> QuantParams:
    if params.axis is None or rank is None:
        return params
    axis = check_axis(params.axis, rank, f"{node.where}, axis")
    return QuantParams(
        params.scale, params.zero_point, axis, params.scale_name, params.zero_point_name
    )


def quantize_constant(values: AnyArray, params: QuantParams) -> AnyArray:
    """Return the codes of a float32 constant: ``sat(RNE(x / scale) + zero_point)``."""
    shape = [1] * values.ndim
    if params.axis is not None:
        shape[params.axis] = -1
    scale = params.scale.reshape(shape) if values.ndim else params.scale
    zero = params.zero_point.astype(np.float64)
    zero = zero.reshape(shape) if values.ndim else zero
    steps = (
        np.rint((values.astype(np.float32) / scale).astype(np.float32)).astype(np.float64) + zero
    )
    low = np.nan_to_num(steps, nan=params.qmin, posinf=params.qmax, neginf=params.qmin)
    codes: AnyArray = np.clip(low, params.qmin, params.qmax).astype(params.dtype)
    return codes


def _quantize(constants: Constants, node: Node, x: list[QuantizedTensor]) -> QuantizedTensor:
    values = x[0].values
    if x[0].params is not None or values.dtype != np.float32:
        raise NotIntegerError("it quantizes a constant that is not float32")
    params = quantize_params(constants, node, values.ndim)
    check_channels(params, values.shape, node.where)
    return QuantizedTensor(node.outputs[0], quantize_constant(values, params))


def _dequantize(constants: Constants, node: Node, x: list[QuantizedTensor]) -> QuantizedTensor:
    values = x[0].values
    if x[0].params is not None or values.dtype not in CODE_DTYPES:
        raise NotIntegerError("it dequantizes a constant that is not an integer")
    params = dequantize_params(constants, node, values.dtype, values.ndim)
    check_channels(params, values.shape, node.where)
    return QuantizedTensor(x[0].name, values, params)


def _constant(
    constants: Constants, node: Node, _x: list[QuantizedTensor]
) -> QuantizedTensor | None:
    if "value" in node.attributes:
        return QuantizedTensor(node.outputs[0], constants.graph.attribute_tensor(node, "value"))
    readers: dict[str, Callable[[AttributeProto], AnyArray]] = {
        "value_float": lambda a: np.array(a.f, np.float32),
        "value_floats": lambda a: np.array(a.floats, np.float32),
        "value_int": lambda a: np.array(a.i, np.int64),
        "value_ints": lambda a: np.array(a.ints, np.int64),
    }
    for name, read in readers.items():
        if name in node.attributes:
            return QuantizedTensor(node.outputs[0], read(node.attributes[name]))
    return None


def _transpose(_constants: Constants, node: Node, x: list[QuantizedTensor]) -> QuantizedTensor:
    tensor = x[0]
    rank = tensor.values.ndim
    order = node.ints("perm", tuple(reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        raise ModelError("perm does not order the dimensions", where=node.where, found=order)
    params = tensor.params
    if params is not None and params.axis is not None:
        axis = order.index(params.axis)
        params = QuantParams(
            params.scale, params.zero_point, axis, params.scale_name, params.zero_point_name
        )
    return QuantizedTensor(tensor.name, tensor.values.transpose(order), params)


def _reshape(_constants: Constants, node: Node, x: list[QuantizedTensor]) -> QuantizedTensor | None:
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
        raise ModelError(
            "the constant does not have this shape",
            where=node.where,
            expected=shape,
            found=tensor.values.shape,
        ) from None
    return QuantizedTensor(tensor.name, values, tensor.params)


def _cast(_constants: Constants, node: Node, x: list[QuantizedTensor]) -> QuantizedTensor | None:
    to = DTYPES.get(node.int("to", 0))
    if x[0].params is not None or to is None:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        return QuantizedTensor(x[0].name, x[0].values.astype(to))


def _unsqueeze(
    _constants: Constants, node: Node, x: list[QuantizedTensor]
) -> QuantizedTensor | None:
    if x[0].params is not None:
        return None
    axes: NDArray[np.generic] = (
        x[1].values if len(x) > 1 else np.array(node.ints("axes", ()), np.int64)
    )
    rank = x[0].values.ndim + axes.size
    places = {check_axis(int(a), rank, node.where) for a in axes.reshape(-1)}
    if len(places) != axes.size:
        raise ModelError("an axis is named twice", where=node.where, found=axes.tolist())
    return QuantizedTensor(x[0].name, np.expand_dims(x[0].values, tuple(places)))


_Fold = Callable[[Constants, Node, list[QuantizedTensor]], QuantizedTensor | None]

_FOLDABLE: dict[str, _Fold] = {
    "Constant": _constant,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Cast": _cast,
    "Unsqueeze": _unsqueeze,
}
