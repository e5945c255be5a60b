"""A count on stderr of what a long step has done."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from bitbybit.text import printable

T = TypeVar("T")


def progress(items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and count them on stderr; show nothing where stderr is not a terminal.

    Parameters
    ----------
    items
        What to go through.
    description
        A few words before the count.
    total
        How many items there are; by default ``len(items)`` where it has one.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    of, shown, next_time = "" if total is None else f" of {total:,}", "", 0.0
    try:
        for done, item in enumerate(items, 1):
            if time.monotonic() >= next_time:
                shown = f"{printable(description)}: {done:,}{of}"
                print(f"\r{shown}", end="", file=sys.stderr, flush=True)
                next_time = time.monotonic() + 0.1
            yield item
    finally:
        print(f"\r{' ' * len(shown)}\r", end="", file=sys.stderr, flush=True)
