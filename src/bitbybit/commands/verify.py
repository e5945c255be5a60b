"""``bitbybit verify``: the engine against ONNX Runtime, integer by integer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from bitbybit.command import printable


def register(app: typer.Typer) -> None:
    """Add the command ``verify``."""

    @app.command()
    def verify(
        model: Annotated[Path, typer.Argument(help="An ONNX file with quantized layers.")],
        inputs: Annotated[
            Path | None, typer.Option(help="Graph inputs by name (.npz); default: images.")
        ] = None,
        expected: Annotated[
            Path | None, typer.Option(help="Expected graph outputs by name (.npz).")
        ] = None,
        images: Annotated[int | None, typer.Option(help="How many images.", min=1)] = None,
        exhaustive: Annotated[
            bool, typer.Option("--exhaustive", help="Every pair, code and accumulator, too.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Compare the exact engine with ONNX Runtime, layer by layer, or with expected outputs.

        Exit status: 0 all layers are integer and every element is equal; 1 a mismatch; 2 it
        cannot be run; 3 equal, but layers lie outside the contract.
        """
        # Before NumPy is loaded: its small products are slower on several threads.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from bitbybit.execution import verification
        from bitbybit.execution.exhaustive import check_exhaustively
        from bitbybit.execution.feed import read_npz
        from bitbybit.execution.report import as_dict, as_lines
        from bitbybit.model.reader import load
        from bitbybit.resnet8.inputs import default_images

        outputs = None if expected is None else read_npz(expected)
        if inputs is not None:
            report = verification.verify(model, read_npz(inputs), outputs, images)
        else:
            network = load(model)
            given, words = default_images(network, images)
            report = verification.verify(
                model if given is None else network, given, outputs, images
            )
            report.inputs = words or report.inputs
        if exhaustive:
            check_exhaustively(report)
        if as_json:
            print(json.dumps(as_dict(report), indent=1, allow_nan=False))
        else:
            print("\n".join(printable(line) for line in as_lines(report)))
        raise typer.Exit(report.exit_status)
