"""Formulas are MathML, made at build time; what cannot be set is refused."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.usefixtures("extension")


def test_a_formula_becomes_mathml_with_upright_names_and_tight_bars() -> None:
    from bitbybit_book.formulas import mathml  # type: ignore[import-not-found]

    found = mathml(r"|\operatorname{float32}(q)| \!\le \max_m b_m", "block")
    assert found.startswith('<math display="block">')
    assert '<mi mathvariant="normal">float32</mi>' in found
    assert re.search(r"<munder><mi>max</mi>", found)
    assert found.count('lspace="0" rspace="0"') == 2
    assert 'width="-0.167em"' in found


@pytest.mark.parametrize("latex", [r"\nosuchcommand x", r"\frac{a}", r"\beth"])
def test_a_formula_that_cannot_be_set_is_refused(latex: str) -> None:
    from bitbybit_book.formulas import mathml

    with pytest.raises(ValueError, match=r"missing|does not know|lacks|Error"):
        mathml(latex)
