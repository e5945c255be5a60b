"""A network of 500 layers and 20 million weights: its report stays small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bitbybit.model.types import QuantizedModel, QuantizedTensor, QuantParams
from bitbybit.model.writer import write
from tests.support.models import Network

pytestmark = pytest.mark.slow
CHANNELS, BLOCKS = 82, 165

PROGRAM = """
import resource, sys
from pathlib import Path
from bitbybit.inspection import examine
from bitbybit.pictures.inspection_page import page
found = examine(sys.argv[1])
Path(sys.argv[2]).write_text(page(found))
print(len(found.layers), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


class _Steady(Network):
    """A network whose scales stay near 1 however deep it is."""

    def _weight(self, shape: tuple[int, ...], axis: int) -> QuantizedTensor:
        tensor = super()._weight(shape, axis)
        size = 40 / (74 * 74 * np.sqrt(CHANNELS * 9))
        scale = np.full(shape[axis], size, np.float32)
        params = QuantParams(scale, np.zeros(shape[axis], self.dtype), axis)
        return QuantizedTensor(tensor.name, tensor.values, params)

    def activation(self, scale: float, zero_point: int) -> QuantParams:
        return super().activation(1.0, zero_point)


def large(folder: Path) -> Path:
    """Write the network as QOperator file."""
    net = _Steady((None, 3, 32, 32))
    x = net.conv("stem", "input", CHANNELS)
    for i in range(BLOCKS):
        first = net.conv(f"block{i}.conv1", x, CHANNELS)
        second = net.conv(f"block{i}.conv2", first, CHANNELS, relu=False)
        x = net.add(f"block{i}.add", second, x)
    flat = net.flatten("flatten", net.pool("pool", x))
    model: QuantizedModel = net.finish(net.dense("dense", flat, 10))
    path = folder / "large.onnx"
    write(model, path, form="qoperator")
    return path


def test_report_of_a_large_network(tmp_path: Path) -> None:
    model, page = large(tmp_path), tmp_path / "out.html"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model), str(page)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    layers, used = map(int, done.stdout.split())
    kibibytes = used // 1024 if sys.platform == "darwin" else used
    assert layers == 3 * BLOCKS + 6
    assert kibibytes < 1 << 20  # half of the two gigabytes that are allowed
    text = page.read_text(encoding="utf-8")
    assert len(text) < 15_000_000
    assert text.count("<section ") == layers
    assert "<bdi>none: the network was not run</bdi>" in text
