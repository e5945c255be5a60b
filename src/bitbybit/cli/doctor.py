"""``bitbybit doctor``: what is here, what is missing, and what follows from it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from argparse import ArgumentParser, Namespace
from pathlib import Path

import bitbybit
from bitbybit.cpu import cpu_features, is_contract_platform, machine
from bitbybit.text import printable

_NEEDED = ("numpy", "onnx", "onnxruntime", "pillow")
_EXTRAS = {
    "book": ("jupyter-book", "graphviz", "pygraphviz"),
    "train": ("torch", "h5py"),
    "test": ("pytest", "hypothesis"),
    "lab": ("jupyterlab", "jupytext"),
}
_DATA = {
    "BITBYBIT_DATA": ("cifar-10-batches-py/test_batch", "CIFAR-10"),
    "BITBYBIT_MLPERF": ("pretrainedResnet.h5", "the official MLPerf Tiny weights"),
}


def add_arguments(_parser: ArgumentParser) -> None:
    """Declare nothing: ``doctor`` takes no arguments."""


def main(_arguments: Namespace) -> None:
    """Show versions, the CPU features that change integer results, data, optional parts."""
    for title, rows in report().items():
        print(title)
        for name, value in rows.items():
            print(f"  {name:<16} {printable(value)}")


def report() -> dict[str, dict[str, str]]:
    """Return what ``bitbybit doctor`` prints: title → name → finding, in order."""
    return {
        "Versions": {
            "bitbybit": bitbybit.__version__,
            "Python": platform.python_version(),
            **{name: _version(name) or "missing" for name in _NEEDED},
            "system": f"{platform.system()} {platform.release()}",
        },
        "CPU": {
            "architecture": machine(),
            "features": ", ".join(sorted(cpu_features())) or "none of those that matter",
            "int8 × int8": _verdict("int8", "int8"),
            "uint8 × uint8": _verdict("uint8", "uint8"),
            "uint8 × int8": _verdict("uint8", "int8"),
        },
        "Optional parts": {extra: _extra(extra, names) for extra, names in _EXTRAS.items()},
        "Data": {variable: _data(variable) for variable in _DATA},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _verdict(activation: str, weight: str) -> str:
    if is_contract_platform(activation, weight):
        return "contract platform: ONNX Runtime must equal the engine bit for bit"
    return "not the contract platform: ONNX Runtime may differ; the engine does not"


def _extra(extra: str, packages: tuple[str, ...]) -> str:
    versions = {package: _version(package) for package in packages}
    found = [", ".join(f"{name} {version}" for name, version in versions.items() if version)]
    missing = ", ".join(name for name, version in versions.items() if not version)
    if missing:
        found.append(f"missing: {missing} (in the clone: python -m pip install '.[{extra}]')")
    return "; ".join(filter(None, found))


def _data(variable: str) -> str:
    needed, content = _DATA[variable]
    folder = os.environ.get(variable, "")
    if not folder:
        return f"not set; name the folder that holds {content}, where a command needs it"
    if not (Path(folder) / needed).exists():
        return f"{folder}: {needed} is missing there"
    return f"{folder}: {content}"
