"""Why does a layer's dump differ? The first element, and the mistakes that explain every one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bitbybit.arithmetic import centred
from bitbybit.errors import BitbybitError, DataError
from bitbybit.execution.compare import described
from bitbybit.execution.engine import accumulate, has_accumulator, params
from bitbybit.model.types import AnyArray, Conv, Dense, GlobalPool, Layer, QuantizedModel

from .datapath import Datapath, Places, Products, Whole, datapath
from .hypotheses import LATE, Hypothesis, holding, hypotheses, of_output
from .scheme import Scheme

SAMPLE = 48
"""Places of a layer's output that a hypothesis has to reproduce before all are computed."""

SLOW = "partial sums"
"""A step that is paired only with those behind the sum."""

FEWEST_UNWRITTEN = 4
"""Elements that must hold one constant before they can be called unwritten."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """What one output element of a convolution saw.

    Attributes
    ----------
    rows, columns : indices into the input, outside of it where padded
    padded : ``[kH][kW]``, whether a tap lies outside the image
    codes : ``[C/G][kH][kW]``, what the taps hold
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    padded: list[list[bool]]
    codes: list[list[list[int]]]


@dataclass(frozen=True, kw_only=True)
class Element:
    """The first element that differs, in memory order of ``[N, C, H, W]``.

    Attributes
    ----------
    index : ``(n, c, y, x)`` or ``(n, c)``
    expected, got : the two values; ``got`` is None where the dump has no number (x or z)
    expected_hex, got_hex : the same as bytes of the tensor's type
    accumulator : the int32 sum with its bias, None where the layer has none
    scaled : the exact real output in steps of the output, before the zero point; None of others
    tie : its distance to the nearest half
    window : what it was computed of, of a convolution
    """

    index: tuple[int, ...]
    expected: float
    got: float | None
    expected_hex: str
    got_hex: str
    accumulator: int | None = None
    scaled: Fraction | None = None
    tie: Fraction | None = None
    window: Window | None = None


class Explanation(NamedTuple):
    """One mistake, or two, and the share of all elements that they reproduce."""

    mistakes: tuple[Hypothesis, ...]
    share: float

    def __str__(self) -> str:
        return ", and ".join(map(str, self.mistakes))


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is wrong with a layer's dump.

    Attributes
    ----------
    layer, tensor : which output, "y", "acc" or "sum"
    elements, different : how many were compared, and how many differ
    unknown : how many of the dump hold no number (x or z)
    first : the first that differs, None if all are equal
    by_channel, by_row, by_column : how many differ, along each axis that there is
    explanations : each reproduces every element; they cannot be told apart by this dump
    nearest : where there are none, what comes nearest, best first
    tried : how many single mistakes, and pairs of them, were tried
    """

    layer: str
    tensor: str
    elements: int
    different: int
    unknown: int = 0
    first: Element | None = None
    by_channel: tuple[int, ...] = ()
    by_row: tuple[int, ...] = ()
    by_column: tuple[int, ...] = ()
    explanations: tuple[Explanation, ...] = ()
    nearest: tuple[Explanation, ...] = ()
    tried: tuple[int, int] = (0, 0)

    @property
    def explained(self) -> bool:
        """Whether some mistake reproduces every element."""
        return bool(self.explanations)


def diagnose(
    model: QuantizedModel,
    layer: str,
    inputs: Sequence[AnyArray],
    got: AnyArray,
    *,
    tensor: str = "y",
    scheme: Scheme | None = None,
    others: Mapping[str, AnyArray] | None = None,
) -> Diagnosis:
    """Say where a layer's output differs from the contract, and which mistake makes exactly that.

    Every mistake is tested by re-running the layer with that one thing changed; what is returned
    reproduces every element with ``==``. Pairs of mistakes are tried where no single one does.

    Parameters
    ----------
    model
        The network.
    layer
        The name of one of its layers.
    inputs
        The right values of the layer's inputs, in order, ONNX layout and their own dtypes.
    got
        The layer's output as somebody else computed it: the contract's dtype and shape. In a
        masked array the masked elements hold no number.
    tensor
        ``"y"``, the codes; ``"acc"``, the int32 accumulators; ``"sum"``, those without bias.
    scheme
        How sums become codes where that is agreed to differ from the contract.
    others
        Name → right values of other edges, any of which could have been taken for another.

    Returns
    -------
    Diagnosis

    Raises
    ------
    BitbybitError
        No layer has this name.
    DataError
        ``got`` has another shape or dtype.
    UnsupportedError
        The accumulator of a layer that has none.
    """
    what = model.layer(layer)
    if tensor == "sum" and isinstance(what, (Conv, Dense)):
        what = replace(what, bias=None)
    inputs = [np.asarray(values) for values in inputs]
    scheme = scheme or Scheme()
    sums = accumulate(model, what, inputs) if tensor != "y" or has_accumulator(what) else None
    right = np.asarray(scheme.output(model, what, inputs, sums) if tensor == "y" else sums)
    unknown = np.ma.getmaskarray(got)
    dump = np.ma.getdata(got)
    if described(dump) != described(right):
        raise DataError(
            "the dump is not of the layer's type and shape",
            where=f"{layer}, {tensor}",
            expected=described(right),
            found=described(dump),
            next_step="Bring it into this layout first.",
        )
    wrong = different(right, got)
    found = Diagnosis(
        layer=layer,
        tensor=tensor,
        elements=right.size,
        different=int(wrong.sum()),
        unknown=int(unknown.sum()),
    )
    if not found.different:
        return found
    index = tuple(map(int, np.unravel_index(int(np.argmax(wrong)), wrong.shape)))
    path = datapath(model, what, inputs, scheme)
    search = _Search(path, tensor, right, dump, wrong, unknown, dict(others or {}))
    explanations = search.singles() or search.pairs()
    counts = [
        tuple(map(int, wrong.sum(axis=tuple(a for a in range(wrong.ndim) if a != axis))))
        if axis < wrong.ndim
        else ()
        for axis in (1, 2, 3)
    ]
    return replace(
        found,
        first=_element(
            model,
            what,
            inputs,
            index,
            (right[index], np.ma.asarray(got)[index]),
            scaled=tensor == "y",
        ),
        explanations=tuple(explanations),
        nearest=() if explanations else tuple(search.nearest()),
        tried=search.tried,
        by_channel=counts[0],
        by_row=counts[1],
        by_column=counts[2],
    )


def different(right: AnyArray, got: AnyArray) -> NDArray[np.bool_]:
    """Tell where two arrays differ: NaN equals NaN, and what is masked equals nothing."""
    dump = np.ma.getdata(got)
    nan = (right != right) & (dump != dump)  # noqa: PLR0124
    return np.asarray(np.ma.getmaskarray(got) | ((dump != right) & ~nan))


class _Search:
    """The hypotheses about one layer, against one dump."""

    def __init__(
        self, path: Datapath, tensor: str, right: AnyArray, dump: AnyArray,
        wrong: NDArray[np.bool_], unknown: NDArray[np.bool_], others: dict[str, AnyArray],
    ) -> None:  # fmt: skip
        self.path, self.tensor, self.right = path, tensor, right
        self.dump, self.wrong, self.known = dump, wrong, ~unknown
        self.rows = [r for r in hypotheses(path, others) if tensor == "y" or not _late(r)]
        self.outputs = list(of_output(right, others))
        self.tried = (0, 0)
        self.shares: list[Explanation] = []
        self.view = _View(path, dump, wrong, self.known, tensor)

    def singles(self) -> list[Explanation]:
        """Return every single mistake that reproduces the dump."""
        found = [Explanation((row,), 1.0) for row in self._unwritten()]
        for row in self.outputs:
            made = _applied(row.change, self.right)
            if made is not None and made.shape == self.dump.shape:
                share = _share(made, self.dump, self.known)
                self.shares.append(Explanation((row,), share))
        for row in self.rows:
            path = _applied(row.change, self.path)
            if path is not None:
                share = self.view.share(path)
                share = self.view.full_share(path) if share == 1 else share
                self.shares.append(Explanation((row,), share))
        self.tried = (len(self.shares), 0)
        return found + [e for e in self.shares if e.share == 1]

    def _unwritten(self) -> Iterator[Hypothesis]:
        """Find a simple region that holds one constant, or no number, and is right elsewhere."""
        values = np.unique(self.dump[self.wrong & self.known])
        if self.wrong.sum() < FEWEST_UNWRITTEN or values.size > 1:
            return
        constant = ~self.known | (self.dump == values[0] if values.size else False)
        for order in ("", ", in the order NHWC") if self.wrong.ndim == 4 else ("",):
            wrong, held = (np.moveaxis(v, 1, -1) if order else v for v in (self.wrong, constant))
            at = np.flatnonzero(wrong.reshape(-1))
            if held.reshape(-1)[at[0] :].all():
                yield self._constant(f"from element {at[0]} on{order}", values)
            if held.reshape(-1)[: at[-1] + 1].all():
                yield self._constant(f"up to element {at[-1]}{order}", values)
        for axis, name in enumerate(("image", "channel", "row", "column")[: self.wrong.ndim]):
            bad = np.flatnonzero(self.wrong.any(tuple(set(range(self.wrong.ndim)) - {axis})))
            lines = ", ".join(map(str, bad[:8])) + (", ..." if bad.size > 8 else "")
            if np.take(constant, bad, axis).all():
                yield self._constant(f"in {name} {lines}", values)

    def _constant(self, where: str, values: AnyArray) -> Hypothesis:
        held = f"constant {values[0]}" if values.size else "x"
        return Hypothesis("output", f"not written {where}: {held}", holding(None))

    def pairs(self) -> list[Explanation]:
        """Return every pair of mistakes of different steps that reproduces the dump.

        Sums are computed once for each mistake before them, and shared by all behind them.
        """
        found, base = [], self.view.sums(self.path)
        rows = [(row, path) for row in self.rows
                if (path := _applied(row.change, self.path)) is not None]  # fmt: skip
        sums = {row: base if _late(row) else self.view.sums(path) for row, path in rows}
        for (one, path), (two, other) in combinations(rows, 2):
            if one.step == two.step or (SLOW in (one.step, two.step) and not _late(two)):
                continue
            first, second = (path, two) if not _late(one) or _late(two) else (other, one)
            both = _applied(second.change, first)
            if both is None:
                continue
            self.tried = (self.tried[0], self.tried[1] + 1)
            acc = sums[one if second is two else two] if _late(second) else None
            if self.view.fits(both, acc):
                found.append(Explanation((one, two), 1.0))
        return found

    def nearest(self) -> list[Explanation]:
        """Return the single mistakes that come nearest, by all elements."""
        found = []
        for e in sorted(self.shares, key=lambda e: -e.share)[:5]:
            (row,) = e.mistakes
            path = None if row.step == "output" else _applied(row.change, self.path)
            found.append(e if path is None else e._replace(share=self.view.full_share(path)))
        own = 1 - float(self.wrong.mean())
        return sorted((e for e in found if e.share > own), key=lambda e: -e.share)[:3]


def _late(row: Hypothesis) -> bool:
    return row.step in LATE


def _applied(change: Callable[[Any], Any], path: Any) -> Any:
    """Return a changed datapath, None where the layer leaves no room for the change."""
    try:
        return change(path)
    except (ValueError, IndexError, KeyError):  # what this layer does not have
        return None


class _View:
    """The dump at a sample of places, and at all."""

    def __init__(
        self, path: Datapath, dump: AnyArray, wrong: NDArray[np.bool_], known: NDArray[np.bool_],
        tensor: str,
    ) -> None:  # fmt: skip
        self.path, self.dump, self.known, self.tensor = path, dump, known, tensor
        if isinstance(path, Products):
            every = path.places()
            bad = np.flatnonzero(path.at(wrong, every).any(1))
            corners = np.linspace(0, len(every) - 1, SAMPLE // 3).astype(int)
            chosen = np.unique([*bad[: SAMPLE // 3], *_spread(bad, SAMPLE // 3), *corners])
            self.sample: Places = every[chosen]
            self.probe: Places = every[np.unique([*_spread(bad, 4), *corners[::4]])]
            return
        first = int(np.argmax(wrong.reshape(len(wrong), -1).any(1))) if wrong.ndim else 0
        self.image = slice(first, first + 1)
        one = self._one_image(path)
        self.by_image = one is not None and not different(path.output()[self.image], one).any()

    def sums(self, path: Datapath) -> AnyArray | None:
        """Return the accumulators of the probe, None of a datapath that has none."""
        return path.sums(self.probe) if isinstance(path, Products) else None

    def share(self, path: Datapath) -> float:
        """Return the share of a sample that a datapath reproduces; 0 where it cannot run."""
        try:
            if isinstance(path, Whole):
                one = self._one_image(path) if self.by_image else None
                if one is None:
                    return self.full_share(path)
                return _share(one, self.dump[self.image], self.known[self.image])
            made = path.run(self.sample, self.tensor)
        except (ValueError, TypeError, BitbybitError):  # what no engine takes
            return 0.0
        return float(np.mean(self._same(path, made, self.sample)))

    def fits(self, path: Datapath, acc: AnyArray | None) -> bool:
        """Whether a datapath reproduces everything; ``acc`` are its sums of the probe, if known."""
        if isinstance(path, Products):
            try:
                acc = path.sums(self.probe) if acc is None else acc
                made = path.codes(acc, self.probe) if self.tensor == "y" else acc
            except (ValueError, BitbybitError):
                return False
            if not self._same(path, made, self.probe).all():
                return False
        return self.share(path) == 1 and self.full_share(path) == 1

    def _one_image(self, path: Whole) -> AnyArray | None:
        """Return the output of the first image that differs, None where it cannot be had alone."""
        if not self.dump.ndim or any(v.shape[:1] != self.dump.shape[:1] for v in path.inputs):
            return None
        try:
            made = replace(path, inputs=tuple(v[self.image] for v in path.inputs)).output()
        except (
            ValueError,
            TypeError,
            BitbybitError,
        ):  # a batch of one that the layer does not take
            return None
        return made if made.shape == self.dump[self.image].shape else None

    def full_share(self, path: Datapath) -> float:
        """Return the share of all elements that a datapath reproduces: 1 only for all of them."""
        if isinstance(path, Whole):
            made = path.output()
            return _share(made, self.dump, self.known) if made.shape == self.dump.shape else 0.0
        parts = (
            np.count_nonzero(self._same(path, path.run(places, self.tensor), places))
            for places in path.chunks()
        )
        return sum(parts) / self.dump.size

    def _same(self, path: Products, made: AnyArray, places: Places) -> NDArray[np.bool_]:
        return np.asarray((made == path.at(self.dump, places)) | ~path.at(self.known, places))


def _share(made: AnyArray, dump: AnyArray, known: NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(~different(made, dump) | ~known) / dump.size)


def _spread(values: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    chosen = np.linspace(0, len(values) - 1, min(count, len(values)))
    return np.asarray(values[chosen.astype(int)])


def _element(
    model: QuantizedModel, layer: Layer, inputs: Sequence[AnyArray], index: tuple[int, ...],
    values: tuple[Any, Any], *, scaled: bool,
) -> Element:  # fmt: skip
    """Describe an element; of its two values the second may be masked."""
    acc = int(accumulate(model, layer, inputs)[index]) if has_accumulator(layer) else None
    real = _scaled(model, layer, inputs, index, acc) if scaled else None
    right, got = values
    known = got is not np.ma.masked
    return Element(
        index=index,
        expected=right.item(),
        got=got.item() if known else None,
        expected_hex=_hex(right),
        got_hex=_hex(got) if known else "x" * 2 * right.itemsize,
        accumulator=acc,
        scaled=real,
        tie=None if real is None else abs(real - math.floor(real) - Fraction(1, 2)),
        window=_window(model, layer, inputs[0], index) if isinstance(layer, Conv) else None,
    )


def _hex(value: Any) -> str:
    return np.asarray(value).astype(np.asarray(value).dtype.newbyteorder(">")).tobytes().hex()


def _scaled(
    model: QuantizedModel, layer: Layer, inputs: Sequence[AnyArray], index: tuple[int, ...],
    acc: int | None,
) -> Fraction | None:  # fmt: skip
    """Return the real output in steps of the output, exactly: what is left to be rounded."""
    edges = [model.edges[edge].params for edge in (*layer.inputs, layer.name)]
    found = [p for p in edges if p is not None and not p.per_channel]
    if len(found) < len(edges):
        return None
    *scales, step = (Fraction(float(p.scale)) for p in found)
    if layer.kind == "add":
        wide = [np.broadcast_to(values, np.broadcast_shapes(*(v.shape for v in inputs)))[index]
                for values in inputs]  # fmt: skip
        terms = zip(wide, scales, found, strict=False)
        total = sum((s * int(centred(v, p.zero_point)) for v, s, p in terms), Fraction())
        return Fraction(total / step)
    if acc is None:
        return None
    if isinstance(layer, GlobalPool):
        return Fraction(acc * scales[0] / step / inputs[0][0, 0].size)
    if not isinstance(layer, (Conv, Dense)):
        return None
    weight = params(layer.weight, layer)
    channel = index[1] if isinstance(layer, Conv) else index[-1]
    w_scale = weight.scale.reshape(-1)[channel if weight.per_channel else 0]
    return Fraction(acc * scales[0] * Fraction(float(w_scale)) / step)


def _window(model: QuantizedModel, layer: Conv, x: AnyArray, index: tuple[int, ...]) -> Window:
    """Return the receptive field of an element of a convolution."""
    taps = [
        range(at * s - pad, at * s - pad + size * d, d)
        for at, s, pad, d, size in zip(
            index[2:], layer.strides, layer.pads, layer.dilations, layer.weight.values.shape[2:],
            strict=False,
        )
    ]  # fmt: skip
    per = layer.weight.values.shape[1]
    first = index[1] // (len(layer.weight.values) // layer.group) * per
    inside = [[0 <= r < x.shape[2] and 0 <= c < x.shape[3] for c in taps[1]] for r in taps[0]]
    p = model.edges[layer.inputs[0]].params
    pad = 0 if p is None else int(p.zero_point)
    codes = [
        [[int(x[index[0], k, r, c]) if good else pad for c, good in zip(taps[1], line, strict=True)]
         for r, line in zip(taps[0], inside, strict=True)]
        for k in range(first, first + per)
    ]  # fmt: skip
    return Window(
        rows=tuple(taps[0]),
        columns=tuple(taps[1]),
        padded=[[not good for good in line] for line in inside],
        codes=codes,
    )
