"""What every caption ends with: the one model and the one image or data set that is shown."""

from __future__ import annotations

from bitbybit.model.types import QuantizedModel
from bitbybit.text import shortened


def source(model: QuantizedModel, data: str = "") -> str:
    """Name a model by file and the first eight digits of its SHA-256, and the data shown.

    Parameters
    ----------
    model
        The network that the figure or table shows.
    data
        An image or data set, for example ``"ship.png"``.
    """
    file = f"`{shortened(model.path.name)}` ({model.sha256[:8]})"
    return f"{file}, {data}." if data else f"{file}."
