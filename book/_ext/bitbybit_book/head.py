"""What the head of a page tells those who list, preview or bookmark it; the root page and 404.

``html.baseurl`` in ``_config.yml`` is the address under which the book is published.  Without it
there is no canonical address, and the picture of a preview is named relative to its page.
"""

from __future__ import annotations

import re
from html import escape, unescape
from pathlib import Path
from typing import Any

from docutils import nodes
from PIL import Image, ImageDraw, ImageFont
from sphinx.application import Sphinx

from bitbybit import samples
from bitbybit.pictures.mark import NAME as LETTERS

NAME = "ResNet8, Bit by Bit"
PARAGRAPH = re.compile(r"</h1>.*?<p>(.*?)</p>", re.DOTALL)
MARK = re.compile(r'<span class="bb-check".*?</span></span></span>', re.DOTALL)
TAG = re.compile(r"<[^>]*>")
LONGEST = 200
DEFAULT = (
    "Every integer of an INT8-quantized ResNet8: by hand for one pixel, by formula for the rest, "
    "and against ONNX Runtime."
)
GROUNDS = {"light": "#ffffff", "dark": "#14181e"}
CARD, ICON = "_static/card.png", "_static/icon.png"
CARD_ALT = "A ship of 32 by 32 pixels, and one window of 3 by 3 marked in it"
OTHER_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{head}
<style>body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto;
padding: 0 1rem; color-scheme: light dark; background: #fff; color: #1b1f24 }}
a {{ color: #0b5f92 }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #14181e; color: #e6e9ed }} a {{ color: #8ec7f2 }} }}</style>
</head>
<body><main><h1>{title}</h1><p>{text}</p><p><a href="{link}">{name}</a></p></main></body>
</html>
"""


def summary(body: str) -> str:
    """Return the first sentences of a page, or the book's own description."""
    found = PARAGRAPH.search(MARK.sub("", body))
    text = " ".join(unescape(TAG.sub("", found[1])).split()) if found else ""
    if len(text) < 40:
        return DEFAULT
    return text if len(text) <= LONGEST else text[:LONGEST].rpartition(" ")[0] + " …"


def root_of(base: str, page: str = "") -> str:
    """Return the address of the root with a slash at its end, seen from a page."""
    return f"{base.rstrip('/')}/" if base else "../" * page.count("/")


def tags(title: str, description: str, base: str, page: str) -> str:
    """Return the elements that describe a page, its address below the root being ``page``."""
    root = root_of(base, page)
    properties = {
        "og:type": "website", "og:site_name": NAME, "og:title": title,
        "og:description": description, "og:image": root + CARD, "og:image:alt": CARD_ALT,
        "og:image:width": "1200", "og:image:height": "630",
    }  # fmt: skip
    if base:
        properties["og:url"] = root + page
    names = {"description": description, "twitter:card": "summary_large_image"}
    lines = [f'<meta name="{key}" content="{escape(text)}">' for key, text in names.items()]
    lines += [f'<meta property="{key}" content="{escape(v)}">' for key, v in properties.items()]
    lines += [
        f'<meta name="theme-color" media="(prefers-color-scheme: {theme})" content="{colour}">'
        for theme, colour in GROUNDS.items()
    ]
    lines.append(f'<link rel="apple-touch-icon" href="{root + ICON}">')
    return "\n".join(lines)


def describe(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Add the description of a page to its head."""
    title = unescape(TAG.sub("", str(context.get("title") or NAME)))
    if pagename == app.config.root_doc:
        context["docstitle"] = ""  # the page and the book have one name
    description = summary(str(context.get("body", ""))) if doctree is not None else DEFAULT
    described = tags(title, description, app.config.html_baseurl, f"{pagename}.html")
    context["metatags"] = f"{context.get('metatags', '')}\n{described}\n"


def draw(folder: Path) -> None:
    """Draw the picture of a preview, the ship with its window and the name, and the icon."""
    ink, accent = "#14181e", "#0b5f92"
    card = Image.new("RGB", (1200, 630), GROUNDS["light"])
    chosen = samples()
    pixels = chosen.images[chosen.names.index("ship.png")].transpose(1, 2, 0)
    card.paste(Image.fromarray(pixels).resize((512, 512), Image.Resampling.NEAREST), (59, 59))
    pen = ImageDraw.Draw(card)
    left, top = 59 + 19 * 16, 59 + 11 * 16  # the window around row 12, column 20
    pen.rectangle((left, top, left + 48, top + 48), outline="#ffb000", width=5)
    pen.multiline_text((630, 150), NAME.replace(", ", ",\n"), ink, ImageFont.load_default(74))
    text = "Every integer of a quantized\nnetwork, compared with\nONNX Runtime."
    pen.multiline_text((630, 350), text, accent, ImageFont.load_default(38), spacing=10)
    card.quantize(64).save(folder / Path(CARD).name, optimize=True)
    icon = Image.new("RGB", (180, 180), GROUNDS["light"])
    pen = ImageDraw.Draw(icon)
    for row, letter in enumerate(LETTERS.encode("ascii")):
        for column in range(8):
            x, y = 12 + column * 20, 12 + row * 20
            space = 1 if letter >> (7 - column) & 1 else 7
            pen.rectangle((x + space, y + space, x + 18 - space, y + 18 - space), fill="#1f7fb8")
    icon.save(folder / Path(ICON).name, optimize=True)


def write_others(app: Sphinx, exception: Exception | None) -> None:
    """Write the pictures, the root page and the page for what is not there."""
    if exception is not None or app.builder.format != "html":
        return
    folder, base = Path(app.outdir), app.config.html_baseurl
    draw(folder / "_static")
    start = f"{app.config.root_doc}.html"
    head = tags(NAME, DEFAULT, base, "index.html")
    head += f'\n<meta http-equiv="refresh" content="0; url={start}">'
    head += f'\n<link rel="canonical" href="{root_of(base)}{start}">'
    text = OTHER_PAGE.format(title=NAME, head=head, text=DEFAULT, link=start, name="Read the book")
    (folder / "index.html").write_text(text, encoding="utf-8")
    text = OTHER_PAGE.format(
        title="There is no such page", head=tags("There is no such page", DEFAULT, base, "404.html"),
        text="The address may be mistyped, or the page was given another name.",
        link=root_of(base) + start, name=NAME,
    )  # fmt: skip
    (folder / "404.html").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Describe each page; write the others when all are there."""
    app.connect("html-page-context", describe, priority=950)
    app.connect("build-finished", write_others, priority=900)
