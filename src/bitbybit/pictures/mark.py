"""The mark of the project: its eight letters as eight bytes, one per row."""

from __future__ import annotations

NAME = "bitbybit"
CELL = 4


def mark() -> str:
    """Return an SVG of 8 x 8 bits, the ASCII codes of ``bitbybit``, most significant bit left.

    A set bit is filled, a clear one is a dot; the colours work on light and dark grounds.
    """
    cells = []
    for row, letter in enumerate(NAME.encode("ascii")):
        for column in range(8):
            x, y = column * CELL, row * CELL
            if letter >> (7 - column) & 1:
                cells.append(f"M{x} {y}h{CELL - 1}v{CELL - 1}h-{CELL - 1}z")
            else:
                cells.append(f"M{x + 1} {y + 1}h1v1h-1z")
    size = 8 * CELL
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {size + 1} {size + 1}" '
        f'width="128" height="128"><title>bitbybit</title>'
        f'<path fill="#1f7fb8" d="{"".join(cells)}"/></svg>\n'
    )
