"""The console command ``bitbybit``."""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

import bitbybit
from bitbybit import command, commands


class _LazyGroup(TyperGroup):
    """A group whose subcommands are the modules of :mod:`bitbybit.commands`."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (the base's signature)
        """Name the modules, without importing them."""
        names = (module.name for module in pkgutil.iter_modules(commands.__path__))
        return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the module of one subcommand and let it register."""
        if cmd_name not in self.list_commands(ctx):
            return None
        app = typer.Typer(rich_markup_mode=None)
        import_module(f"bitbybit.commands.{cmd_name.replace('-', '_')}").register(app)
        return get_group(app).commands[cmd_name]


app = typer.Typer(
    cls=_LazyGroup,
    add_completion=False,
    # Plain help and errors: no text from a model or a path is ever read as markup.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        print(f"bitbybit {bitbybit.__version__}")  # noqa: T201 (the result of --version)
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr what is being done.")
    ] = False,
) -> None:
    """See, check and export every integer of an INT8-quantized network."""
    command.configure_logging(verbose=verbose)


def main() -> None:
    """Run the console command; see :func:`bitbybit.command.run` for the exit status."""
    command.run(_run)


def _run() -> int | None:
    try:
        arguments = sys.argv[1:] or ["--help"]
        status = app(arguments, prog_name="bitbybit", standalone_mode=False)
    except typer.TyperException as error:  # a wrong option, argument or subcommand
        message = error.format_message().rstrip(".")
        command.fail(f"{message}. See: bitbybit --help")
    except typer.Abort:
        return 130
    return status if isinstance(status, int) else None
