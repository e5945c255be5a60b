"""Any accumulator through LiteRT: one-op models, written byte by byte.

As in :mod:`tests.support.accumulators`, weights of zero make the bias the accumulator. The fields
of each table are those of TensorFlow Lite's schema, by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONV_2D, FULLY_CONNECTED = 3, 9
INT8, INT32 = 9, 2
OPTIONS = {CONV_2D: (1, [("b", 1), ("i", 1), ("i", 1), ("b", 0), ("i", 1), ("i", 1)]),
           FULLY_CONNECTED: (8, [("b", 0), ("b", 0)])}  # fmt: skip
"""Operator to the kind of its options and their fields: VALID, strides, dilations 1."""


def runtime_codes(
    op: int,
    engine: str,
    acc: NDArray[np.int32],
    scales: tuple[Any, NDArray[np.float32], Any],
    zero: int,
) -> NDArray[np.int8]:
    """Return the codes that one of LiteRT's engines makes of accumulators.

    Parameters
    ----------
    op : CONV_2D, with a scale per channel, or FULLY_CONNECTED, with one
    engine : a member of ``OpResolverType``
    acc : int32 ``[M]``
    scales : x, w ``[M]`` or ``[1]``, y
    zero : zero point of the output
    """
    from ai_edge_litert.interpreter import (  # type: ignore[import-not-found, unused-ignore]
        Interpreter,
        OpResolverType,
    )

    resolver = getattr(OpResolverType, engine)
    run = Interpreter(
        model_content=_model(op, acc, scales, zero), experimental_op_resolver_type=resolver
    )
    run.allocate_tensors()
    run.set_tensor(run.get_input_details()[0]["index"], _input(op))
    run.invoke()
    return np.asarray(run.get_tensor(run.get_output_details()[0]["index"])).reshape(-1)


def _input(op: int) -> NDArray[np.int8]:
    return np.zeros((1, 1, 1, 1) if op == CONV_2D else (1, 1), np.int8)


def _model(op: int, acc: NDArray[np.int32], scales: tuple[Any, Any, Any], zero: int) -> bytes:
    import flatbuffers  # type: ignore[import-not-found, import-untyped, unused-ignore]

    made = flatbuffers.Builder(1 << 16)

    def table(fields: Sequence[tuple[str, Any]]) -> int:
        made.StartObject(len(fields))
        for slot, (kind, value) in enumerate(fields):
            if value is None:
                continue
            add = {"b": made.PrependInt8Slot, "u": made.PrependUint8Slot,
                   "i": made.PrependInt32Slot, "o": made.PrependUOffsetTRelativeSlot}  # fmt: skip
            add[kind](slot, value, -99 if kind in "bi" else 0)
        return int(made.EndObject())

    def array(values: Any, dtype: Any = np.int32) -> int:
        return int(made.CreateNumpyVector(np.asarray(values, dtype)))

    def tables(offsets: Sequence[int]) -> int:
        made.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            made.PrependUOffsetTRelative(offset)
        return int(made.EndVector())

    x, w, y = (np.atleast_1d(np.asarray(s, np.float32)) for s in scales)
    image = _input(op).shape
    weight = (len(acc), 1, 1, 1) if op == CONV_2D else (len(acc), 1)
    parts = (
        (image, INT8, x, 0, b""),
        (weight, INT8, w, 0, np.zeros(weight, np.int8).tobytes()),
        ((len(acc),), INT32, x * w, 0, acc.tobytes()),
        ((*image[:-1], len(acc)), INT8, y, zero, b""),
    )
    tensors, buffers = [], [table([("o", None)])]
    for number, (shape, kind, scale, point, data) in enumerate(parts):
        held = array(np.frombuffer(data, np.uint8), np.uint8) if data else None
        buffers.append(table([("o", held)]))
        points = array(np.full(len(scale), point), np.int64)
        quantization = table(
            [("o", None), ("o", None), ("o", array(scale, np.float32)), ("o", points), ("u", None),
             ("o", None), ("i", 0)]
        )  # fmt: skip
        name = made.CreateString(f"t{number}")
        tensors.append(
            table(
                [("o", array(shape)), ("b", kind), ("i", number + 1), ("o", name),
                 ("o", quantization)]
            )
        )  # fmt: skip
    kind, fields = OPTIONS[op]
    options = table(fields)
    node = table(
        [("i", 0), ("o", array([0, 1, 2])), ("o", array([3])), ("u", kind),
         ("o", options)]
    )  # fmt: skip
    graph = table(
        [("o", tables(tensors)), ("o", array([0])), ("o", array([3])),
         ("o", tables([node])), ("o", made.CreateString("main"))]
    )  # fmt: skip
    code = table([("b", op), ("o", None), ("i", 3), ("i", op)])
    model = table(
        [("i", 3), ("o", tables([code])), ("o", tables([graph])), ("o", None),
         ("o", tables(buffers))]
    )  # fmt: skip
    made.Finish(model, b"TFL3")
    return bytes(made.Output())
