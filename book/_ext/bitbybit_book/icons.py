"""The icons that the pages show, out of the theme's 1,400.

``book/_static/fonts/icons.woff2`` holds them: Font Awesome Free 6 (SIL OFL 1.1, ``icons-OFL.txt``
beside it), of which a part may not bear the name.  An icon outside of it fails the build.
It was made of the theme's ``fa-solid-900.ttf`` by

    fonttools subset fa-solid-900.ttf --flavor=woff2 --layout-features= --no-hinting \\
        --name-IDs=0 --unicodes=... --output-file=icons.woff2

with ``CHARACTERS``.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

RULE = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}')
ESCAPED = re.compile(r'content:"\\(f[0-9a-f]{3})"')
PRIVATE = re.compile("[\ue000-\uf8ff]")
SOURCE = re.compile(
    r"url\(\.\./vendor/fontawesome/webfonts/fa-solid-900\.woff2\)[^}]*?format\(\"truetype\"\)"
)
CUT = 'url(../fonts/icons.woff2) format("woff2")'
CHARACTERS = frozenset(
    int(code, 16)
    for code in (
        "F002 F00D F010 F019 F03A F042 F057 F058 F05A F062 F064 F06A F071 F078 F09B F0C9 F0EB F0F3 "
        "F104 F105 F107 F121 F15B F185 F186 F1C1 F296 F303 F35D"
    ).split()
)
"""What the font has; two are of brands, and in no page of this book."""


def characters(sheet: str) -> set[int]:
    """Return the icons' characters that a style sheet draws."""
    codes = {int(code, 16) for _, code in RULE.findall(sheet)}
    codes |= {int(code, 16) for code in ESCAPED.findall(sheet)}
    return codes | {ord(character) for character in PRIVATE.findall(sheet)}


def cut_icons(app: Sphinx, exception: Exception | None) -> None:
    """Let the style sheets draw the icons in use from the small font; remove the theme's fonts."""
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    for path in sorted(folder.glob("_static/styles/*.css")):
        sheet = path.read_text(encoding="utf-8")
        lacking = sorted(characters(sheet) - CHARACTERS)
        if lacking:
            missing = ", ".join(f"{code:X}" for code in lacking)
            raise ExtensionError(
                f"the font of icons, book/_static/fonts/icons.woff2, lacks {missing}"
            )
        path.write_text(SOURCE.sub(CUT, sheet), encoding="utf-8")
    shutil.rmtree(folder / "_static" / "vendor" / "fontawesome" / "webfonts", ignore_errors=True)


def setup(app: Sphinx) -> None:
    """Come when the style sheets hold only what the pages show."""
    app.connect("build-finished", cut_icons, priority=800)
