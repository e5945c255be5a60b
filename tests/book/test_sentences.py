"""Sentences of the chapters are under control: found, evaluated, registered, fatal where false."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.chapters import BOOK, cells

sys.path.insert(0, str(BOOK / "_ext"))

import bitbybit_sentences as said  # type: ignore[import-not-found]
from register_sentences import checks_of, entry, registered  # type: ignore[import-not-found]

PAGES = sorted(registered())

WRITTEN = """---
kernelspec: {name: python3}
---
# Seven titles
The sum is {val}`a + 1` and
no more.
{check}`a == 2 and
 b == 3` Then `x. Y` comes {val}`b:.1f`. Never?

```{code-cell} python
a = "All of this is code."
```

```{dropdown} Solution
It doubles.
{check}`b < a`
```

- one item;
- another. All
  of it.
"""


def test_sentences_are_found_with_lines_values_and_checks() -> None:
    found = [(s.line, s.text, [c.source for c in s.checks]) for s in said.sentences(WRITTEN)]
    assert found == [
        (5, "The sum is {val}`a + 1` and no more.", ["a == 2 and b == 3"]),
        (8, "Then `x. Y` comes {val}`b:.1f`.", []),
        (8, "Never?", []),
        (15, "It doubles.", ["b < a"]),
        (19, "one item;", []),
        (20, "another.", []),
        (20, "All of it.", []),
    ]


def results(*wanted: tuple[str, str], **names: Any) -> list[dict[str, Any]]:
    """Evaluate what a chapter with these names says."""
    return list(said.evaluate(names, wanted))


def test_values_are_written_as_prose_writes_them() -> None:
    wanted = [("val", s) for s in ("a", "b:.1f", "listed(names)", "spelled(0)", "code('stem')")]
    found = results(*wanted, a=-92_000, b=1.25, names=["stem", "pool"])
    assert [r["text"] for r in found] == ["−92,000", "1.2", "`stem` and `pool`", "no", "`stem`"]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("a < b", "false: “A is below B.”: `a < b` does not hold: a is 1,234; b is 7"),
        ("b > missing", "cannot be checked: “A is below B.”: `b > missing` raises NameError"),
        ("[a] == 3 or 1 / 0", "raises ZeroDivisionError"),
        ("a <", "raises SyntaxError"),
    ],
)
def test_a_complaint_gives_sentence_expression_and_values(source: str, says: str) -> None:
    (found,) = results(("check", source), a=1234, b=7)
    assert says in said.complaint("A is below B.", found, {})


def test_an_array_is_no_answer() -> None:
    import numpy as np

    (found,) = results(("check", "a == 1"), a=np.arange(3))
    assert "must be true or false" in found["error"]


CONF = """
extensions = ["myst_nb", "bitbybit_book.checked"]
nb_execution_mode = "cache"
exclude_patterns = ["_build"]
"""
PAGE = """---
jupytext:
  text_representation: {{extension: .md, format_name: myst}}
kernelspec: {{name: python3, display_name: Python 3, language: python}}
---
# Page

```{{code-cell}} python
bits = [19, 23]
```

No layer needs more than {{val}}`max(bits)` bits.
{{check}}`max(bits) {relation} 24`

```{{checked}}
```
"""


def build(folder: Path, relation: str) -> subprocess.CompletedProcess[str]:
    """Build a one-page book with the mechanism alone, as the book is built."""
    pytest.importorskip("myst_nb")
    (folder / "conf.py").write_text(CONF)
    (folder / "index.md").write_text(PAGE.format(relation=relation))
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-b", "html", "-c", ".",
         ".", "_build/html"],
        cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": f"{BOOK / '_ext'}{os.pathsep}{BOOK.parent / 'src'}"},
    )  # fmt: skip


def test_a_true_sentence_gets_a_mark_that_shows_expression_and_values(tmp_path: Path) -> None:
    for _ in ("executed", "from the cache"):
        done = build(tmp_path, "<")
        assert done.returncode == 0, done.stderr
    html = (tmp_path / "_build" / "html" / "index.html").read_text(encoding="utf-8")
    assert "No layer needs more than" in html
    assert "1 sentence on this page was checked, and 1 value was inserted by code." in html
    assert "<code>max(bits) &lt; 24</code>" in html
    assert "<code>max(bits)</code> is <code>23</code>" in html


def test_a_false_sentence_fails_the_build_with_file_line_sentence_and_values(
    tmp_path: Path,
) -> None:
    done = build(tmp_path, ">")
    assert done.returncode != 0
    assert "index.md:13: WARNING: false: “No layer needs more than 23 bits.”" in done.stderr
    assert "`max(bits) > 24` does not hold: max(bits) is 23" in done.stderr


# --- the register ---------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_sentence_of_fact_is_checked_cited_or_allowed_with_a_reason(page: str) -> None:
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    known: dict[str, Any] = registered()[page]
    bare = said.unsupported(text, known["checked"], known["allowed"])
    assert [f"{page}.md:{s.line}: {s.text}" for s in bare] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_register_holds_nothing_that_is_gone(page: str) -> None:
    there = {s.text for s in said.sentences((BOOK / f"{page}.md").read_text(encoding="utf-8"))}
    known: dict[str, Any] = registered()[page]
    assert {*known["checked"], *known["allowed"]} - there == set()


@pytest.mark.parametrize("page", PAGES)
def test_a_sentence_and_its_check_were_read_together(page: str) -> None:
    found = said.sentences((BOOK / f"{page}.md").read_text(encoding="utf-8"))
    now = {sentence.text: checks_of(sentence) for sentence in found if sentence.checks}
    assert registered()[page]["checked"] == now


def test_a_sentence_that_changed_without_its_check_must_be_read_again() -> None:
    old, new = "It is the widest.\n", "It is the narrowest.\n"
    check = "{check}`a == max(b)`\n"
    known = {"checked": {"It is the widest.": "a == max(b)"}}
    assert '"It is the widest." = "a == max(b)"' in entry("page", old + check, known)
    assert '"It is the narrowest." = ""' in entry("page", new + check, known)
    unread = {"checked": {"It is the narrowest.": ""}}
    assert '"It is the narrowest." = ""' in entry("page", new + check, unread)
    assert '"It is the narrowest." = "a == max(b)"' in entry("page", new + check, unread, True)
    both = "{check}`a == min(b)`\n"
    assert '"It is the narrowest." = "a == min(b)"' in entry("page", new + both, known)


@pytest.mark.parametrize("page", PAGES)
def test_a_name_in_the_prose_means_one_thing(page: str) -> None:
    path = BOOK / f"{page}.md"
    sources = [cell.source for cell in cells(path)]
    assert said.ambiguous(path.read_text(encoding="utf-8"), sources) == {}


@pytest.mark.parametrize("page", PAGES)
def test_a_check_speaks_of_the_numbers_layers_and_directions_of_its_sentence(page: str) -> None:
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    unheld = [(s.line, said.unheld(s), s.text) for s in said.sentences(text) if s.checks]
    assert [each for each in unheld if each[1]] == []


@pytest.mark.parametrize(
    ("sentence", "check", "unheld"),
    [
        ("Three of forty-two layers.", "len(a) == 3 and b == 42", []),
        ("Four of thirty-one layers.", "len(a) == 3 and b == 42", ["Four", "thirty-one"]),
        ("All 16 channels, in ten thousand.", "n == 16 and m == 10_000", []),
        ("In 8 of eight-bit codes.", "True", ["8"]),
        ("The widest is `stem`.", "widest == max(w) and name == 'stem'", []),
        (
            "The narrowest is `stack1.conv1`.",
            "x == max(w) == 'stem'",
            ["stack1.conv1", "narrowest"],
        ),
        ("It is larger.", "a < b", ["larger"]),
        ("It is less, at most.", "a < b", []),
        ("Most are.", "share > 0.5", []),
    ],
)
def test_words_that_a_check_does_not_speak_of_are_found(
    sentence: str, check: str, unheld: list[str]
) -> None:
    (found,) = said.sentences(f"# Title\n\n{sentence}\n{{check}}`{check}`\n")
    assert said.unheld(found) == unheld


def test_a_name_that_two_cells_bind_is_ambiguous() -> None:
    text = "# Title\n\nThere are {val}`sum(t for t in taps)` of {val}`size`.\n"
    found = said.ambiguous(text, ["taps = [1]\nsize = 1", "for taps in []: t = 2", "t = 1"])
    assert found == {"taps": 2}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_checked_sentences_says_how_many(page: str) -> None:
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    assert "```{checked}" in text


@pytest.mark.parametrize(
    "new",
    ["Every layer needs 24 bits.", "The widest layer is `stem`.", "Nothing else is half as wide."],
)
def test_a_new_claim_without_a_check_is_caught(new: str) -> None:
    text = f"# Title\n\nWe look at one layer.\n{new}\n"
    assert [s.text for s in said.unsupported(text, [], {})] == [new]
    assert said.unsupported(text, [], {new: "a definition"}) == []
    assert said.unsupported(f"{text}{{check}}`1 == 1`\n", [new], {}) == []


def test_a_changed_sentence_must_be_read_again_with_its_check() -> None:
    text = "# Title\n\nNo layer needs more.\n{check}`most == 24`\n"
    assert said.unsupported(text, ["No layer needs more."], {}) == []
    changed = text.replace("more", "less")
    assert [s.text for s in said.unsupported(changed, ["No layer needs more."], {})]


def test_a_mark_takes_the_space_before_it_and_no_other(extension: None) -> None:
    from bitbybit_book.checked import Mark, attach  # type: ignore[import-not-found]
    from docutils import nodes  # type: ignore[import-untyped]

    text = ("One.", "\n", "Two.", "\n")
    paragraph = nodes.paragraph("", "", *map(nodes.Text, text), Mark(source="True"))
    attach(paragraph[-1], None, 1)
    assert [str(part) for part in paragraph[:-1]] == ["One.", "\n", "Two."]
    spaced = nodes.paragraph("", "", nodes.Text("Three. "), Mark(source="True"))
    attach(spaced[-1], None, 2)
    assert spaced[0] == "Three."
