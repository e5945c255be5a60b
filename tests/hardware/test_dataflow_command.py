"""``bitbybit dataflow``: what it prints, for people and as JSON."""

from __future__ import annotations

import json

import pytest

import bitbybit
from bitbybit import cli, hardware
from bitbybit.hardware import Array


def test_it_shows_every_layer_and_the_peak(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["dataflow", str(bitbybit.example("int8"))]) is None
    shown = capsys.readouterr().out
    model = bitbybit.load(bitbybit.example("int8"))
    assert [line.split()[0] for line in shown.splitlines()[2:19]] == [
        layer.name for layer in model.layers
    ]
    assert "49,152 bytes live while stack1.conv2 runs" in shown
    assert "Array of 16 x 16: 54,015 cycles" in shown


def test_json_holds_what_the_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    cli.call(["dataflow", str(bitbybit.example("int8")), "--array", "128X8", "--json"])
    record = json.loads(capsys.readouterr().out)
    model = bitbybit.load(bitbybit.example("int8"))
    assert (record["sha256"], record["array"]) == (model.sha256, [128, 8])
    assert [each["live_bytes"] for each in record["layers"]] == list(hardware.live_bytes(model))
    for layer, each in zip(model.layers, record["layers"], strict=True):
        found = hardware.mapping(model, layer, Array(128, 8))
        keys = ("cycles", "tiles", "macs", "bytes_moved")
        if found is None:
            assert each["cycles"] is None
        else:
            assert [each[key] for key in keys] == [getattr(found, key) for key in keys]


def test_a_float_file_is_counted_as_its_twin_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli.call(["dataflow", str(bitbybit.example("float"))])
    said = "The file is float: bytes are those of its 8-bit twin."
    assert capsys.readouterr().out.endswith(f"{said}\n")
    cli.call(["dataflow", str(bitbybit.example("int8"))])
    assert said not in capsys.readouterr().out
