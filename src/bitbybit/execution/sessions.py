"""ONNX Runtime sessions with the options that make it run the integer graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from numpy.typing import NDArray

from bitbybit.errors import UnsupportedError
from bitbybit.model.types import AnyArray, FloatIsland
from bitbybit.text import shortened

INT8_ALLOWED = "session.qdqisint8allowed"
"""The session option without which a QDQ model with int8 activations stays partly float."""

MERGES_QUANTIZERS = "DoubleQDQPairsRemover"
"""The optimization that makes two quantizers in a row into one, with a scale of its own: it
computes another integer graph than the one in the file."""

_islands: WeakKeyDictionary[FloatIsland, Session] = WeakKeyDictionary()


class Session:
    """One model in ONNX Runtime: one thread, all optimizations, CPU.

    Parameters
    ----------
    model
        A serialized model, or the path of a file (as text) with its external data beside it.
    int8_allowed
        Whether the runtime must run the integer graph of the file: QDQ pairs around int8
        activations are fused to integer kernels on x86, and quantizers in a row are not merged.
        Its own default is the contrary.
    optimized_path
        Where the runtime writes the graph that it really runs; nowhere if empty.

    Raises
    ------
    UnsupportedError
        If ONNX Runtime cannot load the model; the message is its own.
    """

    def __init__(
        self, model: bytes | str, *, int8_allowed: bool = True, optimized_path: str = ""
    ) -> None:
        import onnxruntime as runtime  # what needs no session need not wait for it

        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if int8_allowed:
            options.add_session_config_entry(INT8_ALLOWED, "1")
        if optimized_path:
            options.optimized_model_filepath = optimized_path
        self._where = model if isinstance(model, str) else ""
        try:
            self._session = runtime.InferenceSession(
                model,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # it prints, and there is nothing to fall back to
                disabled_optimizers=[MERGES_QUANTIZERS] if int8_allowed else None,
            )
        except Exception as error:  # noqa: BLE001  # the binding has no common base class
            raise refusal("load the model", error, self._where) from None
        self.inputs: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[AnyArray]:
        """Run the model on inputs by ONNX name; returns the outputs in file order.

        Raises
        ------
        UnsupportedError
            If ONNX Runtime cannot run it; the message is its own.
        """
        try:
            outputs: list[AnyArray] = self._session.run(None, dict(feed))
        except Exception as error:  # noqa: BLE001  # the binding has no common base class
            raise refusal("run the model", error, self._where) from None
        return outputs


def version() -> str:
    """Return the version of ONNX Runtime that is installed."""
    import onnxruntime

    return str(onnxruntime.__version__)


def refusal(what: str, error: Exception, where: str = "") -> UnsupportedError:
    """Return the runtime's refusal as one sentence."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UnsupportedError(
        f"ONNX Runtime cannot {what}",
        where=shortened(where),
        found=shortened(first, 300),
        next_step="Check the file with onnx.checker, and the version of ONNX Runtime.",
    )


def run_island(layer: FloatIsland, inputs: Sequence[NDArray[Any]]) -> AnyArray:
    """Run a float island in ONNX Runtime.

    Parameters
    ----------
    layer
        The island; its model's inputs are ``layer.inputs`` in their order.
    inputs
        Their values.

    Returns
    -------
    The values of ``layer.name``.
    """
    session = _islands.get(layer)
    if session is None:
        session = _islands.setdefault(layer, Session(layer.model))
    return session.run(dict(zip(session.inputs, inputs, strict=True)))[0]
