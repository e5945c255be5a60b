"""Memory over the layers of a network, and a layer's weights cut into the tiles of an array."""

from __future__ import annotations

from collections.abc import Sequence

from bitbybit.digits import shown
from bitbybit.hardware import Buffer, Mapping

from .picture import Axis, Canvas, Picture

WIDTH, LEFT, PITCH, HEAD, FOOT = 720, 128, 19, 104, 96
MOST_SIDE = 260


def live_ranges(
    buffers: Sequence[Buffer],
    steps: Sequence[str],
    live: Sequence[int],
    *,
    label: str,
    caption: str,
) -> Picture:
    """Draw from which layer to which each buffer is kept, above the bytes of all of them.

    Parameters
    ----------
    buffers
        With their bytes; one row each.
    steps
        Names of the layers, one column each.
    live
        Bytes of all buffers, layer by layer.
    label, caption
        As for :class:`Picture`.
    """
    bottom = HEAD + PITCH * len(buffers)
    canvas = Canvas(WIDTH, bottom + FOOT)
    x, y = Axis(0, len(steps), LEFT, WIDTH - 10), Axis(0, max(live), bottom + FOOT - 8, bottom + 26)
    for i, (step, total) in enumerate(zip(steps, live, strict=True)):
        canvas.text(x(i + 0.5) + 4, HEAD - 8, step, 11, "start", turned=True)
        canvas.line(x(i), HEAD, x(i), bottom, "soft", 0.4)
        height = y(0) - y(total)
        canvas.rect(x(i) + 1, y(total), x(i + 1) - x(i) - 2, height, "accumulator", "none", 0.6)
        canvas.text(x(i + 0.5), y(total) - 4, f"{total / 1024:.0f}" if total >= 1024 else "< 1", 11)
    canvas.text(LEFT - 8, y(0) - 8, "live, KiB", 12, "end", weight=600)
    for row, buffer in enumerate(buffers):
        top, start = HEAD + PITCH * row, x(buffer.first)
        shade = 0.25 + 0.75 * (buffer.bytes or 0) / max(each.bytes or 0 for each in buffers)
        canvas.text(LEFT - 8, top + 14, buffer.name, 12, "end")
        size = x(buffer.last + 1) - start
        canvas.rect(start + 1, top + 3, size - 2, PITCH - 6, "activation", "activation", shade)
    kept = (
        f"{b.name} {shown(b.bytes)} bytes, {steps[b.first]} to {steps[b.last]}" for b in buffers
    )
    return canvas.picture(label, caption, "; ".join(kept))


def tiles(mapping: Mapping, *, label: str, caption: str) -> Picture:
    """Draw the weights of one group as a matrix, cut into the tiles of its array.

    Parameters
    ----------
    mapping
        K rows and M/G columns, on an array; pale is what the last tiles leave empty.
    label, caption
        As for :class:`Picture`.
    """
    rows, columns = mapping.array.rows, mapping.array.columns
    tall, wide = mapping.row_tiles * rows, mapping.column_tiles * columns
    unit = min(2 * MOST_SIDE / wide, MOST_SIDE / tall)
    canvas = Canvas(WIDTH, round(unit * tall) + 48)
    x, y = Axis(0, wide, LEFT, LEFT + unit * wide), Axis(0, tall, 34, 34 + unit * tall)
    canvas.rect(x(0), y(0), unit * wide, unit * tall, "soft", "none", 0.15)
    used = unit * mapping.channels, unit * mapping.taps
    canvas.rect(x(0), y(0), *used, "weight", "none", 0.6)
    for i in range(mapping.row_tiles + 1):
        canvas.line(x(0), y(i * rows), x(wide), y(i * rows), "ink", 1.4)
    for j in range(mapping.column_tiles + 1):
        canvas.line(x(j * columns), y(0), x(j * columns), y(tall), "ink", 1.4)
    canvas.text(x(0), 24, f"{mapping.channels} output channels", 12, "start")
    canvas.text(LEFT - 10, y(tall / 2), f"{mapping.taps} products", 12, "end")
    told = f"{mapping.row_tiles} x {mapping.column_tiles} tiles of {rows} x {columns}"
    held = f"{100 * mapping.occupancy:.1f} % of the multipliers hold a weight"
    canvas.text(x(wide) + 14, y(tall / 2) - 8, told, 12, "start")
    canvas.text(x(wide) + 14, y(tall / 2) + 10, held, 12, "start")
    return canvas.picture(label, caption, f"{mapping.taps} x {mapping.channels}: {told}, {held}")
