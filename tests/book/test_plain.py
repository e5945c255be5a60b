"""The text of a downloaded notebook is plain Markdown with every number written out."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.pages import HTML, ROOT

WRITTEN = """(a-label)=
{numref}`fig-a` has {val}`count` steps by {eq}`eq-a`; {func}`~bitbybit.arithmetic.fma32`,
see [](other.md) and [the page](other.md#part) and [ONNX](https://onnx.ai).

```{math}
:label: eq-a
a = b
```

```{admonition} After this
:class: tip
- one;
```

```{dropdown} Solution
Two {cite}`jacob2018`.
```

```{live}
:models: int8
A script computes here.
```

```{literalinclude} _static/check_accumulators.py
:language: python
```

```{code} python
kept
```
"""
SHOWN = """Figure 1.2 has 27 steps by (1.3); `fma32()`,
see “Other” and the page and [ONNX](https://onnx.ai).

$$
a = b
\\tag{1.3}
$$

> **After this**
> 
> - one;

<details><summary>Solution</summary>

Two [jacob2018].

</details>

A script computes here.

```python
{included}
```

```{code} python
kept
```
"""  # noqa: W291 - an empty line of a quotation


@pytest.mark.usefixtures("extension")
def test_roles_and_directives_become_markdown() -> None:
    from bitbybit_book.plain import Names, plain  # type: ignore[import-not-found]

    names = Names({"count": "27"}, {"fig-a": "Figure 1.2", "eq-a": "1.3"}, {"other": "Other"})
    included = (ROOT / "book/_static/check_accumulators.py").read_text(encoding="utf-8").strip()
    assert plain(WRITTEN, names) == SHOWN.replace("{included}", included)


@pytest.mark.pages
def test_no_downloaded_notebook_shows_a_role() -> None:
    notebooks = sorted((HTML / "_sources" / "book").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
        assert re.findall(r"\{[\w:-]+\}`|^`{3,}\{", text, re.MULTILINE) == [], path.name
