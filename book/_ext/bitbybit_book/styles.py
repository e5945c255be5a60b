"""Style sheets without the rules for what no page shows: most of the theme's are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from sphinx.application import Sphinx

RULE = re.compile(r"([^{}]+)(\{[^{}]*\})")
EMPTY = re.compile(r"@(?:media|supports)[^{};]*\{\s*\}")
COMMENT = re.compile(r"/\*(?!!).*?\*/", re.DOTALL)
LICENCE = re.compile(r"/\*!.*?\*/", re.DOTALL)
COMMA = re.compile(r",(?![^(\[]*[)\]])")
INNER = re.compile(r"\([^()]*\)|\[[^\]]*\]")
CLASS = re.compile(r"\.([\w-]+)")
ATTRIBUTE = re.compile(r'class="([^"]*)"')
SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
WORD = re.compile(r"[A-Za-z_][\w-]*")


def words(pages: Iterable[str], scripts: Iterable[str]) -> set[str]:
    """Return the classes that pages have, and every word of a script: it may be one."""
    found: set[str] = set()
    for page in pages:
        for names in set(ATTRIBUTE.findall(page)):
            found.update(names.split())
        for script in SCRIPT.findall(page):
            found.update(WORD.findall(script))
    for script in scripts:
        found.update(WORD.findall(script))
    return found


def without_unused(sheet: str, names: set[str]) -> str:
    """Return a style sheet without the selectors of classes that nothing has.

    A class that begins like a word that ends with a hyphen is kept: a script may complete it.
    """
    begun = tuple(name for name in names if name.endswith("-") and len(name) > 2)

    def used(selector: str) -> bool:
        bare = selector
        while bare != (bare := INNER.sub("", bare)):
            pass
        classes = CLASS.findall(bare)
        return "\\" in selector or all(c in names or c.startswith(begun) for c in classes)

    def kept(rule: re.Match[str]) -> str:
        before, semicolon, selectors = rule[1].rpartition(";")
        before += semicolon + "".join(LICENCE.findall(selectors))
        selectors = LICENCE.sub("", selectors)
        if selectors.lstrip().startswith("@"):
            return f"{before}{selectors}{rule[2]}"
        some = ",".join(filter(used, COMMA.split(selectors)))
        return f"{before}{some}{rule[2]}" if some else before

    return EMPTY.sub("", RULE.sub(kept, COMMENT.sub("", sheet)))


def prune(app: Sphinx, exception: Exception | None) -> None:
    """Rewrite the style sheets of the built book."""
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    pages = [*folder.glob("*.html"), *folder.glob("book/*.html")]
    scripts = [*folder.glob("_static/*.js"), *folder.glob("_static/scripts/*.js")]
    names = words(
        (path.read_text(encoding="utf-8") for path in pages),
        (path.read_text(encoding="utf-8") for path in scripts),
    )
    for path in folder.glob("_static/**/*.css"):
        text = path.read_text(encoding="utf-8")
        path.write_text(without_unused(text, names), encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Come when the pages are written and cleared of what they do not need."""
    app.connect("build-finished", prune, priority=700)
