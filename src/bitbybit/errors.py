"""The one error type of the project: a sentence that says where, expected, found, what next."""

from __future__ import annotations

from bitbybit.text import printable

_LONGEST = 400
"""Characters of a value that a sentence shows."""


class BitbybitError(Exception):
    """Bad input or a missing part, told in one sentence.

    Parameters
    ----------
    what
        What is wrong, as a clause without a final full stop.
    where
        The file, node or field that is meant, in the user's own words.
    expected, found
        The two values that differ, when there are two.
    next_step
        What the user can do about it; None if there is nothing. It has no default: whoever
        raises an error decides.

    Examples
    --------
    >>> print(
    ...     BitbybitError(
    ...         "the scale is zero",
    ...         where="m.onnx, node 'conv1', x_scale",
    ...         expected="> 0",
    ...         found=0.0,
    ...         next_step="Quantize it again.",
    ...     )
    ... )
    m.onnx, node 'conv1', x_scale: the scale is zero (expected > 0, found 0.0). Quantize it again.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = "",
        expected: object = "",
        found: object = "",
        next_step: str | None,
    ) -> None:
        self.what = what
        self.where = str(where)
        self.expected = str(expected)
        self.found = str(found)
        self.next_step = next_step
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        pair = [
            f"{label} {value if len(value) <= _LONGEST else value[: _LONGEST - 1] + '…'}"
            for label, value in (("expected", self.expected), ("found", self.found))
            if value
        ]
        if pair:
            text += f" ({', '.join(pair)})"
        text = text.rstrip(".") + "."
        return text if self.next_step is None else f"{text} {self.next_step}"

    def _render_traceback_(self) -> list[str]:
        """Let IPython show the sentence instead of the way through this library."""
        return [printable(f"{type(self).__name__}: {self}")]


class ModelError(BitbybitError):
    """A model file that cannot be read, or that contradicts itself."""


class UnsupportedError(BitbybitError):
    """A valid model or operator that lies outside what is implemented."""


class DataError(BitbybitError):
    """A dataset, image or record that is missing, damaged or of the wrong shape."""


class EnvironmentProblem(BitbybitError):  # noqa: N818 (EnvironmentError is a builtin)
    """A missing optional part: a package, a program, a writable folder."""
