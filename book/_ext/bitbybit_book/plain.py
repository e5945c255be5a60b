"""A chapter's MyST text as the plain Markdown that every notebook program shows.

What Sphinx would look up, numbers of figures and equations and values glued from cells, is
written out; directives become what Markdown has for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CHAPTERS = Path(__file__).resolve().parents[2]
MARK = re.compile(r"\s*\{check\}`[^`]*`")
ROLE = re.compile(r"\{([\w:]+)\}`([^`]*)`")
LABEL = re.compile(r"^\([\w-]+\)=\n", re.MULTILINE)
LINK = re.compile(r"\[([^\]\[]*)\]\((?:([\w-]+)\.md)?(?:#[\w-]+)?\)")
DIRECTIVE = re.compile(
    r"^(?P<fence>`{3,})\{(?P<name>[\w-]+)\} *(?P<title>[^\n]*)\n"
    r"(?P<options>(?::[\w-]+:[^\n]*\n)*)(?P<body>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
EQUATION_LABEL = re.compile(r":label: *([\w-]+)")


@dataclass(frozen=True)
class Names:
    """What the references of one page mean.

    Attributes
    ----------
    values : expression of a value in the text → its text
    numbers : label of a figure, table or equation → "Figure 2.1", "Table 2.1" or "2.1"
    titles : page of the same folder → its title
    checked : the last words of the page, about its sentences
    """

    values: Mapping[str, str]
    numbers: Mapping[str, str]
    titles: Mapping[str, str]
    checked: str = ""


def plain(text: str, names: Names) -> str:
    """Return a Markdown cell's text without roles, labels and directives."""
    text = MARK.sub(" ✓", text)
    text = DIRECTIVE.sub(lambda match: _directive(match, names), text)
    text = LABEL.sub("", text)
    text = ROLE.sub(lambda match: _role(match[1], match[2], names), text)
    return LINK.sub(lambda match: match[1] or f"“{names.titles.get(match[2], match[2])}”", text)


def _role(role: str, target: str, names: Names) -> str:
    """Return what a role would show."""
    short = target.rpartition(".")[2] if target.startswith("~") else target
    shown: dict[str, Callable[[], str]] = {
        "val": lambda: names.values.get(" ".join(target.split()), target),
        "numref": lambda: names.numbers.get(target, target),
        "eq": lambda: f"({names.numbers.get(target, target)})",
        "func": lambda: f"`{short}()`",
        "cite": lambda: f"[{target}]",
        "term": lambda: target.partition(" <")[0],
        "download": lambda: target.partition(" <")[0],
    }
    return shown.get(role, lambda: f"`{short}`")()


def _directive(match: re.Match[str], names: Names) -> str:
    """Return an equation in dollars, a dropdown as <details>, an admonition as a quotation."""
    body, title = match["body"].strip(), match["title"]
    if match["name"] == "math":
        label = EQUATION_LABEL.search(match["options"])
        tag = f"\n\\tag{{{names.numbers.get(label[1], label[1])}}}" if label else ""
        return f"$$\n{body}{tag}\n$$"
    if match["name"] == "checked":
        return names.checked
    if match["name"] == "live":  # the page's script does not run here; the body says so
        return body
    if match["name"] == "literalinclude":
        return f"```python\n{(CHAPTERS / title).read_text(encoding='utf-8').strip()}\n```"
    if match["name"] == "dropdown":
        return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"
    if match["name"] == "admonition":
        return "\n".join(f"> {line}" for line in (f"**{title}**", "", *body.split("\n")))
    return match[0]
