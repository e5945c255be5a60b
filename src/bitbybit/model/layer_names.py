"""Names: from untrusted strings in a file to short, stable, unique layer names."""

from __future__ import annotations

import re

from bitbybit.text import shortened

LONGEST = 80
"""Characters kept of a canonical name."""

_WEIGHTED = ("Conv", "Gemm", "MatMul")


printable = shortened


def canonical_name(text: str) -> str:
    """Return ``text`` as a canonical name of ``A-Z a-z 0-9 . _ -``, "" if nothing is left.

    Path separators become dots; the ``_quant`` that ONNX Runtime's quantizer appends in its
    QOperator form and the operator that exporters append to a module's path are dropped, so
    that all forms of one network give the same name.

    Examples
    --------
    >>> canonical_name("/layer1/conv2/Conv_quant")
    'layer1.conv2'
    """
    name = re.sub(r"[/:\\]+", ".", text[: 4 * LONGEST]).removesuffix("_quant")
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    name = re.sub(r"\.{2,}", ".", name).strip("._-")
    head, _, last = name.rpartition(".")
    if head and last in _WEIGHTED:
        name = head
    return name[:LONGEST].rstrip("._-")


class Namer:
    """Gives every layer and graph input its own name."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, text: str, fallback: str) -> str:
        """Return the canonical name of ``text``, numbered if it is taken or empty.

        Parameters
        ----------
        text : the name in the file
        fallback : what to number when ``text`` leaves nothing, for example ``conv``
        """
        name = canonical_name(text)
        if name and name not in self._taken:
            self._taken.add(name)
            return name
        stem = name or fallback
        number = self._next.get(stem, 2 if name else 1)
        while f"{stem}_{number}" in self._taken:
            number += 1
        self._next[stem] = number + 1
        name = f"{stem}_{number}"
        self._taken.add(name)
        return name
