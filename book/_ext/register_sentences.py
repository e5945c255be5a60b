"""Write ``book/sentences.toml``: which sentences of fact were read, and why some need no check.

Run it after a change of the text, read what it added, and give each new entry of an ``allowed``
table its reason; the tests refuse an empty one.  A sentence that changed while its check did not
gets an empty entry too: does the check still say what it says?  Then run it with ``--read-again``.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import bitbybit_sentences as said

BOOK = Path(__file__).resolve().parents[1]
REGISTER = BOOK / "sentences.toml"
HEAD = """\
# Sentences of fact, chapter by chapter. A test fails where a chapter has one that is not here.
# checked: carries this check, and both were read together. allowed: needs none, for the reason.
# Written by book/_ext/register_sentences.py; the reasons are written by hand.
"""


def registered(path: Path = REGISTER) -> dict[str, dict[str, dict[str, str]]]:
    """Return the register: page → ``checked``, sentence → check, and ``allowed`` → reason."""
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def checks_of(sentence: said.Sentence) -> str:
    """Return what the register says of a checked sentence: its checks."""
    return "; ".join(claim.source for claim in sentence.checks)


def read_together(
    found: Sequence[said.Sentence], old: Mapping[str, str], read_again: bool
) -> dict[str, str]:
    """Return sentence → its checks, "" where only the sentence changed and nobody read both."""
    now = {sentence.text: checks_of(sentence) for sentence in found if sentence.checks}
    gone = {checks for text, checks in old.items() if text not in now}
    return {
        text: "" if not read_again and (checks in gone or old.get(text) == "") else checks
        for text, checks in now.items()
    }


def entry(
    page: str, text: str, known: Mapping[str, Mapping[str, str]], read_again: bool = False
) -> str:
    """Return one page's part of the register."""
    found = said.sentences(text)
    reasons = known.get("allowed", {})
    checked = read_together(found, known.get("checked", {}), read_again)
    bare = said.unsupported(text, list(checked), {})
    allowed = {sentence.text: reasons.get(sentence.text, "") for sentence in bare}
    lines = []
    for name, table in (("checked", checked), ("allowed", allowed)):
        lines += ["", f"[{page}.{name}]"]
        lines += [f"{_quoted(sentence)} = {_quoted(why)}" for sentence, why in table.items()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def main(arguments: list[str]) -> None:
    """Write the register anew, with the pages that it has and those named, keeping all reasons."""
    old, read_again = registered(), "--read-again" in arguments
    pages = {*old, *arguments} - {"--read-again"}
    text = HEAD
    for page in sorted(pages):
        source = (BOOK / f"{page}.md").read_text(encoding="utf-8")
        text += entry(page, source, old.get(page, {}), read_again)
    REGISTER.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
