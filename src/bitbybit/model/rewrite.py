"""One form for every quantized graph: operators on real values between Q and DQ.

Each node of the file is rewritten by the first rule that fits.  A rule is a pure function: it sees
what was rewritten before and returns a :class:`Patch`, which is applied here and nowhere else.
The rewritten graph serves recognition only: float islands and cut-outs are made of the file's own
nodes, to which every :class:`Step` leads back, since ONNX Runtime computes, for example,
QLinearSigmoid otherwise than DequantizeLinear, Sigmoid, QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from onnx import helper

from bitbybit.model.graph import Graph, Node, declared_dtype, declared_shape
from bitbybit.model.onnx_file import wrong
from bitbybit.model.operators import OPERATORS, Operator, computes_on_codes
from bitbybit.model.parameters import No, bias_params, check_channels, same_params
from bitbybit.model.types import QuantizedTensor, QuantParams
from bitbybit.text import shortened

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, eq=False)
class Step:
    """A node of the rewritten graph.

    Attributes
    ----------
    op : operator of the ONNX domain, or of another one if it has no twin there
    inputs, outputs : tensors
    node : the node of the file that it stands for, with its attributes
    params : of QuantizeLinear and DequantizeLinear
    why : what keeps the node from being an integer layer, if that is already known
    on_codes : whether it reads codes where the file has their real view
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    node: Node
    params: QuantParams | None = field(default=None, kw_only=True)
    why: No | None = field(default=None, kw_only=True)
    on_codes: bool = field(default=False, kw_only=True)

    def input(self, position: int) -> str:
        """Return the name of an input, "" where it is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""


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
    shape_tensors : tensors that carry shapes, not data: made by Shape and computed from that
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = graph.constants
        self.quantized = any(computes_on_codes(node.op) for node in graph.nodes)
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
        self._new: dict[str, QuantizedTensor] = {}
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

    def is_constant(self, name: str) -> bool:
        """Tell whether the file fixes the values of a tensor."""
        return name in self._new or name in self.constants

    def constant(self, name: str) -> QuantizedTensor | None:
        """Return a constant, None if ``name`` is none."""
        return self._new.get(name) or self.constants.get(name)

    def value(self, name: str) -> Value | None:
        """Return what a tensor stands for, None for constants and absent inputs."""
        name = self.resolve(name)
        if not name or self.is_constant(name):
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
        return known is not None and same_params(known, params)

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
        self._new.update(patch.constants)
        self._same.update(patch.same)
        for step in patch.steps:
            self.steps.append(step)
            self.maker.update((name, step) for name in step.outputs if name)
            for name in step.inputs:
                if name:
                    self.readers.setdefault(name, []).append(step)


Rule = Callable[[View, Step], Patch | None]


def rewritten(graph: Graph) -> View:
    """Return the graph in the form that matchers read."""
    view, constants = View(graph), graph.constants
    for node in graph.nodes:
        if node.index in constants.nodes:
            continue
        inputs = tuple(view.resolve(name) for name in node.inputs)
        step = Step(node.op, inputs, node.outputs, node)
        patches = (rule(view, step) for rule in RULES)
        patch = next((p for p in patches if p is not None), None)
        view.apply(patch or Patch((step,)))
        data = [n for n in node.inputs if n and n not in constants]
        if node.op in ("Shape", "Size") or (data and view.shape_tensors.issuperset(data)):
            view.shape_tensors.update(node.outputs)
    made = {name: _constant_output(view, name) for name in graph.outputs if view.is_constant(name)}
    view.outputs = [made.get(name, name) for name in graph.outputs]
    return view


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


def legalise(view: View, step: Step) -> Patch | None:
    """QLinearX := DequantizeLinear per operand, X, QuantizeLinear."""
    node, row = step.node, OPERATORS.get(step.op)
    if row is None or not row.twin or node.domain not in row.domains or row.most_inputs is None:
        return None
    read: dict[int, QuantParams] = {}
    for position in (p for p in row.values if row.operand(p) is not None):
        params = _operand(view, step, row, position)
        if isinstance(params, No):
            return _refused(view, step, row, params)
        read[position] = params
    y = _output(view, step, row)
    if isinstance(y, No):
        return _refused(view, step, row, y)
    first = {step.input(p): read[p] for p in reversed(read)}
    if not all(same_params(read[p], first[step.input(p)]) for p in read):
        return _refused(view, step, row, _OTHERWISE)
    wishes = (f"{node.outputs[0]}/{row.inputs[p]}" for p in row.values)
    names = dict(zip(row.values, map(view.fresh, wishes), strict=True))
    constants = _constants(view, step, row, read)
    inputs = tuple(names[p] if p in constants or p in read else step.input(p) for p in row.values)
    real = {names[p]: step.input(p) for p in read if p not in constants}
    steps = [
        Step(DEQUANTIZE, (step.input(p),), (names[p],), node, params=read[p])
        for p in read
        if p not in constants
    ]
    made = view.fresh(f"{node.outputs[0]}/real")
    steps.append(Step(row.twin, inputs, (made,), node))
    steps.append(Step(QUANTIZE, (made,), (node.outputs[0],), node, params=y))
    return Patch(
        tuple(steps),
        codes={step.input(p): read[p] for p in read if p not in constants} | {node.outputs[0]: y},
        real=real,
        constants={names[p]: constant for p, constant in constants.items()},
    )


_OTHERWISE = No("it reads its input with another scale or zero point than it was written with")


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
                raise wrong(
                    step.node.where, "the bias has a wrong type", "int32", codes.dtype, next_step
                )
            x, weight = read.values()
            found[position] = QuantizedTensor(name, codes, bias_params(x, weight))
    return found


def _operand(view: View, step: Step, row: Operator, position: int) -> QuantParams | No:
    """Return the parameters of an operand, if they are those of its codes."""
    operand, name = row.operand(position), step.input(position)
    if operand is None or operand.scale is None or operand.zero_point is None:
        return No("it has no scale for each of its inputs")
    constant = view.constants.plain(name)
    weight = position == row.weight
    axis = 1
    if weight:
        axis = 0 if step.node.int("transB", 0) else row.weight_axis or 0
        if constant is None:
            return No("its weights are not constants")
        if constant.ndim <= axis:
            return No(f"its weights have {constant.ndim} dimensions")
    elif constant is not None:
        return No("one of its inputs is a constant")
    elif name not in view.codes:
        return No("its input is not an integer tensor that another layer makes")
    dtype = view.dtypes.get(name) if constant is None else constant.dtype
    node = step.node
    params = view.constants.params(node, operand.scale, operand.zero_point, dtype, axis)
    if isinstance(params, No) or weight:
        return params
    return _bound(view, name, params)


def _bound(view: View, codes: str, params: QuantParams) -> QuantParams | No:
    """Return the parameters with which codes are read, if they are those of the codes."""
    known = view.codes[codes]
    if known is None or same_params(known, params):
        return known or params  # the names are those of the writer
    return _OTHERWISE


def _output(view: View, step: Step, row: Operator) -> QuantParams | No:
    """Return the parameters of the output; without zero point its codes have the input's type."""
    made, node = row.output, step.node
    if made is None or made.scale is None or made.zero_point is None:
        return No("its output has no scale")
    if not node.input(made.scale) or (row.name == "QGemm" and not node.input(made.zero_point)):
        return No("its output is float: it has no output scale or zero point")
    first = view.resolve(node.input(row.data[0]))
    dtype = None if node.input(made.zero_point) else view.dtypes.get(first)
    return view.constants.params(node, made.scale, made.zero_point, dtype, 1)


def _refused(view: View, step: Step, row: Operator, why: No) -> Patch:
    """Leave a QLinear operator as it is; its output are codes all the same."""
    y = _output(view, step, row)
    codes = {} if isinstance(y, No) else {step.outputs[0]: y}
    return Patch((Step(step.op, step.inputs, step.outputs, step.node, why=why),), codes=codes)


def concatenate(view: View, step: Step) -> Patch | None:
    """Leave QLinearConcat, whose operands are repeated; its output are codes."""
    row = OPERATORS.get(step.op)
    if row is None or not row.twin or step.node.domain not in row.domains:
        return None
    return _refused(view, step, row, No(f"{step.op} is no integer layer of the contract"))


def quantize(view: View, step: Step) -> Patch | None:
    """Q of DQ with equal parameters := the codes; a second equal Q := the first."""
    if step.op != QUANTIZE:
        return None
    source, output = step.inputs[0], step.outputs[0]
    params = view.constants.linear(step.node, None, view.ranks.get(source))
    if isinstance(params, No):
        return Patch((_why(step, params),))
    codes = view.real.get(source)
    if codes is not None and view.equal_codes(codes, params):
        # codes that were moved have no tensor in the file until one is quantized again
        moved = view.file_names.get(codes) == source
        return Patch(same={output: codes}, file_names={codes: output} if moved else {})
    for other in view.readers.get(source, []):
        if other.op == QUANTIZE and view.equal_codes(other.outputs[0], params):
            return Patch(same={output: other.outputs[0]})
    why = None
    if codes is not None:
        why = No("it goes from one scale to another without an operator between")
    elif source in view.codes:
        why = No("it quantizes integers")
    elif view.is_constant(source):
        why = No("it quantizes a constant that is not float32")
    return Patch((_why(step, why, params),), codes={output: params})


def dequantize(view: View, step: Step) -> Patch | None:
    """DQ of codes makes their real view."""
    if step.op != DEQUANTIZE:
        return None
    source, output = step.inputs[0], step.outputs[0]
    constant = view.constant(source)
    if constant is not None:  # not folded: its parameters say why
        shape = constant.values.shape
        params = view.constants.linear(step.node, constant.values.dtype, len(shape))
        why = params if isinstance(params, No) else No(f"its codes are {constant.values.dtype}")
        return Patch((_why(step, why),))
    if source not in view.codes:
        why = No("it dequantizes no 8 or 16-bit tensor that a layer makes")
        return Patch((_why(step, why),))
    rank = view.ranks.get(source)
    params = view.constants.linear(step.node, view.dtypes.get(source), rank)
    if not isinstance(params, No):
        params = _bound(view, source, params)
    if isinstance(params, No):
        return Patch((_why(step, params),))
    return Patch((_why(step, None, params),), codes={source: params}, real={output: source})


def _why(step: Step, why: No | None, params: QuantParams | None = None) -> Step:
    return Step(step.op, step.inputs, step.outputs, step.node, why=why, params=params)


def move(view: View, step: Step) -> Patch | None:
    """DQ, Move := Move, DQ: dequantization works element by element.

    It commutes with an operator that only picks elements (MaxPool too: the scale is positive).
    """
    row = OPERATORS.get(step.op)
    if row is None or not row.keeps or step.node.domain not in row.domains:
        return None
    source, output = step.inputs[0], step.outputs[0]
    value = view.value(source)
    why = _unmovable(view, step, row, value)
    params = view.codes.get(value.edge) if value is not None else None
    if value is None or why is not None or value.kind == "float":
        kept = value is not None and value.kind == "codes"
        return Patch((_why(step, why),), codes={output: params} if kept else {})
    if value.kind == "codes":
        return Patch((step,), codes={output: params})
    inputs = (value.edge, *step.inputs[1:])
    codes = view.fresh(f"{output}/codes")
    return Patch(
        (
            Step(step.op, inputs, (codes,), step.node, on_codes=True),
            Step(DEQUANTIZE, (codes,), (output,), _origin(view, source), params=params),
        ),
        codes={codes: params},
        real={output: codes},
        file_names={codes: output},
    )


def _origin(view: View, real: str) -> Node:
    """Return the DequantizeLinear of the file behind a real view."""
    return view.maker[real].node


def _unmovable(view: View, step: Step, row: Operator, value: Value | None) -> No | None:
    """Say why an operator that moves elements cannot work on codes."""
    op = step.op
    if value is None:
        return No(f"{op} works on a constant")
    if any(name and not view.is_constant(name) for name in step.inputs[1:]):
        return No(f"{op} depends on values that are not constants")
    if step.node.inputs[0] in view.shape_tensors:
        return No(f"{op} computes a shape")
    if any(step.outputs[1:]):
        return No(f"{op} has more than one output")
    if value.kind == "float":
        ours = not view.quantized and row.keeps == "order"
        return None if ours else No(f"{op} works on float values here")
    params = view.codes.get(value.edge)
    if params is not None and params.axis is not None:
        return No(f"{op} moves a tensor with one scale per channel")
    if view.graph.file.opsets[""] < row.codes_since:
        return No(f"{op} takes no integers in this opset")
    return None


def clip(view: View, step: Step) -> Patch | None:
    """Clip of codes keeps their scale: so a network with fewer bits saturates at its own rails."""
    if step.op != "Clip" or step.inputs[0] not in view.codes:
        return None
    return Patch((step,), codes={step.outputs[0]: view.codes[step.inputs[0]]})


RULES: tuple[Rule, ...] = (legalise, concatenate, quantize, dequantize, move, clip)
