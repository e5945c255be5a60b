"""The one version of PyTorch whose quantizer is used: another observes and rounds differently."""

from __future__ import annotations

import tomllib
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def pinned_torch() -> str:
    """Return the version that the ``train`` extra names.

    Examples
    --------
    >>> pinned_torch().split(".")[0]
    '2'
    """
    extras = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (version,) = (
        version
        for package, _, version in (entry.partition("==") for entry in extras["train"])
        if package == "torch"
    )
    return str(version)
