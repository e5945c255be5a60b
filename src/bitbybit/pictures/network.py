"""The whole network: a row for each stack, or a strip that shows where one is; skips are bows."""

from __future__ import annotations

from itertools import groupby, pairwise

from bitbybit.model.types import Layer, QuantizedModel

from .picture import Canvas, Picture

BOX, HEIGHT, GAP, ROW = 132, 44, 46, 84
STOP, PITCH = 28, 42
LEFT, TOP = 14, 26


def network(model: QuantizedModel, *, label: str, caption: str) -> Picture:
    """Draw every layer with its output shape; layers that share a name prefix share a row.

    Parameters
    ----------
    model
        A network whose layer names are ``stack.layer``, as ResNet8's; others get one row each
        four layers.
    label, caption
        As for :class:`Picture`.
    """
    rows = _rows(model.layers)
    place = {
        layer.name: (LEFT + column * (BOX + GAP), TOP + row * ROW)
        for row, layers in enumerate(rows)
        for column, layer in enumerate(layers)
    }
    canvas = Canvas(LEFT * 2 + 4 * BOX + 3 * GAP, TOP + len(rows) * ROW - ROW + HEIGHT + 10)
    before = {layer.name: left.name for row in rows for left, layer in pairwise(row)}
    for layer in model.layers:
        for source in layer.inputs:
            if source in place:
                _connect(canvas, place[source], place[layer.name], before.get(layer.name) == source)
    for layer in model.layers:
        _box(canvas, model, layer, *place[layer.name])
    names = ", ".join(layer.name for layer in model.layers)
    return canvas.picture(label, caption, f"The {len(model.layers)} layers in order: {names}")


def _rows(layers: tuple[Layer, ...]) -> list[list[Layer]]:
    """Group neighbours by the first part of their names, at most four in a row."""
    rows = []
    for _, group in groupby(layers, lambda layer: layer.name.rpartition(".")[0]):
        members = list(group)
        rows += [members[i : i + 4] for i in range(0, len(members), 4)]
    return rows


def _connect(
    canvas: Canvas, source: tuple[float, float], target: tuple[float, float], neighbours: bool
) -> None:
    """Draw an arrow to the neighbour, a bow over a row, or a bent line to the next row."""
    (x1, y1), (x2, y2) = source, target
    middle = HEIGHT / 2
    if neighbours:
        canvas.arrow(x1 + BOX, y1 + middle, x2 - 1, y2 + middle)
    elif y1 == y2:
        top = y1 - 12
        canvas.path(f"M{x1 + BOX * 0.7:g} {y1} V{top} H{x2 + BOX * 0.35:g} V{y2 - 4}", width=1.5)
        canvas.arrow(x2 + BOX * 0.35, y2 - 6, x2 + BOX * 0.35, y2 - 1)
    else:
        x, lane = x2 + BOX * 0.15, y2 - 22
        canvas.path(f"M{x1 + BOX * 0.5:g} {y1 + HEIGHT} V{lane} H{x:g} V{y2 - 4}", width=1.5)
        canvas.arrow(x, y2 - 6, x, y2 - 1)


def _box(canvas: Canvas, model: QuantizedModel, layer: Layer, x: float, y: float) -> None:
    """Draw one layer: its name, and the shape and type of its output."""
    edge = model.edges[layer.name]
    tint = 0.16 if edge.params is not None else 0.0
    canvas.rect(x, y, BOX, HEIGHT, "activation", opacity=tint)
    canvas.text(x + BOX / 2, y + 18, layer.name.rpartition(".")[2], weight=600)
    shape = " × ".join(str(size) for size in edge.shape[1:])
    canvas.text(x + BOX / 2, y + 35, f"{shape} {edge.dtype}", size=11)
    if "." in layer.name and x == LEFT:
        canvas.text(x + 28, y - 7, layer.name.partition(".")[0], size=11, anchor="start")


def you_are_here(model: QuantizedModel, *here: str) -> Picture:
    """Draw the layers as a small strip in graph order with the layers ``here`` filled.

    Raises
    ------
    ModelError
        If the model has no such layer.
    """
    names = [layer.name for layer in model.layers]
    now = {names.index(model.layer(name).name) for name in here}
    canvas = Canvas(len(names) * PITCH, 76)
    canvas.text(2, 14, f"You are here: {', '.join(here)}", anchor="start", weight=600)
    for i, layer in enumerate(model.layers):
        x = i * PITCH + 2
        fill, line, tint = ("accumulator", "ink", 1.0) if i in now else ("activation", "soft", 0.16)
        canvas.rect(x, 40, STOP, 16, fill, line, tint)
        for source in sorted(set(layer.inputs) & set(names)):
            back = (i - names.index(source)) * PITCH
            bow = f"M{x - back + STOP - 4} 40v{-2 - back / 14:g}h{back - STOP + 8}V38"
            canvas.path(bow if back > PITCH else f"M{x - PITCH + STOP} 48H{x}", stroke="soft")
        stack = layer.name.partition(".")[0]
        if i == 0 or not names[i - 1].startswith(f"{stack}."):
            canvas.text(x, 71, stack, 11, "start")
    return canvas.picture("", "", f"The network, layer by layer; marked: {', '.join(here)}")
