"""From a float network and its calibration record to integers.

Only single IEEE 754 operations, element by element: the result has the same bits everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bitbybit.errors import DataError, UnsupportedError
from bitbybit.model import types
from bitbybit.model.load import canonical_name
from bitbybit.model.types import (
    Conv,
    Dense,
    FloatIsland,
    Layer,
    QuantizedModel,
    QuantParams,
    Reshape,
    bias_params,
)
from bitbybit.quantization.edges import OPSET, CodeEdges, clip_island, quantized_island
from bitbybit.quantization.record import Calibration, LayerRecord, Variant, fingerprint, unpack
from bitbybit.quantization.scheme import Scheme

Weighted = Conv | Dense


def quantize(
    model: QuantizedModel, calibration: Calibration, scheme: Scheme | None = None
) -> QuantizedModel:
    """Return the integer network that a calibration record makes of a float network.

    Convolutions, dense layers, additions, global pools and reshapes become integer layers; other
    operators stay float islands between them. A ReLU is the lower rail of its layer's output.

    Parameters
    ----------
    model
        A float network, as :func:`bitbybit.load` returns it.
    calibration
        Its record, as :meth:`bitbybit.quantization.Calibration.load` reads it.
    scheme
        One of the record's schemes; by default the first.

    Returns
    -------
    QuantizedModel
        In memory; :func:`bitbybit.write` makes a file of it.

    Raises
    ------
    DataError
        The record belongs to another network, lacks the scheme, or is inconsistent.
    UnsupportedError
        The model is quantized already.

    Notes
    -----
    ``code = clip(RNE(w / scale) + zero_point + recorded difference)`` for weights and
    ``RNE(b / (x_scale * w_scale))`` for biases, int32 with zero point 0.
    """
    check_float(model)
    if calibration.network != fingerprint(model):
        raise DataError(
            "the calibration belongs to another network",
            where=model.path,
            expected=calibration.network[:12],
            found=fingerprint(model)[:12],
            next_step="Calibrate this network.",
        )
    return _Builder(model, calibration.variant(scheme)).build()


def check_float(model: QuantizedModel) -> None:
    """Raise :class:`UnsupportedError` unless ``model`` is a float network."""
    if model.form != "float":
        raise UnsupportedError(
            "the model is quantized already",
            where=model.path,
            expected="a float model",
            found=model.form,
            next_step="Give the float network that it was made of.",
        )


def weight_rows(layer: Weighted) -> NDArray[np.float64]:
    """Return the weights ``[G, M/G, K]``, one row per output channel, exact in float64."""
    values = layer.weight.values.astype(np.float64)
    if isinstance(layer, Dense):
        return values.T[None]
    return values.reshape(layer.group, values.shape[0] // layer.group, -1)


def nearest_codes(
    weights: NDArray[np.float64],
    scale: NDArray[np.float32],
    zero_point: int,
    rails: tuple[int, int],
) -> NDArray[np.int64]:
    """Return ``clip(RNE(w / scale) + zero_point)``, the same on every machine.

    ``weights`` float64 ``[M, K]``, ``scale`` float32 ``[M]``; one float64 division each.
    """
    steps = np.rint(weights / scale.astype(np.float64)[:, None]) + zero_point
    codes: NDArray[np.int64] = np.clip(steps, *rails).astype(np.int64)
    return codes


def _integer_weight(layer: Weighted, record: LayerRecord, scheme: Scheme) -> types.QuantizedTensor:
    """Return ``clip(RNE(w / scale) + zero_point) + recorded difference``, in the float layout."""
    rows = weight_rows(layer)
    flat = rows.reshape(-1, rows.shape[-1])
    count = len(flat) if scheme.per_channel else 1
    if record.scale.shape != (count,) or not (record.scale > 0).all():
        raise _unfit("weight scales", layer, f"{count} positive", record.scale.size)
    low, high = scheme.weight_rails
    scales = np.broadcast_to(record.scale, len(flat))
    codes = nearest_codes(flat, scales, record.zero_point, (low, high))
    codes += unpack(record.rounding, codes.shape)
    found = min(codes.min(), record.zero_point), max(codes.max(), record.zero_point)
    if found[0] < low or found[1] > high:
        raise _unfit("weight codes", layer, f"{low}..{high}", f"{found[0]}..{found[1]}")
    values = codes.T if isinstance(layer, Dense) else codes.reshape(layer.weight.values.shape)
    params = _weight_params(layer, record, scheme)
    return types.QuantizedTensor("", np.ascontiguousarray(values).astype(params.dtype), params)


def _weight_params(layer: Weighted, record: LayerRecord, scheme: Scheme) -> QuantParams:
    scale = record.scale if scheme.per_channel else record.scale.reshape(())
    zero = np.full(scale.shape, record.zero_point).astype(scheme.weight_dtype)
    return QuantParams(scale, zero, int(isinstance(layer, Dense)) if scheme.per_channel else None)


def _integer_bias(
    layer: Weighted, record: LayerRecord, params: QuantParams
) -> types.QuantizedTensor | None:
    """Return ``RNE(b / (x_scale * w_scale))``, int32 ``[M]``; the corrected bias goes first."""
    own = None if layer.bias is None else layer.bias.values
    real = own if record.bias is None else record.bias
    if real is None:
        return None
    values = np.asarray(real, np.float32).astype(np.float64)
    codes = np.rint(values / params.scale.astype(np.float64))
    channels = layer.weight.values.shape[0 if isinstance(layer, Conv) else 1]
    if values.shape != (channels,) or not (np.abs(codes) < 2**31).all():
        expected = f"{channels} within int32"
        raise _unfit("biases", layer, expected, f"{values.size}, up to {np.abs(codes).max():g}")
    return types.QuantizedTensor("", codes.astype(np.int32), params)


def _unfit(what: str, layer: Weighted, expected: str, found: object) -> DataError:
    return DataError(
        f"the {what} of the calibration record do not fit the layer",
        where=layer.name,
        expected=expected,
        found=found,
        next_step="Calibrate this network again; the record is of another one.",
    )


@dataclass(eq=False)
class _Builder:
    """Appends integer layers in the order of the float ones.

    ``made`` maps a float edge to the edge that carries its codes, and their parameters.
    """

    model: QuantizedModel
    variant: Variant
    layers: list[Layer] = field(default_factory=list)
    edges: dict[str, types.Edge] = field(default_factory=dict)
    made: dict[str, tuple[str, QuantParams]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scheme = self.variant.scheme
        islands = any(isinstance(layer, FloatIsland) for layer in self.model.layers)
        self.opsets = dict(self.model.opsets) if islands else {"": OPSET}
        self.names = set(self.model.edges)
        self.plan = CodeEdges(self.model)

    def build(self) -> QuantizedModel:
        for name in self.model.inputs:
            self.edges[name] = self.model.edges[name]
            if name in self.plan.origin:
                new = self._name("input" if len(self.model.inputs) == 1 else f"{name}_quantized")
                self._append(types.Quantize(new, (name,)), name, self._params(name))
        for layer in self.model.layers:
            if isinstance(layer, FloatIsland):
                self._island(layer)
            else:
                self._integer(layer)
        outputs = tuple(self._output(name) for name in self.model.outputs)
        return QuantizedModel(
            path=Path(f"{self.model.path.stem} {self.scheme}.onnx".replace(" ", "_")),
            sha256="",
            form="qdq",
            opsets=self.opsets,
            inputs=self.model.inputs,
            outputs=outputs,
            layers=tuple(self.layers),
            edges=self.edges,
        )

    def _append(self, layer: Layer, source: str, params: QuantParams | None) -> None:
        """Add a layer; its output stands for the float edge ``source``, as codes if it has any."""
        edge = self.model.edges[source]
        dtype = edge.dtype if params is None else params.dtype
        self.layers.append(layer)
        self.edges[layer.name] = types.Edge(layer.name, layer.name, edge.shape, dtype, params)
        if params is not None:
            self.made[source] = layer.name, params

    def _name(self, wish: str) -> str:
        """Return a new name."""
        name, number = wish, 2
        while name in self.names:
            name, number = f"{wish}_{number}", number + 1
        self.names.add(name)
        return name

    def _params(self, edge: str) -> QuantParams:
        """Return the parameters of a float edge's codes."""
        return self.plan.params(self.scheme, edge, self.variant.ranges)

    def _integer(self, layer: Layer) -> None:
        inputs, given = zip(*(self.made[name] for name in layer.inputs), strict=True)
        made: Layer = replace(layer, inputs=inputs, nodes=())
        if isinstance(layer, Reshape):
            self._append(made, layer.name, given[0])
            return
        y = self._params(layer.name)
        if isinstance(made, Conv | Dense):
            record = self.variant.layers.get(layer.name)
            if record is None:
                raise _unfit("weights", made, "an entry for each layer", "none")
            weight = _integer_weight(made, record, self.scheme)
            unit = bias_params(given[0], _weight_params(made, record, self.scheme))
            bias = _integer_bias(made, record, unit)
            made = replace(made, weight=weight, bias=bias)
        if isinstance(made, Conv | Dense | types.Add):
            made = replace(made, relu=int(y.zero_point) == y.qmin)
        self._append(made, layer.name, y)
        self._narrow(layer.name, y, relu=getattr(layer, "relu", False))

    def _narrow(self, edge: str, params: QuantParams, *, relu: bool) -> None:
        """Clip the codes of an edge where the scheme's rails lie inside those of the dtype."""
        low, high = self.scheme.activation_rails(self.plan.bits(self.scheme, edge))
        if relu:
            low = int(params.zero_point)
        if (low, high) != (params.qmin, params.qmax):
            name = self._name(f"{edge}.clip")
            clip = clip_island(name, self.edges[edge], (low, high), self.opsets[""])
            self._append(clip, edge, params)

    def _island(self, layer: FloatIsland) -> None:
        """Keep an operator float; where integer layers read it, its output is quantized."""
        name, origin = layer.name, self.plan.origin.get(layer.name)
        given = [self.edges[self.made[n][0] if n in self.made else n] for n in layer.inputs]
        if origin == name:
            params = self._params(name)
            self._append(quantized_island(layer, given, params), name, params)
            self._narrow(name, params, relu=False)
        else:
            moved = None if origin is None else self.made[layer.inputs[0]][1]
            self._append(quantized_island(layer, given, None), name, moved)

    def _output(self, name: str) -> str:
        """Return the float edge of a graph output."""
        if name not in self.made:
            return name
        source, _ = self.made[name]
        wish = canonical_name(self.model.edges[name].onnx_name) or "output"
        new = self._name(wish if wish != name else f"{name}_dequantized")
        self._append(types.Dequantize(new, (source,)), name, None)
        return new
