"""The cases of ``scripts/fuzz.py``: each a function of target, seed and number."""

from __future__ import annotations

import runpy
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.support import fault_files, graph_mutations, mutations
from tests.support.commands import call
from tests.support.judge import Case
from tests.support.random_networks import RandomNetwork

ROOT = Path(__file__).resolve().parents[2]
Function = Callable[[], int]
Rng = np.random.Generator
MODELS = ("resnet8_int8", "resnet8_int8_qoperator", "resnet8_int8_per_tensor", "resnet8_uint8",
          "resnet8")  # fmt: skip


def preload() -> None:
    """Import everything once, so that a forked case is quick and imports nothing."""
    import bitbybit.cli._show
    import bitbybit.cli.verify  # noqa: F401

    small = ROOT / "tests" / "faults" / "graphs" / "clip_int8.onnx"
    call("inspect", small, "--json", "--bins", "20")
    call("verify", small)
    call("inspect", ROOT / "models" / "resnet8_int8.pt", "--json")


def command(*arguments: object) -> Function:
    """Return a function that runs ``bitbybit ARGUMENTS`` and exits as it does."""

    def function() -> int:
        from bitbybit.cli import main

        sys.argv = ["bitbybit", *map(str, arguments)]
        main()
        return 0

    return function


def script(name: str, *arguments: object) -> Function:
    """Return a function that runs a script and exits as it does."""

    def function() -> int:
        path = str(ROOT / "scripts" / name)
        sys.argv = [path, *map(str, arguments)]
        runpy.run_path(path, run_name="__main__")
        return 0

    return function


@cache
def _corpus(suffix: str) -> tuple[bytes, ...]:
    """Return small files twice as often as the committed models."""
    small = sorted((ROOT / "tests" / "faults" / "graphs").glob(f"*{suffix}"))
    large = [ROOT / "models" / f"{name}{suffix}" for name in MODELS]
    large += [ROOT / "models" / "resnet8_int8.pt"] if suffix == ".pt" else []
    bombs = {"mem_bomb_1500", "laughs_qtensor", "big_quantize"}
    files = [path for path in small if path.stem not in bombs]
    files += [path for path in large if path.exists()] * max(1, len(files) // 12)
    return tuple(path.read_bytes() for path in files)


def _onnx(rng: Rng, folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(graph_mutations.onnx_file(rng, mutations.pick(rng, _corpus(".onnx"))))
    return path


def inspect_case(rng: Rng, folder: Path) -> Case:
    """A damaged network through ``inspect``, with one of its outputs."""
    options = ((), ("--json",), ("--html", "o.html"), ("--csv", "o.csv"), ("--layer", "stem"))
    chosen = options[int(rng.choice(5, p=[0.4, 0.2, 0.2, 0.15, 0.05]))]
    return Case(
        function=command("inspect", _onnx(rng, folder), *chosen),
        json="--json" in chosen,
        writes=tuple(word for word in chosen if word.startswith("o.")),
    )


NOT_OF_THE_CPU = 5
"""The status of a mismatch that is there also where this CPU is exact: it is none of a case's."""


def verify_case(rng: Rng, folder: Path) -> Case:
    """A damaged network through ``verify``, with images of its choice."""
    chosen, path = mutations.pick(rng, ((), ("--json",), ("--images", "1"))), _onnx(rng, folder)
    run = command("verify", path, *chosen)

    def function() -> int:
        """A CPU without VNNI excuses a mismatch only while the weights are large."""
        try:
            run()
        except SystemExit as end:
            if end.code != 1:
                raise
        with tempfile.TemporaryDirectory() as other:
            tame = call("verify", fault_files.tamed(path, Path(other)))
        return NOT_OF_THE_CPU if tame.status == 1 else 1

    return Case(
        function=function,
        statuses=frozenset({0, 2, 3}),  # a damaged file makes no mismatch of its own
        json="--json" in chosen,
    )


def scripts_case(rng: Rng, folder: Path) -> Case:
    """A damaged network through one of the scripts that take one."""
    path = _onnx(rng, folder)
    drawn = (f"{path.stem}_qdq_graph.svg", f"{path.stem}_qdq_graph.png")
    calls = (
        (("o.json",), "extract_operations.py", "--model", path, "--output", "o.json"),
        (drawn, "annotate_qdq_graph.py", "--model", path, "--output-dir", "."),
        ((), "validate_qlinearconv.py", path, "--images", "1"),
        ((), "validate_qlinearmatmul.py", path, "--images", "1"),
        ((), "validate_qlinearconv.py", path, "--json"),
        (("o.json",), "evaluate.py", path, "--split", "samples", "--max-samples", "2",
         "--output-json", "o.json"),
    )  # fmt: skip
    writes, name, *arguments = calls[int(rng.choice(6, p=[0.3, 0.1, 0.15, 0.2, 0.05, 0.2]))]
    return Case(
        function=script(str(name), *arguments), json="--json" in arguments, writes=tuple(writes)
    )


def pt_case(rng: Rng, folder: Path) -> Case:
    """A damaged ``.pt`` file through ``inspect``."""
    path = folder / "m.pt"
    path.write_bytes(mutations.pickle_file(rng, mutations.pick(rng, _corpus(".pt"))))
    chosen = mutations.pick(rng, ((), ("--json",)))
    return Case(function=command("inspect", path, *chosen), json="--json" in chosen)


def npz_case(rng: Rng, folder: Path) -> Case:
    """Damaged inputs and expected outputs of a network that is whole."""
    graphs = ROOT / "tests" / "faults" / "graphs"
    stems = [path.name.removesuffix("_exp.npz") for path in sorted(graphs.glob("*_exp.npz"))]
    model = graphs / f"{mutations.pick(rng, stems)}.onnx"
    paths = []
    for part in ("in", "exp"):
        with np.load(graphs / f"{model.stem}_{part}.npz") as arrays:
            values = dict(arrays)
        paths.append(folder / f"{part}.npz")
        np.savez(paths[-1], **values)
        if rng.random() < 0.6:
            paths[-1].write_bytes(mutations.arrays_file(rng, values))
    if rng.random() < 0.2:
        return Case(function=command("inspect", model, "--inputs", paths[0], "--json"), json=True)
    expected = ("--expected", paths[1]) if rng.random() < 0.7 else ()
    return Case(
        function=command("verify", model, "--inputs", paths[0], *expected),
        statuses=frozenset({0, 1, 2, 3}),
    )


def network_case(rng: Rng, folder: Path) -> Case:
    """A random network: what verify says must be true of a session of our own."""
    path = folder / "m.onnx"
    model = RandomNetwork(int(rng.integers(2**32))).model()
    path.write_bytes(model.SerializeToString())
    shown, other = (_images(rng, model) for _ in range(2))
    np.savez(folder / "in.npz", **shown)
    right = {0, 3}
    if rng.random() < 0.25:  # one that ONNX Runtime may still take, and the library may not
        path.write_bytes(graph_mutations.changed_model(rng, path.read_bytes()))
        right = {0, 2, 3}
    return Case(function=lambda: _judge(path, shown, other, right), statuses=frozenset({0}))


def _images(rng: Rng, model: onnx.ModelProto) -> dict[str, Any]:
    images = model.graph.input[0]
    size = [d.dim_value or 3 for d in images.type.tensor_type.shape.dim]
    return {images.name: (rng.normal(size=size) * 4).astype(np.float32)}


def session(path: Path, *, int8_allowed: bool, merges: bool = True) -> Any:
    """Return an ONNX Runtime session that shares nothing with the library, or its refusal."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if int8_allowed:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"],
        disabled_optimizers=None if merges else ["DoubleQDQPairsRemover"],
    )  # fmt: skip


def _judge(path: Path, shown: dict[str, Any], other: dict[str, Any], right: set[int]) -> int:
    """Compare what verify says with what happens; print and return 1 where it does not fit."""
    import bitbybit

    if 2 in right and call("verify", path, "--inputs", path.with_name("in.npz")).status == 2:
        return 0  # before ONNX Runtime takes memory of its own for what the library refuses
    try:
        integer = session(path, int8_allowed=True, merges=False)
        want, again = integer.run(None, shown), integer.run(None, other)
        others = [session(path, int8_allowed=allowed).run(None, shown) for allowed in (False, True)]
    except Exception as refusal:  # noqa: BLE001 (the binding has no common base class)
        done = call("verify", path, "--inputs", path.with_name("in.npz"))
        # A part that verify runs alone can be fine where the whole is not: it says equal or not.
        return _wrong(done.status not in {0, 2, 3}, f"status {done.status}, refused: {refusal}")
    done = call("verify", path, "--inputs", path.with_name("in.npz"))
    if done.status not in right:
        excused = done.status == 1 and "need not be exact on this CPU" in done.text
        return _wrong(
            not excused, f"status {done.status} of a network that runs: {done.text[-1500:]}"
        )
    model = bitbybit.load(path)
    found = bitbybit.trace(model, other)
    for edge, values in zip(model.outputs, again, strict=True):
        said = f"not checked: {edge} as trace gives it" in done.text  # a float island rounds
        if not said and not np.array_equal(found[edge], values, equal_nan=values.dtype.kind == "f"):
            return _wrong(True, f"status {done.status}, and {edge} differs")
    differs = [
        any(
            not np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            for a, b in zip(want, outputs, strict=True)
        )
        for outputs in others
    ]
    told = any(word[0] in "123456789" for word in _counts(done.text))
    return _wrong(any(differs) and not told, f"sessions differ {differs}, and nothing says so")


def _counts(text: str) -> list[str]:
    """Return the numbers of differing elements of a default session, as verify words them."""
    import re

    return re.findall(r"([\d,]+) of [\d,]+ elements of", text)


def _wrong(wrong: bool, what: str) -> int:
    if wrong:
        print(what)  # noqa: T201 (the result)
    return int(wrong)


TARGETS: dict[str, Callable[[Rng, Path], Case]] = {
    "inspect": inspect_case,
    "verify": verify_case,
    "scripts": scripts_case,
    "pt": pt_case,
    "npz": npz_case,
    "networks": network_case,
}
