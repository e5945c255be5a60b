"""Text of strangers made safe to show: names in a model file are chosen by whoever made it."""

from __future__ import annotations

import unicodedata

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
