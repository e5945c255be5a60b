"""Text of strangers made safe to show: names in a model file are chosen by whoever made it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: object) -> str:
    r"""Return ``text`` with every character escaped that could steer a terminal.

    Control characters, line breaks, invisible format characters (bidirectional overrides among
    them) and lone surrogates become ``\x1b``, ``\n``, ``\u202e`` and so on.

    Examples
    --------
    >>> print(printable("conv\x1b[31m1"))
    conv\x1b[31m1
    """
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _UNSAFE
        else character
        for character in shown
    )


def shortened(text: object, limit: int = 120) -> str:
    """Return the first ``limit`` characters of ``text``, an ellipsis among them, escaped.

    Examples
    --------
    >>> shortened("a" * 200, 5)
    'aaaa…'
    """
    shown = str(text)
    return printable(shown if len(shown) <= limit else shown[: limit - 1] + "…")


def file_names(names: Iterable[str], beside: str = "._-") -> dict[str, str]:
    """Return for each name one that is safe for a file, and unique whatever the case.

    Parameters
    ----------
    names
        Names of edges; the same names in the same order give the same files.
    beside
        The characters that are kept beside letters and digits of ASCII.

    Examples
    --------
    >>> file_names(["stem", "a/b", "a_b"])
    {'stem': 'stem', 'a/b': 'a_b', 'a_b': 'a_b_2'}
    """
    found, taken = dict[str, str](), set[str]()
    for place, name in enumerate(names):
        safe = "".join(c if c.isascii() and (c.isalnum() or c in beside) else "_" for c in name)
        safe = safe[:60].lstrip(".-") or "_"
        while safe.lower() in taken:
            safe += f"_{place}"
        taken.add(safe.lower())
        found[name] = safe
    return found
