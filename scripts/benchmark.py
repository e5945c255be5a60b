"""Measure the exact engine against ONNX Runtime and onnx.reference on ResNet8, on one thread.

All contestants take turns on the same batch of real images. The engine keeps every intermediate.
The record says what was measured, where, and how many images per second of CPU time each made;
CPU time, because on one thread it does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from bitbybit.cpu import cpu_features, is_contract_platform, machine
from bitbybit.execution.engine import stream, trace
from bitbybit.execution.sessions import Session
from bitbybit.files import atomic_write_json
from bitbybit.model.load import load
from bitbybit.model.types import Edge, QuantizedModel
from bitbybit.model.writer import write
from bitbybit.resnet8.examples import example, samples
from bitbybit.terminal import Parser, positive_int, run

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
BATCH = 64
REFERENCE_IMAGES = 4
MEMORY = (1_000, 10_000)
ENGINE, BASE = "engine, all intermediates kept", "ONNX Runtime, S8S8 QOperator"

Contestant = tuple[Callable[[], Any], int]
"""What computes some images, and how many."""


def batch(count: int) -> tuple[NDArray[np.uint8], str]:
    """Return real images, repeated if there are not so many, and what they are."""
    test = samples("test")
    split = samples() if test is None else test
    words = "bundled samples" if test is None else "CIFAR-10 test images"
    if count > len(split):
        words += f", repeated {-(-count // len(split))} times"
    return np.resize(split.images, (count, *split.images.shape[1:])), words


def mixed(model: QuantizedModel) -> QuantizedModel:
    """Return the same network with uint8 activations and int8 weights."""

    def shifted(edge: Edge) -> Edge:
        if edge.params is None:
            return edge
        zero = (edge.params.zero_point.astype(np.int16) + 128).astype(np.uint8)
        return replace(edge, dtype=zero.dtype, params=replace(edge.params, zero_point=zero))

    return replace(model, edges={name: shifted(edge) for name, edge in model.edges.items()})


def contestants(images: NDArray[np.float32], folder: Path) -> dict[str, Contestant]:
    """Prepare every contestant."""
    model = load(example("int8"))
    write(mixed(model), folder / "u8s8.onnx", "qoperator")
    files = {
        BASE: example("int8_qoperator"),
        "ONNX Runtime, S8S8 QDQ fused": example("int8"),
        "ONNX Runtime, U8S8 QOperator": folder / "u8s8.onnx",
        "ONNX Runtime, U8U8": example("uint8"),
        "ONNX Runtime, float32": example("float"),
    }
    found: dict[str, Contestant] = {ENGINE: (lambda: trace(model, images), len(images))}
    for name, path in files.items():
        session = Session(str(path))
        found[name] = (lambda s=session: s.run({s.inputs[0]: images}), len(images))  # type: ignore[misc]
    few = images[:REFERENCE_IMAGES]
    evaluator = reference(model, folder / "standard.onnx")
    found["onnx.reference"] = (lambda: evaluator.run(None, {"image": few}), len(few))
    return found


def reference(model: QuantizedModel, path: Path) -> ReferenceEvaluator:
    """Return onnx.reference with the network in ONNX's own operators."""
    write(model, path, "qoperator", standard_only=True)
    proto = onnx.load(path)
    # onnx.reference has no DequantizeLinear below opset 19, which defines it alike.
    proto.opset_import[0].version = 19
    return ReferenceEvaluator(proto)


def measure(turns: dict[str, Contestant], rounds: int) -> dict[str, Any]:
    """Let all contestants take turns; returns images per second of CPU time."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for turn in range(rounds + 1):
        for name, (compute, _) in turns.items():
            before = time.process_time()
            compute()
            if turn:  # the first turn warms up
                seconds[name].append(time.process_time() - before)
    rates = {
        name: {
            "images_per_second": round(turns[name][1] / statistics.median(spent), 1),
            "best": round(turns[name][1] / min(spent), 1),
            "images": turns[name][1],
        }
        for name, spent in seconds.items()
    }
    for rate in rates.values():
        rate["engine_is_faster_by"] = round(
            rates[ENGINE]["images_per_second"] / rate["images_per_second"], 3
        )
    return rates


def memory() -> dict[str, int]:
    """Return the peak memory of a process that streams so many images, in MiB."""
    peaks = {}
    for count in MEMORY:
        done = subprocess.run(  # noqa: S603 (this script, again)
            [sys.executable, __file__, "--stream", str(count)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks[str(count)] = int(done.stdout)
    return peaks


def stream_and_print_peak(count: int) -> None:
    images, _ = batch(max(MEMORY))
    for part in stream(load(example("int8")), images[:count], BATCH):
        part["logits"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak // (2**20 if sys.platform == "darwin" else 2**10))


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--output", type=Path, default=Path("_build/benchmark.json"))
    parser.add_argument("--rounds", type=positive_int, default=15, help="turns (default: 15)")
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stream:
        stream_and_print_peak(arguments.stream)
        return
    if any(os.environ.get(name) != "1" for name in THREADS):
        # The libraries read these variables when they are loaded: begin again with them.
        os.environ.update(dict.fromkeys(THREADS, "1"))
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    images, words = batch(BATCH)
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(contestants(images.astype(np.float32), Path(folder)), arguments.rounds)
    record = {
        "schema_version": 1,
        "what": f"batch of {BATCH} images ({words}), one thread, CPU time, "
        f"median of {arguments.rounds} turns",
        "model": {"file": example("int8").name, "sha256": load(example("int8")).sha256},
        "rates": rates,
        "peak_memory_mib": memory(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "onnx", "onnxruntime")},
        },
        "cpu": {
            "architecture": machine(),
            "features": sorted(cpu_features()),
            "u8s8_is_exact": is_contract_platform("uint8", "int8"),
        },
    }
    show(record)
    atomic_write_json(arguments.output, record)


def show(record: dict[str, Any]) -> None:
    print(record["what"])
    print(f"{'':<34}{'images/s':>10}{'best':>10}{'engine is faster by':>22}")
    for name, rate in record["rates"].items():
        numbers = f"{rate['images_per_second']:>10,.0f}{rate['best']:>10,.0f}"
        print(f"{name:<34}{numbers}{rate['engine_is_faster_by']:>22.2f}")
    for count, peak in record["peak_memory_mib"].items():
        print(f"peak memory, {int(count):,} images: {peak} MiB")


if __name__ == "__main__":
    run(main)
