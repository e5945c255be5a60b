"""``bitbybit requantizers``: what it prints, for people and as JSON, and what it refuses."""

from __future__ import annotations

import json

import pytest

import bitbybit
from bitbybit import cli, hardware
from bitbybit.arithmetic.requantizers import REQUANTIZERS
from bitbybit.errors import BitbybitError, UnsupportedError

MODEL = str(bitbybit.example("int8"))


def test_it_shows_every_scheme_and_how_often_it_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["requantizers", MODEL, "--bits", "24", "--one-shift", "12"]) is None
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[5:]]
    names = [*REQUANTIZERS, "24-bit-multiplier", "12-bit-multiplier-one-shift"]
    assert [row[0] for row in rows] == names
    found = hardware.differences(bitbybit.load(MODEL))
    for row in rows[: len(REQUANTIZERS)]:
        wrong = sum(each.differing for each in found if each.scheme == row[0])
        assert row[1] == ("yes" if REQUANTIZERS[row[0]].integers else "no")
        assert row[2] == f"{wrong:,}"
    reached = sum(each.reachable for each in found if each.scheme == "contract")
    assert lines[0] == f"{reached:,} accumulators can be reached in 10 layers,"


def test_json_holds_formula_source_and_every_layer(capsys: pytest.CaptureFixture[str]) -> None:
    cli.call(["requantizers", MODEL, "--json"])
    record = json.loads(capsys.readouterr().out)
    model = bitbybit.load(MODEL)
    assert (record["model"], record["sha256"]) == (model.path.name, model.sha256)
    found = hardware.differences(model)
    for row in record["schemes"]:
        scheme = REQUANTIZERS[row["name"]]
        assert (row["formula"], row["source"]) == (scheme.formula, scheme.source)
        here = [each for each in found if each.scheme == scheme.name]
        assert [each["layer"] for each in row["layers"]] == [each.layer for each in here]
        assert row["differing"] == sum(each["differing"] for each in row["layers"])
        assert [each["first"] for each in row["layers"]] == [
            each.first and list(each.first) for each in here
        ]


def test_what_it_cannot_do_is_a_sentence() -> None:
    with pytest.raises(UnsupportedError, match="no layer requantizes"):
        cli.call(["requantizers", str(bitbybit.example("float"))])
    with pytest.raises(BitbybitError, match=r"bits.*1 to 31.*found 32"):
        cli.call(["requantizers", MODEL, "--bits", "32"])
