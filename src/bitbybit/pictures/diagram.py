"""Graphviz diagrams, drawn with the layout programs that the pygraphviz wheel brings along."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bitbybit.errors import EnvironmentProblem

from .colours import INK, ROLES, SOFT, css
from .picture import Picture


def render(source: str, form: str = "svg") -> bytes:
    """Lay out DOT ``source`` with ``dot`` and return the file, ``"svg"`` or ``"png"``.

    Raises
    ------
    EnvironmentProblem
        If neither pygraphviz nor a ``dot`` program is there.
    """
    try:
        import pygraphviz
    except ModuleNotFoundError:
        return _program(source, form)
    with _without_warnings():
        drawn: bytes = pygraphviz.AGraph(string=source).draw(format=form, prog="dot")
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


def _program(source: str, form: str) -> bytes:
    """Run the ``dot`` program of the system."""
    dot = shutil.which("dot")
    if dot is None:
        raise EnvironmentProblem(
            "no Graphviz was found to draw a diagram",
            expected="pygraphviz or a dot program",
            next_step="Install the package's extra `book`.",
        )
    command = [dot, f"-T{form}"]
    done = subprocess.run(command, input=source.encode(), capture_output=True, check=True)  # noqa: S603
    return done.stdout


@dataclass(frozen=True)
class Diagram:
    """A diagram in DOT, with the label, caption and alternative text of its figure."""

    source: str
    label: str
    caption: str
    alt: str

    def picture(self) -> Picture:
        """Draw it as a figure."""
        svg = adapt(render(self.source).decode(), self.label)
        box = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+)', svg)
        width = round(float(box[1])) if box else 720
        return Picture(svg, self.label, self.caption, self.alt, width)

    def _repr_html_(self) -> str:
        """Show the figure in a notebook."""
        return self.picture()._repr_html_()


def adapt(svg: str, label: str) -> str:
    """Turn Graphviz' SVG document into an element that takes the colours of the page."""
    svg = re.sub(r"<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    viewbox = re.search(r'viewBox="[^"]+"', svg)
    namespace = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = re.sub(r"<svg[^>]*>", f"<svg {viewbox[0] if viewbox else ''} {namespace}>", svg, count=1)
    svg = re.sub(r' font-family="[^"]*"', "", svg)
    svg = re.sub(r'\bid="', f'id="{label}-', svg)
    svg = re.sub(r"<title>.*?</title>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<(\w+)([^<>]*)>", _coloured, svg)
    return re.sub(r"\n+", "\n", svg).strip()


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
