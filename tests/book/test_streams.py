"""A line that the kernel sent in pieces is one line on the page."""

from __future__ import annotations

from typing import Any

import pytest


def stream(name: str, text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


@pytest.mark.usefixtures("extension")
def test_pieces_are_joined_as_they_are() -> None:
    from bitbybit_book.streams import joined  # type: ignore[import-not-found]

    figure = {"output_type": "display_data", "data": {}}
    outputs = [stream("stdout", "36"), stream("stderr", "w"), figure, stream("stdout", " codes\n")]
    assert joined(outputs) == [stream("stdout", "36 codes\n"), stream("stderr", "w"), figure]
    assert joined([]) == []
