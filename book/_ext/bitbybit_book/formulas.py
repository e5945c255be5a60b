"""Formulas as MathML, made when the book is built: no script draws them.

Browsers set MathML themselves, screen readers speak it, and it prints.  What it needs is a font
that knows mathematics: ``book/_static/fonts`` holds the part of STIX Two Math that the book's
formulas use.  A character outside of it, or a command that the converter does not know, is a
warning, and so fails the build.  The font was made of STIXTwoMath-Regular.ttf by

    fonttools subset STIXTwoMath-Regular.ttf --flavor=woff2 --layout-features=ssty --no-hinting \\
        --unicodes=... --output-file=stix-two-math.woff2

with the ranges of ``CHARACTERS``, after its ``ssty`` lookups were left with the prime alone: smaller
shapes for what is raised or lowered would double the file.
"""

from __future__ import annotations

import re
from functools import cache
from xml.etree import ElementTree as ET

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

CHARACTERS = (
    "20-7E,A0,AC,B1,B7,D7,F7,302,304,391-3A9,3B1-3C9,3D5,3F5,2013,2016,2026,2032,2061,2062,210E,"
    "2113,211D,2124,2190-2192,21A6,21D2,21D4,2200,2203,2208,2211,2212,221A,221E,222B,2248,2260,"
    "2261,2264,2265,22C5,22EF,2308-230B,1D434-1D467,1D6FC-1D714"
)
OPERATOR = re.compile(r"\\(?:operatorname|mathrm)\{(\w+)\}")
NAME = "operator:"
"""Marks a function's name while the converter takes it for text."""
SPACES = {"negativethinmathspace": "-0.167em"}
"""Widths that browsers have forgotten → what they mean."""
UNDER = {"max", "min", "∑"}
"""What takes its subscript below itself in an equation of its own."""
PARTS = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3}
"""How many parts an element must have."""

log = logging.getLogger(__name__)


@cache
def covered() -> frozenset[int]:
    """Return the characters of the font."""
    ends = [part.split("-") for part in CHARACTERS.split(",")]
    return frozenset(
        code for part in ends for code in range(int(part[0], 16), int(part[-1], 16) + 1)
    )


@cache
def mathml(latex: str, display: str = "inline") -> str:
    """Return a formula as a ``<math>`` element.

    Raises
    ------
    ValueError
        An unknown command, a character that the font does not have, or bad nesting.
    """
    from latex2mathml.converter import convert

    marked = OPERATOR.sub(rf"\\text{{{NAME}\1}}", latex.strip())
    try:
        written = convert(marked, display=display)
    except Exception as error:  # the converter's own, and IndexError for what it did not foresee
        raise ValueError(f"{type(error).__name__}: {error}") from error
    root = ET.fromstring(written.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))  # noqa: S314
    for element in list(root.iter()):
        if len(element) != PARTS.get(element.tag, len(element)):
            raise ValueError(f"an argument is missing or too many ({element.tag})")
        improve(element, display)
    text = "".join(root.itertext())
    if "\\" in text:
        raise ValueError("a command that the converter does not know")
    missing = sorted({character for character in text if ord(character) not in covered()})
    if missing:
        raise ValueError(f"characters that the font of formulas lacks: {' '.join(missing)}")
    return ET.tostring(root, encoding="unicode")


def improve(element: ET.Element, display: str) -> None:
    """Set one element as TeX would: names of functions, bars, primes, limits under a name."""
    text = element.text or ""
    if element.tag == "mtext" and text.startswith(NAME):
        element.tag, element.text = "mi", text.removeprefix(NAME)
        element.set("mathvariant", "normal")
    elif element.tag == "mo" and text.isalpha() and len(text) > 1:
        element.tag = "mi"  # max, min: an upright name, without an operator's spaces
        element.attrib.clear()
    elif text in {"|", ".", "/"} and element.tag == "mo":
        element.attrib |= {"lspace": "0", "rspace": "0"}
    elif element.tag == "mi" and text == "Δ":
        element.set("mathvariant", "normal")
    elif element.tag == "mspace":
        width = element.get("width", "")
        element.set("width", SPACES.get(width, width))
    elif element.tag == "msub" and display == "block" and element[0].text in UNDER:
        element.tag = "munder"
    elif element.tag == "munder" and element[1].text == "⏟":
        # Chromium draws half of a wide brace: a line under the terms says the same.
        element.tag = "mrow"
        element.attrib |= {"class": "bb-under", "displaystyle": str(display == "block").lower()}
        element.remove(element[1])


def converted(self: HTML5Translator, node: nodes.Node, display: str) -> str:
    """Return a node's formula, or its LaTeX with a warning."""
    try:
        return mathml(node.astext(), display)
    except ValueError as error:
        log.warning("formula %r: %s", node.astext(), error, location=node)
        return f"<code>{self.encode(node.astext())}</code>"


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula of a sentence."""
    self.body.append(converted(self, node, "inline"))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation in a frame that scrolls where it must, its number beside it."""
    self.body.append(self.starttag(node, "div", CLASS="bb-equation"))
    formula = converted(self, node, "block")
    self.body.append(f'<div class="bb-formula" data-name="Equation">{formula}</div>')
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Offer the renderer; ``html_math_renderer: mathml`` chooses it."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
