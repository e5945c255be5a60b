"""Graphviz diagrams, drawn with the layout programs that the pygraphviz wheel brings along."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from bitbybit.errors import EnvironmentProblem

from .colours import INK, ROLES, SOFT, css
from .svg import element


def render(source: str, form: str = "svg") -> bytes:
    """Lay out DOT ``source`` with ``dot`` and return the file, ``"svg"`` or ``"png"``.

    Raises
    ------
    EnvironmentProblem
        If neither pygraphviz nor a ``dot`` program is there.
    """
    with _without_warnings():
        try:
            import pygraphviz

            drawn: bytes = pygraphviz.AGraph(string=source).draw(format=form, prog="dot")
        except ModuleNotFoundError:
            import graphviz

            try:
                drawn = graphviz.Source(source).pipe(format=form)
            except graphviz.ExecutableNotFound:
                raise EnvironmentProblem(
                    "no Graphviz was found to draw a diagram",
                    expected="pygraphviz or a dot program",
                    next_step="Install the package's extra `book`.",
                    where="PATH",
                ) from None
    return drawn


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Drop what the libraries below Graphviz write to stderr, of which Python knows nothing.

    The fontconfig in the pygraphviz wheel complains about the settings of newer systems.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def of_page(document: str, label: str) -> str:
    """Turn Graphviz' SVG document into an element that takes the colours of the page."""
    return re.sub(r"<(\w+)([^<>]*)>", _coloured, element(document, label))


def _coloured(match: re.Match[str]) -> str:
    """Write the colours of one element as CSS; text without a colour takes the page's ink."""
    tag, attributes = match.groups()
    found = dict(re.findall(r' (fill|stroke)="([^"]+)"', attributes))
    if tag == "text":
        found.setdefault("fill", "black")
    if not found:
        return match[0]
    rest = re.sub(r' (fill|stroke)="[^"]+"', "", attributes)
    style = ";".join(f"{name}:{css(_role(colour))}" for name, colour in found.items())
    return f'<{tag} style="{style}"{rest}>'


def _role(colour: str) -> str:
    """Return the role that a Graphviz colour stands for, or the colour itself."""
    names = {INK: "ink", "black": "ink", SOFT: "soft", "transparent": "none", "white": "none"}
    names |= {value: role for role, value in ROLES.items()}
    return names.get(colour.lower(), colour)
