"""One form for every quantized graph: operators on real values between Q and DQ.

Each node of the file is rewritten by the first rule that fits.  A rule is a pure function: it sees
what was rewritten before and returns a :class:`Patch`, which is applied here and nowhere else.
The rewritten graph serves recognition only: float islands and cut-outs are made of the file's own
nodes, to which every :class:`Step` leads back, since ONNX Runtime computes, for example,
QLinearSigmoid otherwise than DequantizeLinear, Sigmoid, QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from onnx import helper

from bitbybit.model.fold import Constants, NoLayerError, check_channels
from bitbybit.model.graph import Graph, Node, Step, declared_dtype, declared_shape
from bitbybit.model.moves import attributes_of, parts_of_split
from bitbybit.model.onnx_file import Budget, wrong
from bitbybit.model.operators import (
    DEQUANTIZE,
    ONNX_DOMAIN,
    OPERATORS,
    QUANTIZE,
    Operator,
    operator,
)
from bitbybit.model.shapes import Shapes
from bitbybit.model.types import QuantizedTensor, QuantParams, bias_params
from bitbybit.text import shortened


@dataclass(frozen=True, eq=False)
class Patch:
    """What a rule puts in the place of a node.

    Attributes
    ----------
    steps : the new nodes
    same : tensor → the tensor that it equals
    codes : tensor of integer codes → its parameters, None while they are unknown
    real : tensor → the codes that it dequantizes
    file_names : new tensor → the tensor of the file that holds the same
    constants : new constants
    """

    steps: tuple[Step, ...] = ()
    same: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, QuantParams | None] = field(default_factory=dict)
    real: Mapping[str, str] = field(default_factory=dict)
    file_names: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, QuantizedTensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """What a tensor stands for: the ``codes`` of an edge, their ``real`` view, or a ``float``."""

    kind: Literal["codes", "real", "float"]
    edge: str


class View:
    """The rewritten graph; only :func:`rewritten` changes it.

    Attributes
    ----------
    quantized : whether the file works with codes at all; if not, layers are float layers
    steps : in topological order
    maker : tensor → the step that makes it
    readers : tensor → the steps that read it
    ranks : graph input → rank
    codes, real, file_names : as in :class:`Patch`
    outputs : graph outputs in file order; a constant is one behind an Identity, added at the end
    shapes : of all tensors, inferred when all steps are there
    shape_tensors : tensors that carry shapes, not data: made by Shape and computed from that
    """

    shapes: Shapes

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = graph.constants
        self.quantized = any(n.row is not None and n.row.on_codes for n in graph.nodes)
        self.steps: list[Step] = []
        self.maker: dict[str, Step] = {}
        self.readers: dict[str, list[Step]] = {}
        self.ranks: dict[str, int] = {}
        self.codes: dict[str, QuantParams | None] = {}
        self.dtypes: dict[str, np.dtype[np.generic]] = {}
        self.real: dict[str, str] = {}
        self.file_names: dict[str, str] = {}
        self.outputs = list(graph.outputs)
        self.shape_tensors: set[str] = set()
        self._same: dict[str, str] = {}
        for info in graph.inputs:
            where = f"{graph.where}, graph input '{shortened(info.name)}'"
            dtype = self.dtypes[info.name] = declared_dtype(info, where)
            shape = declared_shape(info)
            if shape is not None:
                self.ranks[info.name] = len(shape)
            if dtype.kind in "iu" and dtype.itemsize <= 2:
                self.codes[info.name] = None

    def resolve(self, name: str) -> str:
        """Return the tensor that stands for a tensor of the file."""
        return self._same.get(name, name)

    def value(self, name: str) -> Value | None:
        """Return what a tensor stands for, None for constants and absent inputs."""
        name = self.resolve(name)
        if not name or name in self.constants:
            return None
        if name in self.real:
            return Value("real", self.real[name])
        return Value("codes" if name in self.codes else "float", name)

    def fresh(self, wish: str) -> str:
        """Return a name that no tensor of the file has."""
        graph = self.graph
        while wish in graph.producer or wish in graph.initializers or wish in graph.consumers:
            wish += "'"
        return wish

    def equal_codes(self, tensor: str, params: QuantParams) -> bool:
        """Tell whether a tensor of codes has these parameters."""
        known = self.codes.get(tensor)
        return known is not None and known.same_as(params)

    def sole_reader(self, tensor: str) -> Step | None:
        """Return the only step that reads ``tensor``; None if others, or the caller, do too."""
        readers = self.readers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.graph.output_set else None

    def apply(self, patch: Patch) -> None:
        """Take over what a rule returned."""
        self.codes.update(patch.codes)
        self.dtypes.update({t: p.dtype for t, p in patch.codes.items() if p is not None})
        self.real.update(patch.real)
        self.file_names.update(patch.file_names)
        self.constants.update(patch.constants)
        self._same.update(patch.same)
        for step in patch.steps:
            self.steps.append(step)
            self.maker.update((name, step) for name in step.outputs if name)
            for name in step.inputs:
                if name:
                    self.readers.setdefault(name, []).append(step)


Rule = Callable[[View, Step], Patch]


def rewritten(graph: Graph, budget: Budget) -> View:
    """Return the graph in the form that matchers read: folded, rewritten, with all shapes.

    Raises
    ------
    ModelError : scales, zero points, axes or constants that contradict themselves
    UnsupportedError : constants that take more than the budget
    """
    view = _rewritten(graph, budget, {})
    known: dict[str, tuple[int, ...]] = {}
    while len(known) < MOST_SHAPES and (new := _known_shapes(view)):
        known |= new
        view = _rewritten(graph, budget, known)
    return view


MOST_SHAPES = 1000
"""Shapes that are folded.  Each time the graph is rewritten, what follows from those before is
inferred, so that files need it two or three times."""


def _known_shapes(view: View) -> dict[str, tuple[int, ...]]:
    """Return what each Shape gives whose input has no open dimension."""
    found = {}
    for step in view.steps:
        shape = view.shapes[step.inputs[0]] if step.op == "Shape" else None
        known = tuple(size for size in shape or () if size is not None)
        if shape is not None and len(known) == len(shape):
            start, end = step.node.int("start", 0), step.node.int("end", len(known))
            found[step.outputs[0]] = known[start:end]
    return found


def _rewritten(graph: Graph, budget: Budget, known: Mapping[str, tuple[int, ...]]) -> View:
    """Rewrite a graph, of some of whose tensors the shape is known."""
    constants = graph.constants = Constants(graph, budget, known)
    view = View(graph)
    for node in graph.nodes:
        if node.index in constants.nodes:
            continue
        inputs = tuple(view.resolve(name) for name in node.inputs)
        step = Step(node.op, inputs, node.outputs, node)
        view.apply(_patch(view, step))
        data = [n for n in node.inputs if n and n not in constants]
        if node.op in ("Shape", "Size") or (data and view.shape_tensors.issuperset(data)):
            view.shape_tensors.update(node.outputs)
    outputs = dict.fromkeys(graph.outputs)  # a file may name one of them twice
    made = {name: _constant_output(view, name) for name in outputs if name in view.constants}
    view.outputs = [made.get(name, name) for name in graph.outputs]
    view.shapes = Shapes(graph, view.steps, constants.get)
    return view


def _patch(view: View, step: Step) -> Patch:
    """Return what the rule of a step makes of it; without a rule it stays."""
    row = operator(step.op, step.node.domain)
    rule = RULES.get(step.op) if row is not None or step.node.domain == ONNX_DOMAIN else None
    if row is not None and rule is None:
        rule = legalise if row.twin else move if row.keeps else None
    if rule is None:
        return Patch((step,))
    try:
        return rule(view, step)
    except NoLayerError as no:
        return Patch((replace(step, why=no.why),), codes=_codes_made(view, step))


def _codes_made(view: View, step: Step) -> dict[str, QuantParams | None]:
    """Return what an operator that is no integer layer makes all the same: its output are codes."""
    row, source = OPERATORS.get(step.op), step.inputs[0]
    if row is None:
        return {}
    if row.keeps and source in view.codes:
        return dict.fromkeys(step.outputs, view.codes[source])
    if not row.twin:
        return {}
    try:
        return {step.outputs[0]: _output(view, step, row)}
    except NoLayerError:
        return {}


def _constant_output(view: View, name: str) -> str:
    """Add an Identity that makes a graph output of the constant that it is."""
    made = view.fresh(f"{name}/output")
    proto = helper.make_node("Identity", [name], [made], name=name)
    where = f"{view.graph.where}, graph output '{shortened(name)}'"
    index = len(view.graph.nodes) + view.graph.outputs.index(name)
    node = Node(proto, where, index, (name,), (made,))
    view.apply(Patch((Step("Identity", (name,), (made,), node),), file_names={made: name}))
    return made


# -- rules ------------------------------------------------------------------------------------


def legalise(view: View, step: Step) -> Patch:
    """QLinearX := DequantizeLinear per operand, X, QuantizeLinear."""
    node, row = step.node, OPERATORS[step.op]
    if row.most_inputs is None:
        raise NoLayerError(f"{step.op} is no integer layer of the contract")
    read = {p: _operand(view, step, row, p) for p in row.values if row.operand(p) is not None}
    y = _output(view, step, row)
    first = {step.input(p): read[p] for p in reversed(read)}
    if not all(read[p].same_as(first[step.input(p)]) for p in read):
        raise NoLayerError(_OTHERWISE)
    wishes = (f"{node.outputs[0]}/{row.inputs[p]}" for p in row.values)
    names = dict(zip(row.values, map(view.fresh, wishes), strict=True))
    constants = _constants(view, step, row, read)
    flows = [p for p in read if p not in constants]
    steps = [Step(DEQUANTIZE, (step.input(p),), (names[p],), node, params=read[p]) for p in flows]
    inputs = tuple(names[p] if p in constants or p in read else step.input(p) for p in row.values)
    made = view.fresh(f"{node.outputs[0]}/real")
    steps.append(Step(row.twin, inputs, (made,), node))
    steps.append(Step(QUANTIZE, (made,), (node.outputs[0],), node, params=y))
    return Patch(
        tuple(steps),
        codes={step.input(p): read[p] for p in flows} | {node.outputs[0]: y},
        real={names[p]: step.input(p) for p in flows},
        constants={names[p]: constant for p, constant in constants.items()},
    )


_OTHERWISE = "it reads its input with another scale or zero point than it was written with"


def _constants(
    view: View, step: Step, row: Operator, read: dict[int, QuantParams]
) -> dict[int, QuantizedTensor]:
    """Return the constant operands by position: weight, and bias at the scale that it has."""
    found = {}
    for position in row.values:
        name = step.input(position)
        codes = view.constants.plain(name)
        if codes is None:
            continue
        if position in read:
            check_channels(read[position], codes.shape, f"{step.node.where}, weight")
            found[position] = QuantizedTensor(name, codes, read[position])
        elif position == row.bias:
            if codes.dtype != np.int32:
                next_step = "Quantize the model again: a bias is int32."
                what = "the bias has a wrong type"
                raise wrong(step.node.where, what, "int32", codes.dtype, next_step)
            x, weight = read.values()
            if x.per_channel:
                raise NoLayerError("an activation has one scale per channel")
            found[position] = QuantizedTensor(name, codes, bias_params(x, weight))
    return found


def _operand(view: View, step: Step, row: Operator, position: int) -> QuantParams:
    """Return the parameters of an operand, if they are those of its codes."""
    node, operand, name = step.node, row.operand(position), step.input(position)
    if operand is None or operand.scale is None or operand.zero_point is None:
        raise NoLayerError("it has no scale for each of its inputs")
    constant = view.constants.plain(name)
    if position == row.weight:
        axis = 0 if node.int("transB", 0) else row.weight_axis or 0
        if constant is None:
            raise NoLayerError("its weights are not constants")
        if constant.ndim <= axis:
            raise NoLayerError(f"its weights have {constant.ndim} dimensions")
        places = (operand.scale, operand.zero_point)
        return view.constants.params(node, *places, constant.dtype, axis)
    if constant is not None:
        raise NoLayerError("one of its inputs is a constant")
    if name not in view.codes:
        raise NoLayerError("its input is not an integer tensor that another layer makes")
    dtype = view.dtypes.get(name)
    params = view.constants.params(node, operand.scale, operand.zero_point, dtype, 1)
    return _bound(view, name, params)


def _bound(view: View, codes: str, params: QuantParams) -> QuantParams:
    """Return the parameters with which codes are read, if they are those of the codes."""
    known = view.codes[codes] or params  # the names are those of the writer
    if not known.same_as(params):
        raise NoLayerError(_OTHERWISE)
    return known


def _output(view: View, step: Step, row: Operator) -> QuantParams:
    """Return the parameters of the output; without zero point its codes have the input's type."""
    made, node = row.output, step.node
    if made is None or made.scale is None or made.zero_point is None:
        raise NoLayerError("its output has no scale")
    if not node.input(made.scale) or (row.name == "QGemm" and not node.input(made.zero_point)):
        raise NoLayerError("its output is float: it has no output scale or zero point")
    first = view.resolve(node.input(row.data[0]))
    dtype = None if node.input(made.zero_point) else view.dtypes.get(first)
    return view.constants.params(node, made.scale, made.zero_point, dtype, 1)


def quantize(view: View, step: Step) -> Patch:
    """Q of DQ with equal parameters := the codes; a second equal Q := the first."""
    source, output = step.inputs[0], step.outputs[0]
    params = view.constants.linear(step.node, None, view.ranks.get(source))
    codes = view.real.get(source)
    if codes is not None and view.equal_codes(codes, params):
        # codes that were moved have no tensor in the file until one is quantized again
        moved = view.file_names.get(codes) == source
        return Patch(same={output: codes}, file_names={codes: output} if moved else {})
    for other in view.readers.get(source, []):
        if other.op == QUANTIZE and view.equal_codes(other.outputs[0], params):
            return Patch(same={output: other.outputs[0]})
    why = ""
    if codes is not None:
        why = "it goes from one scale to another without an operator between"
    elif source in view.codes:
        why = "it quantizes integers"
    elif source in view.constants:
        why = "it quantizes a constant that is not float32"
    return Patch((replace(step, why=why, params=params),), codes={output: params})


def dequantize(view: View, step: Step) -> Patch:
    """DQ of codes makes their real view."""
    source, output = step.inputs[0], step.outputs[0]
    constant = view.constants.get(source)
    if constant is not None:  # not folded: its parameters say why
        values = constant.values
        view.constants.linear(step.node, values.dtype, values.ndim)
        raise NoLayerError(f"its codes are {values.dtype}")
    if source not in view.codes:
        raise NoLayerError("it dequantizes no 8 or 16-bit tensor that a layer makes")
    params = view.constants.linear(step.node, view.dtypes.get(source), view.ranks.get(source))
    params = _bound(view, source, params)
    return Patch((replace(step, params=params),), codes={source: params}, real={output: source})


def move(view: View, step: Step) -> Patch:
    """DQ, Move := Move, DQ: dequantization works element by element.

    It commutes with an operator that only picks elements (MaxPool too: the scale is positive).
    """
    source, output = step.inputs[0], step.outputs[0]
    value = view.value(source)
    if value is None:
        raise NoLayerError(f"{step.op} works on a constant")
    _check_movable(view, step, value)
    if value.kind == "float":
        return Patch((step,))
    params = view.codes[value.edge]
    if value.kind == "codes":
        return Patch((step,), codes={output: params})
    codes = view.fresh(f"{output}/codes")
    inputs = (value.edge, *step.inputs[1:])
    dequantizer = view.maker[source].node
    return Patch(
        (
            Step(step.op, inputs, (codes,), step.node, on_codes=True),
            Step(DEQUANTIZE, (codes,), (output,), dequantizer, params=params),
        ),
        codes={codes: params},
        real={output: codes},
        file_names={codes: output},
    )


def split(view: View, step: Step) -> Patch:
    """Split := Slices of the same input, each for one part."""
    parts = parts_of_split(view.constants, step)
    same, steps, constants = step.inputs[0], list[Step](), dict[str, QuantizedTensor]()
    for output, part in zip(step.outputs, parts, strict=True):
        names = {name: view.fresh(f"{output}/{name}") for name in part}
        constants |= {
            names[name]: QuantizedTensor(names[name], np.array(values, np.int64))
            for name, values in part.items()
        }
        steps.append(Step("Slice", (same, *names.values()), (output,), step.node))
    view.constants.update(constants)
    patches = [move(view, part) for part in steps]
    return Patch(
        tuple(new for patch in patches for new in patch.steps),
        codes={k: v for patch in patches for k, v in patch.codes.items()},
        real={k: v for patch in patches for k, v in patch.real.items()},
        file_names={k: v for patch in patches for k, v in patch.file_names.items()},
    )


def join(view: View, step: Step) -> Patch:
    """Concat of codes with equal parameters keeps them."""
    known = [view.codes.get(name) for name in step.inputs]
    first = known[0] if known else None
    if first is None or first.per_channel:
        return Patch((step,))
    same = all(params is not None and params.same_as(first) for params in known)
    return Patch((step,), codes={step.outputs[0]: first} if same else {})


def legalise_concat(view: View, step: Step) -> Patch:
    """QLinearConcat := DequantizeLinear per operand, Concat, QuantizeLinear."""
    node, y = step.node, _output(view, step, OPERATORS[step.op])
    steps, names, codes = list[Step](), list[str](), dict[str, QuantParams | None]()
    for position in range(2, len(step.inputs), 3):
        name = step.inputs[position]
        if name not in view.codes:
            raise NoLayerError("one of its inputs is not an integer tensor that a layer makes")
        params = view.constants.params(node, position + 1, position + 2, view.dtypes.get(name), 1)
        codes[name] = _bound(view, name, params)
        names.append(view.fresh(f"{node.outputs[0]}/{position}"))
        steps.append(Step(DEQUANTIZE, (name,), (names[-1],), node, params=codes[name]))
    made = view.fresh(f"{node.outputs[0]}/real")
    steps.append(Step("Concat", tuple(names), (made,), node))
    steps.append(Step(QUANTIZE, (made,), (node.outputs[0],), node, params=y))
    real = dict(zip(names, (s.inputs[0] for s in steps), strict=False))
    return Patch(tuple(steps), codes=codes | {node.outputs[0]: y}, real=real)


def _check_movable(view: View, step: Step, value: Value) -> None:
    """Refuse an operator that moves elements and cannot work on codes."""
    op, row = step.op, OPERATORS[step.op]
    if any(name and name not in view.constants for name in step.inputs[1:]):
        raise NoLayerError(f"{op} depends on values that are not constants")
    if step.node.inputs[0] in view.shape_tensors:
        raise NoLayerError(f"{op} computes a shape")
    if any(step.outputs[1:]):
        raise NoLayerError(f"{op} has more than one output")
    if value.kind == "float":
        if view.quantized or row.keeps != "order":
            raise NoLayerError(f"{op} works on float values here")
        return
    params = view.codes[value.edge]
    if row.keeps == "choose":
        attributes_of(view.constants, step, params, on_codes=value.kind == "codes")
    if params is not None and params.axis is not None:
        raise NoLayerError(f"{op} moves a tensor with one scale per channel")
    if view.graph.file.opsets[ONNX_DOMAIN] < row.codes_since:
        raise NoLayerError(f"{op} takes no integers in this opset")


def clip(view: View, step: Step) -> Patch:
    """Clip of codes keeps their scale: so a network with fewer bits saturates at its own rails."""
    source, output = step.inputs[0], step.outputs[0]
    return Patch((step,), codes={output: view.codes[source]} if source in view.codes else {})


RULES: dict[str, Rule] = {
    QUANTIZE: quantize,
    DEQUANTIZE: dequantize,
    "Clip": clip,
    "Concat": join,
    "QLinearConcat": legalise_concat,
    "Split": split,
}
"""Operator → its rule, beside those of the table: QLinear operators, and those that move."""
