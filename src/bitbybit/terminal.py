"""What every command line shares: options, one sentence for an error, exit statuses."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from bitbybit.errors import BitbybitError
from bitbybit.text import printable

BAD_INPUT = 2
"""Exit status for bad input or a missing part; 1 says that a check ran and failed."""
DEFECT = 70
"""Exit status for what nobody foresaw (EX_SOFTWARE of sysexits): a defect of this program."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, 128 + SIGINT, as a shell reports it."""
READER_LEFT = 141
"""Exit status when nobody reads the output to its end, 128 + SIGPIPE."""

_EXTRA_OF_PACKAGE = {
    **dict.fromkeys(("numpy", "onnx", "onnxruntime", "PIL", "google"), ""),
    **dict.fromkeys(("graphviz", "pygraphviz", "IPython"), "[book]"),
    **dict.fromkeys(("torch", "h5py"), "[train]"),
}
"""Imported package, and what is added to ``pip install bitbybit`` to have it."""

_DEFECT = (
    "This is a defect of bitbybit, not of your input: {}. Please report it through the "
    "repository's issue form, with the command and its file if you may share it (a weakness: as "
    "SECURITY.md says); with -v the command shows the traceback."
)


class Parser(argparse.ArgumentParser):
    """Options of a command: plain help, no abbreviations, one sentence for a wrong call.

    Parameters
    ----------
    description
        Shown by ``--help`` as it is; a script gives its docstring.
    options
        Those of :class:`argparse.ArgumentParser`.
    """

    def __init__(self, description: str | None = None, **options: Any) -> None:
        form = argparse.RawDescriptionHelpFormatter
        defaults: dict[str, Any] = {"formatter_class": form, "allow_abbrev": False}
        super().__init__(description=description, **(defaults | options))
        self.add_argument(
            *("-v", "--verbose"),
            action=_Verbose,
            nargs=0,
            dest=argparse.SUPPRESS,
            help="show the traceback of a defect",
        )

    def error(self, message: str) -> NoReturn:
        """End with status 2 and one sentence."""
        fail(f"{message[:1].upper()}{message[1:].rstrip('.')}. See: {self.prog} --help")


def positive_int(text: str) -> int:
    """Return a number of things from the command line, at least one."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return number


class _Verbose(argparse.Action):
    """The option ``-v``, which holds from where it stands."""

    def __call__(self, *_: object) -> None:
        configure_logging(logging.DEBUG)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command and leave the process with its exit status.

    ``main`` returns its exit status (None is 0). Bad input, a missing package, an
    :class:`OSError` and exhausted memory become one sentence on stderr and status 2; Ctrl-C
    gives 130, SIGTERM and SIGHUP 128 and their number, after files half-written are removed; a
    reader that leaves early gives 141. Anything else is a defect: one sentence how to report it
    and status 70, and with ``-v`` the traceback.
    """
    _open_standard_streams()
    configure_logging(logging.WARNING)
    with _signals_as_exits() as caught:
        status = _status(main, caught)
    sys.exit(status)


def _status(main: Callable[[], int | None], caught: list[int]) -> int:
    """Run ``main``, see that its output has left, and return the exit status."""
    try:
        try:
            status: object = main()
        except SystemExit as end:  # --help, a sentence of `fail`, a signal
            status = end.code
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()
        return READER_LEFT
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 (whatever it is, it gets a sentence and a status)
        _give_up_stdout()
        if caught:  # compiled code may turn an interruption into an error of its own
            return 128 + caught[0]
        sentence, found = _sentence(error)
        if found == DEFECT and logging.getLogger("bitbybit").isEnabledFor(logging.DEBUG):
            for line in "".join(traceback.format_exception(error)).splitlines():
                _to_stderr(printable(line))
        _to_stderr(printable(sentence))
        return found
    return status if isinstance(status, int) else 0


def fail(sentence: str) -> NoReturn:
    """Print one sentence on stderr, free of control characters, and exit with status 2."""
    _to_stderr(printable(sentence))
    sys.exit(BAD_INPUT)


def configure_logging(level: int) -> None:
    """Send the log of ``bitbybit`` from ``level`` on to stderr.

    Modules log below that logger and never configure logging themselves.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrintableFormatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("bitbybit")
    logger.handlers = [handler]
    logger.setLevel(level)


class _PrintableFormatter(logging.Formatter):
    """A formatter whose messages cannot steer the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the base's name)
        record.message = printable(record.message)
        return super().formatMessage(record)


def _sentence(error: Exception) -> tuple[str, int]:
    """Return what is wrong, and the exit status."""
    if isinstance(error, BitbybitError):
        return str(error), BAD_INPUT
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        lost = isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError))
        hint = " Check the path." if where and lost else ""
        return f"{where}{error.strerror or type(error).__name__}.{hint}", BAD_INPUT
    if isinstance(error, MemoryError):
        text = "The memory of this machine does not suffice for this input"
        return f"{text}. Close other programs, or take a smaller model or fewer images.", BAD_INPUT
    if isinstance(error, _protobuf_errors()):
        text = "The file cannot be read or written as ONNX, which holds 2 GiB at most"
        return f"{text}: {error}.", BAD_INPUT
    if isinstance(error, ImportError):
        package = (error.name or "").partition(".")[0]
        if package in _EXTRA_OF_PACKAGE:
            missing = isinstance(error, ModuleNotFoundError)
            text = f"The package '{package}' {'is not installed' if missing else 'is damaged'}"
            command = f"python -m pip install '.{_EXTRA_OF_PACKAGE[package]}'"
            return f"{text}. Install it in the clone with: {command}", BAD_INPUT
    what = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":").rstrip(".")
    return _DEFECT.format(what), DEFECT


def _protobuf_errors() -> tuple[type[Exception], ...]:
    """Return protobuf's own errors, if it is loaded: then nothing else can raise them."""
    module = sys.modules.get("google.protobuf.message")
    return () if module is None else (module.Error,)


def _open_standard_streams() -> None:
    """Give a closed stdin, stdout or stderr somewhere to go, and let every name be printed.

    Else the next file that is opened would take its number, and receive what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a captured stream may lack it
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _signals_as_exits() -> Iterator[list[int]]:
    """Let Ctrl-C, SIGTERM and SIGHUP unwind the program, so that it tidies up; yield the caught.

    A signal that is ignored, as ``nohup`` has it, stays ignored.
    """
    caught: list[int] = []

    def unwind(number: int, frame: FrameType | None) -> NoReturn:
        caught.append(number)
        if _importing(frame):
            os._exit(128 + number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in signals}
    ours = [number for number in signals if before[number] is not signal.SIG_IGN]
    for number in ours:
        signal.signal(number, unwind)
    try:
        yield caught
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: native ones abort on an exception, and none writes."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _to_stderr(text: str) -> None:
    """Print a line on stderr; whether anybody reads it changes no exit status."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _give_up_stdout() -> None:
    """Write out what stdout still holds, or drop it: Python flushes stdout once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
