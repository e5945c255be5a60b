"""The exact engine: every integer of a network, one batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from bitbybit.execution.feed import Feed, Input, batches, feed
from bitbybit.execution.layers import compute
from bitbybit.execution.plan import Plan
from bitbybit.execution.trace import Source, Trace
from bitbybit.model.types import QuantizedModel

_plans: WeakKeyDictionary[QuantizedModel, Plan] = WeakKeyDictionary()


def trace(model: QuantizedModel, x: Input) -> Trace:
    """Compute every edge of a quantized network, exactly as its integer graph defines it.

    Parameters
    ----------
    model
        The network.
    x
        The graph input ``[N, ...]``, or a mapping from input names to arrays.  All N images are
        one batch and all their edges stay in memory: for many images use :func:`stream`.

    Returns
    -------
    Trace
        Canonical edge name → codes, in the edge's dtype and ONNX layout.

    Raises
    ------
    DataError
        The input has the wrong name, shape or dtype.
    UnsupportedError
        A layer without an integer definition.

    Notes
    -----
    ResNet8's operators run in a fast form that equals the definition bit for bit.  It spends its
    time in NumPy's matrix product, which is fastest on one thread (``OPENBLAS_NUM_THREADS=1``).
    """
    return _plan(model).run(model, feed(model, x))


def stream(model: QuantizedModel, x: Input, batch_size: int = 64) -> Iterator[Trace]:
    """Yield :func:`trace` of ``batch_size`` images at a time.

    Memory does not depend on the number of images: a batch's memory is used again as soon as
    its trace is gone.

    Parameters
    ----------
    model, x
        As for :func:`trace`.
    batch_size
        Images per trace; a file that fixes N gets that instead.

    Raises
    ------
    DataError, UnsupportedError
        As for :func:`trace`.
    """
    plan = _plan(model)
    for part in batches(model, x, batch_size):
        yield plan.run(model, part)


def walk(model: QuantizedModel, x: Input) -> Trace:
    """Compute the same trace in the obvious way: layer after layer by its operator's definition.

    Parameters
    ----------
    model, x
        As for :func:`trace`.

    Returns
    -------
    Trace
        Equal to that of :func:`trace`, which the tests prove with ``==``.

    Raises
    ------
    DataError, UnsupportedError
        As for :func:`trace`.
    """
    given: Feed = feed(model, x)
    sources: dict[str, Source] = dict(given)
    result = Trace(model, sources)
    for layer in model.layers:
        values = [result[name] for name in layer.inputs]
        sources[layer.name] = compute(model, layer, values)
    return result


def _plan(model: QuantizedModel) -> Plan:
    plan = _plans.get(model)
    if plan is None:
        plan = _plans.setdefault(model, Plan(model))
    return plan
