"""Every accumulator that a layer can reach, through every way to requantize.

Every scheme is monotone, so 255 thresholds per channel say all that it does, and a binary search
finds them. Where two schemes differ is then a matter of comparing thresholds: half a billion
accumulators take a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic.requantizers import REQUANTIZERS, Requantizer, thresholds
from bitbybit.errors import UnsupportedError
from bitbybit.execution.engine import params
from bitbybit.execution.exhaustive import reachable
from bitbybit.model.types import AnyArray, Conv, Dense, QuantizedModel

Int64: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far one scheme is from the contract in one layer.

    Attributes
    ----------
    scheme, layer : their names
    reachable : accumulators between the smallest and the largest sum of each channel, all together
    unsaturated : those of them that the contract puts between the rails
    differing : reachable accumulators whose code is not the contract's
    channels : channels with such an accumulator
    largest : the largest difference of two codes
    first : such an accumulator, None where there is none: channel, accumulator, the scheme's
        code, the contract's
    """

    scheme: str
    layer: str
    reachable: int
    unsaturated: int
    differing: int
    channels: int
    largest: int
    first: tuple[int, int, int, int] | None


def differences(
    model: QuantizedModel, schemes: Iterable[Requantizer] = tuple(REQUANTIZERS.values())
) -> tuple[Difference, ...]:
    """Compare schemes with the contract over all reachable accumulators of every layer.

    Parameters
    ----------
    model
        A quantized network.
    schemes
        Monotone ones, as all of :mod:`bitbybit.arithmetic.requantizers` are.

    Returns
    -------
    One :class:`Difference` for each layer and scheme, in the layers' order

    Raises
    ------
    UnsupportedError
        No convolution or dense layer has weights and an output of 8-bit integers.
    """
    chosen, layers = tuple(schemes), tuple(_weighted(model))
    if not layers:
        raise UnsupportedError(
            "no layer requantizes",
            where=model.path.name,
            expected="a convolution or dense layer whose output is an 8-bit integer",
            found=f"a file of form {model.form}",
            next_step="Name a quantized model; `bitbybit inspect` lists its layers.",
        )
    return tuple(found for layer in layers for found in _differences(model, layer, chosen))


def _weighted(model: QuantizedModel) -> Iterator[Conv | Dense]:
    """Yield the layers that requantize a sum of products to 8 bits with one zero point."""
    for layer in model.layers:
        if isinstance(layer, (Conv, Dense)) and layer.weight.params is not None:
            y = model.edges[layer.name].params
            if y is not None and y.dtype.itemsize == 1 and not y.per_channel:
                yield layer


def _differences(
    model: QuantizedModel, layer: Conv | Dense, schemes: Iterable[Requantizer]
) -> Iterator[Difference]:
    x, y = (params(model.edges[name], layer) for name in (layer.inputs[0], layer.name))
    low, high = reachable(layer, x)
    w_scale = np.broadcast_to(params(layer.weight, layer).scale, low.shape).copy()

    def codes_of(scheme: Requantizer) -> Callable[[AnyArray], AnyArray]:
        kept: Any = scheme.multiplier(x.scale, w_scale, y.scale, y.zero_point)
        return lambda acc: scheme.codes(acc.astype(np.int32), kept, y.zero_point, 0)

    contract = codes_of(REQUANTIZERS["contract"])
    right = thresholds(contract, low, high, y.dtype)
    for scheme in schemes:
        codes = codes_of(scheme)
        theirs = thresholds(codes, low, high, y.dtype)
        wrong = _between(theirs, right)
        # Codes change at thresholds only: the largest difference begins at one of them.
        steps = np.clip(np.concatenate([theirs, right], axis=1), low[:, None], high[:, None])
        made, expected = codes(steps).astype(int), contract(steps).astype(int)
        at = tuple(int(i) for i in np.argwhere(made != expected)[:1].ravel())
        yield Difference(
            scheme=scheme.name,
            layer=layer.name,
            reachable=int((high - low + 1).sum()),
            unsaturated=int((right[:, -1] - right[:, 0]).sum()),
            differing=int(wrong.sum()),
            channels=int(np.count_nonzero(wrong)),
            largest=int(np.abs(made - expected).max()),
            first=(at[0], int(steps[at]), int(made[at]), int(expected[at])) if at else None,
        )


def _between(one: Int64, other: Int64) -> Int64:
    """Count, row by row, the accumulators between any two corresponding thresholds, each once."""
    begin, end = np.minimum(one, other), np.maximum(one, other)
    begin[:, 1:] = np.maximum(begin[:, 1:], end[:, :-1])
    return np.asarray(np.maximum(end - begin, 0).sum(axis=1))
