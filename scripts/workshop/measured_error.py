"""Where the error of a quantized network is made, measured on a population of real images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bitbybit import inspection
from bitbybit.execution.engine import stream
from bitbybit.execution.sessions import Session
from bitbybit.inspection.activations import ActivationReport
from bitbybit.model.load import load
from bitbybit.model.types import Conv, Dense, QuantizedModel, QuantizedTensor, QuantParams
from bitbybit.resnet8.cifar10 import Split
from workshop.evaluation import describe_data, describe_file, fidelity, pixel_batches, run_model
from workshop.manifest import versions

SCHEMA_VERSION = 1


def measured_error(
    int8_file: Path, float_file: Path, split: Split, split_name: str, bundled: Split
) -> dict[str, Any]:
    """Measure an int8 network against the float network of which it was made.

    Parameters
    ----------
    int8_file, float_file
        Two ONNX files with the same layers.
    split, split_name
        The images, and what the record calls them.
    bundled
        The sample images: the same figures on them can be measured again without the dataset.

    Returns
    -------
    dict
        ``schema_version, model, float, versions, data``; ``images`` and ``bundled``, the figures
        of :func:`figures` on either.
    """
    model, floats = load(int8_file), load(float_file)
    _, reference = run_model(float_file, split.images)
    _, drawn = run_model(float_file, bundled.images)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": describe_file(int8_file),
        "float": describe_file(float_file),
        "versions": versions(),
        "data": describe_data(split, split_name),
        "images": figures(model, floats, split.images, reference),
        "bundled": figures(model, floats, bundled.images, drawn),
    }


def figures(
    model: QuantizedModel,
    floats: QuantizedModel,
    images: NDArray[np.uint8],
    reference: NDArray[np.float32],
) -> dict[str, Any]:
    """Measure every layer's output, and what each step of quantization costs the logits.

    Parameters
    ----------
    model, floats
        The int8 network and its float twin.
    images : uint8, ``[N, 3, H, W]``
    reference : float32, ``[N, K]``
        The float network's logits.

    Returns
    -------
    dict
        ``layers``: per layer its SQNR, that of its own rounding, codes, codes at the upper rail
        and codes that saturation destroyed; ``steps``: SQNR of the logits with all weights and
        biases in int8 and nothing else, and with everything in int8; ``weights`` and
        ``activations``: SQNR of the logits with those of one layer in int8 and nothing else.
    """
    batches = inspection.batches_of(model, images.astype(np.float32), floats)
    layers = [_layer(report) for report in inspection.activation_reports(model, batches)]
    weighted = [layer.name for layer in model.layers if isinstance(layer, Conv | Dense)]
    made = [  # the input's quantizer is no layer of the float network, and loses nothing
        layer.name
        for layer in floats.layers
        if layer.name in model.edges and model.edges[layer.name].params is not None
    ]

    def alone(weights: Iterable[str] = (), activations: Iterable[str] = ()) -> float | None:
        network = partly_quantized(model, floats, frozenset(weights), frozenset(activations))
        return _sqnr(_logits(network, images), reference)

    whole = np.concatenate([trace[model.outputs[0]] for trace in stream(model, images)])
    return {
        "layers": [layer for layer in layers if layer is not None],
        "steps": {
            "weights_and_biases": alone(weighted),
            "everything": _sqnr(whole, reference),
        },
        "weights": {name: alone(weights=[name]) for name in weighted},
        "activations": {name: alone(activations=[name]) for name in made},
    }


def partly_quantized(
    model: QuantizedModel,
    floats: QuantizedModel,
    weights: frozenset[str],
    activations: frozenset[str],
) -> onnx.ModelProto:
    """Return the float network with the weights and biases, or the outputs, of some layers in int8.

    Weights and biases become the real values of their codes; behind the outputs stand a quantizer
    and a dequantizer.
    """
    proto = onnx.load(floats.path)
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    for name in weights:
        layer, twin = model.layer(name), floats.layer(name)
        if isinstance(layer, Conv | Dense) and isinstance(twin, Conv | Dense):
            _replace(tensors, (layer.weight, layer.bias), (twin.weight, twin.bias))
    for name in activations:
        _quantize_behind(proto.graph, floats.edges[name].onnx_name, model.edges[name].params)
    return proto


def _replace(
    tensors: Mapping[str, onnx.TensorProto],
    ours: Sequence[QuantizedTensor | None],
    theirs: Sequence[QuantizedTensor | None],
) -> None:
    """Put the real values of codes in the place of float values, in the file's layout."""
    for codes, twin in zip(ours, theirs, strict=True):
        if codes is not None and twin is not None:
            tensor = tensors[twin.name]
            held = onnx.numpy_helper.to_array(tensor)
            real = np.asarray(inspection.real_values(codes), np.float32)
            if not np.array_equal(held, twin.values):
                real = real.T
            tensor.CopyFrom(onnx.numpy_helper.from_array(real.reshape(held.shape), tensor.name))


def _quantize_behind(graph: onnx.GraphProto, name: str, params: QuantParams | None) -> None:
    """Let everything that reads a tensor read its quantized and dequantized values."""
    if params is None:
        return
    real = f"{name}/real"
    for node in graph.node:
        node.input[:] = [real if read == name else read for read in node.input]
    scale, zero = f"{name}/scale", f"{name}/zero_point"
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(values), key)
        for key, values in ((scale, params.scale), (zero, params.zero_point))
    )
    pair = (
        onnx.helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}/codes"]),
        onnx.helper.make_node("DequantizeLinear", [f"{name}/codes", scale, zero], [real]),
    )
    made = [i for i, node in enumerate(graph.node) if name in node.output]
    place = made[0] + 1 if made else 0
    nodes = [*graph.node[:place], *pair, *graph.node[place:]]
    del graph.node[:]
    graph.node.extend(nodes)
    for output in graph.output:
        if output.name == name:
            output.name = real


def _logits(proto: onnx.ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = Session(proto.SerializeToString())
    return np.concatenate(
        [session.run({session.inputs[0]: batch})[0] for batch in pixel_batches(images)]
    )


def _sqnr(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> float | None:
    found: float | None = fidelity(logits, reference)["logit_sqnr_db"]
    return found


def _layer(report: ActivationReport) -> dict[str, Any] | None:
    rails, distance = report.rails, report.distance
    if rails is None or distance is None:
        return None
    ratios = (distance.sqnr_db, distance.rounding_sqnr_db)
    finite = [round(float(db), 2) if np.isfinite(db) else None for db in ratios]
    return {
        "layer": report.layer,
        "sqnr_db": finite[0],
        "rounding_sqnr_db": finite[1],
        "codes": rails.total,
        "upper_rail": rails.high,
        "destroyed": rails.damaged,
    }
