"""Float networks, each read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bitbybit.model.types import QuantizedModel
from tests.support.float_nets import NETWORKS, float_network


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], QuantizedModel]:
    """Return a function from a network's name to the network."""
    folder: Path = tmp_path_factory.mktemp("networks")
    read = {name: float_network(name, folder) for name in NETWORKS}
    return read.__getitem__
