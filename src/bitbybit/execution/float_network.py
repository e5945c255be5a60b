"""A float file in ONNX Runtime, with the tensors between its layers as outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from bitbybit.execution.cut import Cutter
from bitbybit.execution.sessions import Session
from bitbybit.model.types import QuantizedModel


class FloatNetwork:
    """A float network that shows its edges; the session is made once.

    Parameters
    ----------
    model
        A float network that was read from a file.
    edges
        Canonical names of the edges to show; by default all of them.

    Raises
    ------
    UnsupportedError
        ONNX Runtime cannot run the file, or there is none.
    """

    def __init__(self, model: QuantizedModel, edges: Iterable[str] | None = None) -> None:
        source = Cutter(model).source.file
        proto = onnx.ModelProto()
        proto.CopyFrom(source.proto)
        onnx.load_external_data_for_model(proto, str(source.folder))
        given = {value.name for value in proto.graph.output}
        self._tensors = {name: edge.onnx_name for name, edge in model.edges.items()}
        wanted = model.edges if edges is None else edges
        self._made = [name for name in wanted if name not in model.inputs]
        for tensor in dict.fromkeys(self._tensors[name] for name in self._made):
            if tensor not in given:
                proto.graph.output.append(onnx.ValueInfoProto(name=tensor))
        self._session = Session(proto.SerializeToString())

    def __call__(self, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the inputs and the edges by canonical name."""
        outputs = self._session.run({self._tensors[n]: values for n, values in given.items()})
        found = dict(zip(self._session.outputs, outputs, strict=True))
        return {**given, **{name: found[self._tensors[name]] for name in self._made}}
