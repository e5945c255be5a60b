"""Which C compilers this machine has."""

from __future__ import annotations

import shutil

COMPILERS = [name for name in ("gcc", "clang", "cc") if shutil.which(name)]
"""The tests that need one are marked ``c``."""
