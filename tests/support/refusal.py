"""How a damaged model is refused: in one sentence that starts with its path."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from bitbybit.errors import BitbybitError
from bitbybit.model.load import load


def sentence(model: onnx.ModelProto, tmp_path: Path) -> str:
    """Return the sentence with which a model is refused."""
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BitbybitError) as error:
        load(path)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text.removeprefix(str(path)).lstrip(":, ")
