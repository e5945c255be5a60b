"""Of many images every one is compared, whatever batch it comes in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bitbybit.execution.engine import trace
from bitbybit.execution.feed import stimuli
from bitbybit.execution.verdict import DEFINITION
from bitbybit.execution.verification import FIRST_BATCH, verify
from bitbybit.model.load import load
from bitbybit.model.writer import write
from tests.support.models import small
from tests.support.runtime import on_contract_platform


@on_contract_platform
def test_every_image_is_compared_with_every_authority(tmp_path: Path) -> None:
    write(small(3, np.int8), tmp_path / "m.onnx", "qoperator")
    model = load(tmp_path / "m.onnx")
    count = FIRST_BATCH + 64 + 5
    report = verify(model, stimuli(model, count), quick=True)
    assert report.images == count
    one = trace(model, stimuli(model, 1))
    authorities = set()
    for check in report.checks:
        images = FIRST_BATCH if check.authority == DEFINITION else count
        assert check.elements == images * one[check.name].size
        authorities.add(check.authority)
    assert len(authorities) == 4
