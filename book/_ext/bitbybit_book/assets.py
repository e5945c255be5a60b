"""What a page loads: nothing that it does not need, and the mark that our own code draws."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

from bitbybit.pictures import mark

UNUSED = ("thebe", "THEBE_JS_URL", "togglebutton", "toggleHint", "toggleOpenOnPrint")
NEEDED_BY = {
    "sphinx-design": 'class="sd-',
    "design-tabs": "sd-tab-set",
    "mystnb": 'class="cell',
    "clipboard": 'class="highlight',
    "copybutton": 'class="highlight',
}
"""Part of a file's name → what a page holds that needs the file."""
HARD_CODED = re.compile(
    r"\s*<script[^>]*fontawesome\.js[^>]*></script>"
    r"|\s*<script type=\"text/x-thebe-config\">.*?</script>|\s*<script>kernelName = .*?</script>",
    re.DOTALL,
)
ROLES = re.compile(
    r'(?<=<summary) aria-label="Toggle hidden content"'
    r'|(?<=<div) role="list"(?= class="citation-list")|(?<=") role="doc-biblioentry"'
)
"""What themes and docutils say to a screen reader, and is not so: the text is the name."""
SIDEBAR = re.compile(r'(<div id="pst-primary-sidebar")(?! role)')
LANDMARK = r'\1 role="complementary" aria-label="Book"'
"""The logo and the field of the search are parts of a landmark, as all on a page is."""
VIEWPORT = re.compile(r'(<meta name="viewport"[^>]*>)')
SEARCH = re.compile(
    r"\s*<script[^>]*[/\"](?:searchtools|language_data|searchindex)\.js[^>]*></script>"
)
DRAWN = "_build/drawn"


def drop_unused(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Leave out the scripts and style sheets of extensions that draw nothing on this page."""
    body = str(context.get("body", ""))
    for kind in ("script_files", "css_files"):
        context[kind] = [item for item in context.get(kind, []) if not unused(item, body)]


def unused(item: Any, body: str) -> bool:
    """Whether a script or style sheet does nothing on a page with this body."""
    text = f"{getattr(item, 'filename', item)} {getattr(item, 'attributes', '')}"
    return any(word in text for word in UNUSED) or any(
        name in text and sign not in body for name, sign in NEEDED_BY.items()
    )


def draw_mark(app: Sphinx, config: Config) -> None:
    """Put what the library makes into a generated static folder: the mark, a script."""
    folder = Path(app.srcdir) / DRAWN
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mark.svg").write_text(mark(), encoding="utf-8")
    frames = resources.files("bitbybit.pictures").joinpath("frames.js")
    (folder / "frames.js").write_text(frames.read_text(encoding="utf-8"), encoding="utf-8")
    config.html_static_path = [*config.html_static_path, DRAWN]
    config.html_favicon = f"{DRAWN}/mark.svg"


def drop_hard_coded(app: Sphinx, exception: Exception | None) -> None:
    """Remove what the theme's templates load on every page, and no page of this book needs.

    The script with all icons (1.5 MB): the style sheet draws every icon that is shown.  Settings
    of kernels that the book does not offer.  The index of the search: the field opens the search
    page, which loads it.
    """
    if exception is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = ROLES.sub("", HARD_CODED.sub("", page.read_text(encoding="utf-8")))
        text = SIDEBAR.sub(LANDMARK, text)
        before, *viewports = VIEWPORT.split(text, maxsplit=1)
        text = before + "".join(viewports[:1]) + VIEWPORT.sub("", "".join(viewports[1:]))
        if page.name != "search.html":
            text = SEARCH.sub("", text)
        page.write_text(text, encoding="utf-8")
    for script in Path(app.outdir, "_static", "scripts").glob("fontawesome.js*"):
        script.unlink()


def setup(app: Sphinx) -> None:
    """Connect all three."""
    app.connect("config-inited", draw_mark)
    app.connect("html-page-context", drop_unused, priority=900)
    app.connect("build-finished", drop_hard_coded)
