"""Reader and engine together, on networks nobody wrote by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx

from bitbybit.execution.verification import verify
from tests.support.random_networks import RandomNetwork
from tests.support.runtime import on_contract_platform

NETWORKS = 80


@on_contract_platform
def test_every_random_network_is_exact(tmp_path: Path) -> None:
    endings = Counter[int]()
    for seed in range(NETWORKS):
        path = tmp_path / f"{seed}.onnx"
        onnx.save(RandomNetwork(seed).model(), path)
        report = verify(path, quick=bool(seed % 8))
        assert report.mismatches == 0, f"seed {seed}: {report.first}"
        endings[report.exit_status] += 1
    assert endings[0] > NETWORKS / 3
    assert endings[3] > NETWORKS / 20
