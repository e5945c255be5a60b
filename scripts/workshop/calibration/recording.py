"""From calibration images to the record that the integers are made of."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbybit import __version__
from bitbybit.cpu import cpu_features, machine
from bitbybit.execution.sessions import version
from bitbybit.model.types import Conv, Dense, QuantizedModel
from bitbybit.quantization.conversion import Weighted, check_float, nearest_codes, weight_rows
from bitbybit.quantization.edges import CodeEdges
from bitbybit.quantization.record import Calibration, LayerRecord, Variant, fingerprint, pack
from bitbybit.quantization.scheme import Range, Scheme
from workshop.calibration.observe import Batch, Observations, observe
from workshop.calibration.ranges import Method, RangeMethod, choose_range, edge_grid
from workshop.calibration.rounding import (
    OutputError,
    RoundedWeights,
    round_weights,
    with_room_for_bias,
)
from workshop.calibration.tuning import inner_edges, tune_ranges

log = logging.getLogger("bitbybit.calibration")  # what terminal.configure_logging shows

_PIXELS = (0.0, 255.0)


def calibrate(
    model: QuantizedModel,
    images: Iterable[Batch] | Batch,
    method: Method | RangeMethod = "mse",
    schemes: Sequence[Scheme] = (Scheme(),),
    description: dict[str, Any] | None = None,
) -> Calibration:
    """Observe a float network on calibration images and choose ranges, scales and rounding.

    Parameters
    ----------
    model
        A float network, as :func:`bitbybit.load` returns it.
    images
        Graph inputs ``[N, ...]``, or a mapping from input names to them, or several of either:
        how they are cut into batches changes nothing.
    method
        How activation ranges are chosen. A graph input whose values are all integers from 0 to
        255 gets exactly that range, whatever the method: its quantization is lossless.
    schemes
        What to prepare for; all share one pass over the images.
    description
        What the record says of the images.

    Returns
    -------
    Calibration
        For :func:`bitbybit.quantize`.

    Raises
    ------
    DataError
        No image; wrong shapes; NaN or infinite activations; an unknown method.
    UnsupportedError
        The model is quantized already, or ONNX Runtime cannot run it.
    """
    check_float(model)
    method = RangeMethod(method) if isinstance(method, str) else method
    if isinstance(images, np.ndarray | Mapping):
        images = [images]
    elif iter(images) is images and method.name == "output":
        images = list(images)  # it goes through them more than once
    plan = CodeEdges(model)
    gram = any(scheme.weights == "gptq" for scheme in schemes)
    seen = observe(model, images, plan, gram=gram)
    log.info("observed %d images", seen.images)
    maker = _Maker(model, images, plan, seen, method)
    return Calibration(
        network=fingerprint(model),
        method=asdict(method),
        variants=tuple(maker.variant(scheme) for scheme in schemes),
        images={**(description or {}), "count": seen.images},
        made_with={
            "bitbybit": __version__,
            "numpy": np.__version__,
            "onnxruntime": version(),
            "session": "CPU, one thread, all optimizations, one image at a time",
            "machine": machine(),
            "cpu_features": sorted(cpu_features()),
        },
    )


@dataclass(eq=False)
class _Maker:
    """Turns observations into variants; remembers what schemes have in common."""

    model: QuantizedModel
    images: Iterable[Batch]
    plan: CodeEdges
    seen: Observations
    method: RangeMethod
    _ranges: dict[object, dict[str, Range]] = field(default_factory=dict)
    _errors: dict[object, list[OutputError]] = field(default_factory=dict)
    _rounded: dict[object, RoundedWeights] = field(default_factory=dict)

    def variant(self, scheme: Scheme) -> Variant:
        ranges = self._all_ranges(scheme)
        layers = {
            layer.name: self._layer(layer, scheme, ranges)
            for layer in self.model.layers
            if isinstance(layer, Conv | Dense)
        }
        log.info("rounded %s", scheme)
        return Variant(scheme, ranges, layers)

    def _all_ranges(self, scheme: Scheme) -> dict[str, Range]:
        """Return the ranges by edge; they depend on the number of codes, not on their dtype."""
        key = (scheme.activation_bits, scheme.symmetric_activations)
        if key not in self._ranges:
            ranges = {name: self._range(name, scheme) for name in self.seen.histograms}
            if self.method.name == "output":
                ranges = self._tuned(ranges, scheme)
            self._ranges[key] = ranges
        return self._ranges[key]

    def _tuned(self, ranges: dict[str, Range], scheme: Scheme) -> dict[str, Range]:
        seen = self.seen.histograms
        full = {name: (min(h.minimum, 0.0), max(h.maximum, 0.0)) for name, h in seen.items()}
        return tune_ranges(
            self.model,
            self.images,
            inner_edges(self.plan),
            ranges,
            full,
            partial(edge_grid, self.plan, scheme),
            joint=scheme.symmetric_activations,
        )

    def _range(self, edge: str, scheme: Scheme) -> Range:
        histogram = self.seen.histograms[edge]
        if edge in self.seen.whole and histogram.minimum >= 0 and histogram.maximum <= 255:
            return _PIXELS
        return choose_range(histogram, self.method, scheme, self.plan.bits(scheme, edge))

    def _layer(self, layer: Weighted, scheme: Scheme, ranges: dict[str, Range]) -> LayerRecord:
        rows = weight_rows(layer)
        flat = rows.reshape(-1, rows.shape[-1])
        rounded = self._round(layer, rows, scheme)
        if layer.bias is not None:
            edge = self.plan.origin[layer.inputs[0]]
            x = self.plan.params(scheme, edge, ranges)
            bias = layer.bias.values.astype(np.float64) / float(x.scale)
            rounded = with_room_for_bias(rounded, flat, bias, scheme)
        nearest = nearest_codes(flat, rounded.scale, rounded.zero_point, scheme.weight_rails)
        corrected = self._corrected_bias(layer, rows, rounded) if scheme.bias_correction else None
        scale = rounded.scale if scheme.per_channel else rounded.scale[:1]
        return LayerRecord(scale, rounded.zero_point, pack(rounded.codes - nearest), corrected)

    def _round(self, layer: Weighted, rows: NDArray[np.float64], scheme: Scheme) -> RoundedWeights:
        part = replace(
            scheme,
            activation_dtype=scheme.weight_dtype,
            activation_bits=8,
            symmetric_activations=False,
            bias_correction=scheme.bias_correction and scheme.weights == "gptq",
        )
        key = (layer.name, part)
        if key not in self._rounded:
            errors = None
            if scheme.weights == "gptq":
                errors = self._output_errors(layer, centred=scheme.bias_correction)
            self._rounded[key] = round_weights(rows, errors, scheme)
        return self._rounded[key]

    def _output_errors(self, layer: Weighted, *, centred: bool) -> list[OutputError]:
        """Return the error measures of a layer; ``centred``: the bias will take up the mean."""
        key = (layer.name, centred)
        if key not in self._errors:
            moments = self.seen.moments[layer.name]
            second = moments.gram / moments.count
            if centred:
                mean = moments.total / moments.count
                second = second - mean[:, :, None] * mean[:, None, :]
            self._errors[key] = [OutputError(part) for part in second]
        return self._errors[key]

    def _corrected_bias(
        self, layer: Weighted, rows: NDArray[np.float64], rounded: RoundedWeights
    ) -> NDArray[np.float32]:
        """Return the bias less the mean output error: ``b + mean((w - rounded w) x)``."""
        moments = self.seen.moments[layer.name]
        mean = moments.total / moments.count
        real = (rounded.codes - rounded.zero_point) * rounded.scale.astype(np.float64)[:, None]
        missing = ((rows - real.reshape(rows.shape)) @ mean[:, :, None]).reshape(-1)
        bias = 0.0 if layer.bias is None else layer.bias.values.astype(np.float64)
        return (bias + missing).astype(np.float32)
