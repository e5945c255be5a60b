"""What every command line shares: one sentence for an error, safe text, quiet progress."""

from __future__ import annotations

import logging
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, TypeVar

from bitbybit.errors import BitbybitError

T = TypeVar("T")

BAD_INPUT = 2
"""Exit status for bad input or a missing part; 1 says that a check ran and failed."""

_EXTRA_OF_PACKAGE = {
    "onnx": "run",
    "onnxruntime": "run",
    "graphviz": "book",
    "matplotlib": "book",
    "pygraphviz": "book",
    "torch": "train",
    "h5py": "test",
}


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command and leave the process with its exit status.

    ``main`` returns its exit status (None is 0). :class:`BitbybitError`, a missing optional
    package and an :class:`OSError` become one sentence on stderr and exit status 2; Ctrl-C gives
    130; a reader that closes the pipe early ends the command quietly. Other exceptions are
    defects and keep their traceback.
    """
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except (BitbybitError, ModuleNotFoundError, OSError) as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        fail(sentence)
    sys.exit(status)


def fail(sentence: str) -> NoReturn:
    """Print one sentence on stderr, free of control characters, and exit with status 2."""
    sys.stderr.write(printable(sentence) + "\n")
    sys.exit(BAD_INPUT)


def printable(text: object) -> str:
    r"""Return ``text`` with every character escaped that could steer a terminal.

    Names in a model file are chosen by whoever made the file. Control characters, line breaks,
    invisible format characters (bidirectional overrides among them) and lone surrogates become
    ``\x1b``, ``\n``, ``\u202e`` and so on.

    Examples
    --------
    >>> print(printable("conv\x1b[31m1"))
    conv\x1b[31m1
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else character
        for character in str(text)
    )


def progress(items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and show a bar on stderr; show nothing where stderr is not a terminal.

    Parameters
    ----------
    items
        What to go through.
    description
        A few words before the bar, shown as they are (no markup).
    total
        How many items there are; by default ``len(items)`` where it has one.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track

    yield from track(
        items,
        description=escape(printable(description)),
        total=total,
        console=Console(stderr=True),
        transient=True,
    )


def configure_logging(*, verbose: bool) -> None:
    """Send the log of ``bitbybit`` to stderr: warnings, or with ``verbose`` information too.

    Modules log to ``logging.getLogger(__name__)`` and never configure logging themselves.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrintableFormatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("bitbybit")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


class _PrintableFormatter(logging.Formatter):
    """A formatter whose messages cannot steer the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the base's name)
        record.message = printable(record.message)
        return super().formatMessage(record)


def _sentence(error: BitbybitError | ModuleNotFoundError | OSError) -> str | None:
    """Say what is wrong, or return None if the error is a defect of the program."""
    if isinstance(error, BitbybitError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        extra = _EXTRA_OF_PACKAGE.get(package)
        if extra is None:
            return None
        return (
            f"The package '{package}' is not installed. "
            f"Install it with: python -m pip install 'bitbybit[{extra}]'"
        )
    reason = error.strerror or type(error).__name__
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{reason}."
