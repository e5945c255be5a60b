"""The console command ``bitbybit``: one module per subcommand, imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import getdoc
from typing import Any

import bitbybit
from bitbybit.terminal import Parser, run

COMMANDS = {
    "check": "Compare a dump of your hardware with vectors, and say which mistake explains it.",
    "accumulators": "Bound the accumulators of a model; write or check the certificate.",
    "dataflow": "Show buffers, tiles, cycles and bytes of each layer on an array of multipliers.",
    "doctor": "Show versions, the CPU features that change integer results, data, optional parts.",
    "inspect": "Show the layers of a model: shapes, scales, zero points, costs, widths.",
    "requantizers": "Compare ways to requantize, over all accumulators that a model can reach.",
    "vectors": "Write every integer of every layer as test vectors for hardware.",
    "verify": "Compare the exact engine with ONNX Runtime, or with expected outputs.",
}
"""Each subcommand and its line in ``bitbybit --help``.

Its module has ``add_arguments(parser)`` and ``main(arguments)``, which returns the exit status;
the docstring of ``main`` is the subcommand's help.
"""


def main() -> None:
    """Run the console command; see :func:`bitbybit.terminal.run` for the exit status."""
    run(lambda: call(sys.argv[1:]))


def call(words: Sequence[str]) -> int | None:
    """Run the subcommand that ``words`` name and return its exit status; None is 0."""
    arguments = parser(words).parse_args(words or ["--help"])
    status: int | None = _module(arguments.command).main(arguments)
    return status


def parser(words: Sequence[str]) -> Parser:
    """Return the parser for ``words``; only the subcommand among them is imported."""
    top = Parser(str(bitbybit.__doc__).partition("\n")[0], prog="bitbybit")
    top.add_argument("--version", action="version", version=f"bitbybit {bitbybit.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        if name in words:
            module = _module(name)
            text = getdoc(module.main)
            module.add_arguments(commands.add_parser(name, help=line, description=text))
        else:
            commands.add_parser(name, help=line, add_help=False)
    return top


def _module(name: str) -> Any:
    return import_module(f"bitbybit.cli.{name}")
