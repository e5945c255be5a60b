"""What a page loads: nothing that it does not need, and the mark that our own code draws."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

from bitbybit.pictures import mark

UNUSED = ("thebe", "THEBE_JS_URL", "togglebutton", "toggleHint", "toggleOpenOnPrint")
ICON_SCRIPT = re.compile(r"\s*<script[^>]*fontawesome\.js[^>]*></script>")
DRAWN = "_build/drawn"


def drop_unused(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Leave out the scripts and style sheets of extensions that draw nothing in this book."""
    for kind in ("script_files", "css_files"):
        context[kind] = [item for item in context.get(kind, []) if not unused(item)]


def unused(item: Any) -> bool:
    """Whether a script or style sheet belongs to one of those."""
    text = f"{getattr(item, 'filename', item)} {getattr(item, 'attributes', '')}"
    return any(word in text for word in UNUSED)


def draw_mark(app: Sphinx, config: Config) -> None:
    """Draw the mark, which is also the favicon, into a generated static folder."""
    folder = Path(app.srcdir) / DRAWN
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mark.svg").write_text(mark(), encoding="utf-8")
    config.html_static_path = [*config.html_static_path, DRAWN]
    config.html_favicon = f"{DRAWN}/mark.svg"


def drop_icon_script(app: Sphinx, exception: Exception | None) -> None:
    """Remove the script with all icons (1.5 MB): the style sheet draws every icon that is shown."""
    if exception is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(ICON_SCRIPT.sub("", text), encoding="utf-8")
    for script in Path(app.outdir, "_static", "scripts").glob("fontawesome.js*"):
        script.unlink()


def setup(app: Sphinx) -> None:
    """Connect all three."""
    app.connect("config-inited", draw_mark)
    app.connect("html-page-context", drop_unused, priority=900)
    app.connect("build-finished", drop_icon_script)
