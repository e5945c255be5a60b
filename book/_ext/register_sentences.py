"""Write ``book/sentences.toml``: which sentences of fact were read, and why some need no check.

Run it after a change of the text, read what it added, and give each new entry of an ``allowed``
table its reason; the tests refuse an empty one.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import bitbybit_sentences as said

BOOK = Path(__file__).resolve().parents[1]
REGISTER = BOOK / "sentences.toml"
HEAD = """\
# Sentences of fact, chapter by chapter. A test fails where a chapter has one that is not here.
# checked: carries its check, and both were read together. allowed: needs none, for the reason.
# Written by book/_ext/register_sentences.py; the reasons are written by hand.
"""


def registered(path: Path = REGISTER) -> dict[str, dict[str, object]]:
    """Return the register: page → ``checked``, a list, and ``allowed``, sentence → reason."""
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def entry(page: str, text: str, reasons: dict[str, str]) -> str:
    """Return one page's part of the register."""
    found = said.sentences(text)
    lines = ["", f"[{page}]", "checked = ["]
    lines += [f"  {json.dumps(s.text, ensure_ascii=False)}," for s in found if s.checks]
    lines += ["]", "", f"[{page}.allowed]"]
    for s in said.unsupported(text, [s.text for s in found], {}):
        reason = json.dumps(reasons.get(s.text, ""), ensure_ascii=False)
        lines.append(f"{json.dumps(s.text, ensure_ascii=False)} = {reason}")
    return "\n".join(lines) + "\n"


def main(pages: list[str]) -> None:
    """Write the register anew, with the pages that it has and those named, keeping all reasons."""
    old = registered()
    text = HEAD
    for page in sorted({*old, *pages}):
        source = (BOOK / f"{page}.md").read_text(encoding="utf-8")
        allowed = old.get(page, {}).get("allowed", {})
        text += entry(page, source, allowed)  # type: ignore[arg-type]
    REGISTER.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
