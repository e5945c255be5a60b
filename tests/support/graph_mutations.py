"""Graphs changed at random: nodes, edges, tensors, names, subgraphs, and the fields of protobuf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.mutations import changed_bytes, not_utf8, pick

Rng = np.random.Generator
TEXTS = (
    "", "\x1b[2J\x1b]0;x\x07", "<script>alert(1)</script>", "\r=1+1", "../../etc/passwd", "\u202e",
    "a" * 5000, "名前", "%s%n", "x:0", "CON", "\n", '"', "stem", "\x00",
)  # fmt: skip
NUMBERS = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 7, 64, 255, 30_000, 2**31, 2**40, 2**62)
FLOATS = (0.0, -1.0, 1.0, np.nan, np.inf, -np.inf, 1e-45, 3e38, -0.0)
ATTRIBUTES = (
    "axis", "pads", "strides", "dilations", "group", "kernel_shape", "auto_pad", "ceil_mode",
    "perm", "alpha", "transB", "value", "to", "axes", "keepdims",
)  # fmt: skip
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "int64", "float16", "float64", "bool")
OPERATORS = (
    ("", "Conv"), ("", "Gemm"), ("", "MatMul"), ("", "Add"), ("", "Relu"), ("", "MaxPool"),
    ("", "AveragePool"), ("", "GlobalAveragePool"), ("", "Reshape"), ("", "Flatten"),
    ("", "Transpose"), ("", "Concat"), ("", "Clip"), ("", "Softmax"), ("", "Identity"),
    ("", "QuantizeLinear"), ("", "DequantizeLinear"), ("", "QLinearConv"), ("", "QLinearMatMul"),
    ("", "ConvInteger"), ("", "DynamicQuantizeLinear"), ("", "Cast"), ("", "Constant"),
    ("", "Shape"), ("", "If"), ("", "Loop"), ("", "Squeeze"), ("", "ReduceMean"), ("", "Pad"),
    ("com.microsoft", "QGemm"), ("com.microsoft", "QLinearAdd"), ("com.microsoft", "QLinearMul"),
    ("com.microsoft", "QLinearGlobalAveragePool"), ("com.microsoft", "QuantizeLinear"),
    ("nowhere", "Nothing"),
)  # fmt: skip


def changed_model(rng: Rng, data: bytes) -> bytes:
    """Change nodes, tensors, edges, shapes or versions of a serialized model."""
    model = onnx.ModelProto.FromString(data)
    for _ in range(int(rng.choice((1, 1, 1, 2, 3)))):
        pick(rng, CHANGES)(rng, model)
    return bytes(model.SerializeToString())


def _node(rng: Rng, model: onnx.ModelProto) -> onnx.NodeProto:
    nodes = model.graph.node
    found: onnx.NodeProto = pick(rng, nodes) if nodes else nodes.add()
    return found


def _names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    made = [name for node in graph.node for name in node.output]
    return [*made, *(t.name for t in graph.initializer), *(i.name for i in graph.input), ""]


def _remove_node(rng: Rng, model: onnx.ModelProto) -> None:
    if model.graph.node:
        del model.graph.node[int(rng.integers(len(model.graph.node)))]


def _double_node(rng: Rng, model: onnx.ModelProto) -> None:
    model.graph.node.add().CopyFrom(_node(rng, model))


def _move_node(rng: Rng, model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _rewire(rng: Rng, model: onnx.ModelProto) -> None:
    node = _node(rng, model)
    if node.input:
        node.input[int(rng.integers(len(node.input)))] = pick(rng, _names(model))


def _arity(rng: Rng, model: onnx.ModelProto) -> None:
    names = pick(rng, (_node(rng, model).input, _node(rng, model).output))
    if rng.random() < 0.5:
        names.extend(pick(rng, _names(model)) for _ in range(int(rng.integers(1, 5))))
    else:
        del names[int(rng.integers(len(names) + 1)) :]


def _rename_output(rng: Rng, model: onnx.ModelProto) -> None:
    node = _node(rng, model)
    if node.output:
        at = int(rng.integers(len(node.output)))
        node.output[at] = pick(rng, (*TEXTS, *_names(model)[-20:]))


def _operator(rng: Rng, model: onnx.ModelProto) -> None:
    node = _node(rng, model)
    node.domain, node.op_type = pick(rng, OPERATORS)


def _attribute(rng: Rng, model: onnx.ModelProto) -> None:
    node = _node(rng, model)
    if node.attribute and rng.random() < 0.6:
        found = pick(rng, node.attribute)
    else:
        found = node.attribute.add()
        found.name = pick(rng, ATTRIBUTES)
    kind = int(rng.integers(8))
    found.type = kind or int(rng.integers(15))
    found.i, found.f = int(pick(rng, NUMBERS)), float(pick(rng, FLOATS))
    found.ints[:] = [int(pick(rng, NUMBERS)) for _ in range(int(rng.integers(6)))]
    found.s = pick(rng, (b"SAME_UPPER", b"VALID", b"NOTSET", b"\xff", b""))


def _tensor(rng: Rng, model: onnx.ModelProto) -> TensorProto:
    tensors = model.graph.initializer
    found: TensorProto = pick(rng, tensors) if tensors else tensors.add()
    return found


def _tensor_type(rng: Rng, model: onnx.ModelProto) -> None:
    _tensor(rng, model).data_type = int(rng.integers(30))


def _tensor_shape(rng: Rng, model: onnx.ModelProto) -> None:
    found = _tensor(rng, model)
    kind = int(rng.integers(4))
    if kind == 0:
        found.dims[:] = [int(pick(rng, NUMBERS)) for _ in range(int(rng.integers(6)))]
    elif kind == 1:
        found.dims[:] = [1] * int(pick(rng, (65, 5000))) + list(found.dims)
    elif kind == 2:
        found.dims[:] = list(found.dims)[::-1]
    else:
        found.dims.append(int(pick(rng, (0, 1, 2))))


def _tensor_values(rng: Rng, model: onnx.ModelProto) -> None:
    found = _tensor(rng, model)
    kind = int(rng.integers(4))
    if kind == 0:
        found.raw_data = rng.bytes(len(found.raw_data))
    elif kind == 1:
        found.raw_data = found.raw_data[: int(rng.integers(len(found.raw_data) + 1))]
    elif kind == 2:
        _one_value(rng, model)
    else:
        found.float_data.extend([1.0] * int(rng.integers(4)))


def _external(rng: Rng, model: onnx.ModelProto) -> None:
    found = _tensor(rng, model)
    found.data_location = TensorProto.EXTERNAL
    places = ("/etc/passwd", "../x", "w.bin", "/dev/zero", ".", "", "\x00", "a/../../x")
    found.external_data.add(key="location", value=pick(rng, places))
    if rng.random() < 0.5:
        found.external_data.add(key="offset", value=str(pick(rng, NUMBERS)))
        found.external_data.add(key="length", value=str(pick(rng, (*NUMBERS, "x"))))


def _text(rng: Rng, model: onnx.ModelProto) -> None:
    thing = pick(rng, (_node(rng, model), _tensor(rng, model), model.graph, *model.graph.input))
    thing.name = pick(rng, TEXTS)


def _edge_shape(rng: Rng, model: onnx.ModelProto) -> None:
    graph = model.graph
    edges = [*graph.input, *graph.output, *graph.value_info]
    if not edges:
        return
    tensor = pick(rng, edges).type.tensor_type
    kind = int(rng.integers(4))
    if kind == 0:
        tensor.elem_type = int(rng.integers(25))
    elif kind == 1:
        tensor.ClearField("shape")
    elif kind == 2 or not tensor.shape.dim:
        tensor.shape.dim.add().dim_value = int(pick(rng, NUMBERS))
    else:
        dimension = pick(rng, tensor.shape.dim)
        if rng.random() < 0.5:
            dimension.dim_value = int(pick(rng, NUMBERS))
        else:
            dimension.dim_param = pick(rng, TEXTS)


def _ends(rng: Rng, model: onnx.ModelProto) -> None:
    graph = model.graph
    ends = pick(rng, (graph.input, graph.output))
    if ends and rng.random() < 0.4:
        del ends[int(rng.integers(len(ends)))]
    else:
        info = helper.make_tensor_value_info(pick(rng, _names(model)), int(rng.integers(1, 17)), [])
        ends.append(info)


def _versions(rng: Rng, model: onnx.ModelProto) -> None:
    kind = int(rng.integers(4))
    if kind == 0:
        model.ir_version = int(pick(rng, NUMBERS))
    elif kind == 1 and model.opset_import:
        pick(rng, model.opset_import).version = int(pick(rng, (*NUMBERS, 10, 13, 19, 21, 23)))
    elif kind == 2:
        del model.opset_import[:]
    else:
        domain = pick(rng, ("", "com.microsoft", "x"))
        model.opset_import.add(domain=domain, version=int(pick(rng, NUMBERS)))


def _identity(rng: Rng, model: onnx.ModelProto) -> None:
    node = _node(rng, model)
    if node.input:
        name = f"identity{int(rng.integers(9))}"
        source = node.input[0] if rng.random() < 0.8 else name
        model.graph.node.insert(0, helper.make_node("Identity", [source], [name]))
        node.input[0] = name


def _swap_inputs(rng: Rng, model: onnx.ModelProto) -> None:
    names = _node(rng, model).input
    if len(names) > 1:
        a, b = (int(i) for i in rng.choice(len(names), 2, replace=False))
        names[a], names[b] = names[b], names[a]


def _drop_tensor(rng: Rng, model: onnx.ModelProto) -> None:
    if model.graph.initializer:
        del model.graph.initializer[int(rng.integers(len(model.graph.initializer)))]


def _array(rng: Rng, model: onnx.ModelProto) -> tuple[TensorProto, Any]:
    """Return a tensor and its values, or zeros where it has none that can be read."""
    found = _tensor(rng, model)
    try:
        values = numpy_helper.to_array(found)
    except Exception:  # noqa: BLE001 (an earlier change broke it)
        values = np.zeros((2, 3), np.float32)
    return found, values if values.size < 1 << 22 else np.zeros((2, 3), np.float32)


def _set(found: TensorProto, values: Any) -> None:
    found.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), found.name))


def _other_dtype(rng: Rng, model: onnx.ModelProto) -> None:
    found, values = _array(rng, model)
    with np.errstate(all="ignore"):
        _set(found, values.astype(pick(rng, DTYPES), copy=False) if values.dtype != object else 0)


def _other_rank(rng: Rng, model: onnx.ModelProto) -> None:
    found, values = _array(rng, model)
    shapes = (values.reshape(-1), values[None], values[..., None], values.T, values.reshape(-1)[:0])
    _set(found, pick(rng, shapes))


def _repeat(rng: Rng, model: onnx.ModelProto) -> None:
    """Make parameters of one number parameters per channel, or others longer."""
    found, values = _array(rng, model)
    if values.size <= 4096:
        _set(found, np.repeat(values.reshape(-1), int(pick(rng, (0, 2, 3, 16, 64)))))
        axis = _node(rng, model).attribute.add()
        axis.name, axis.type, axis.i = "axis", onnx.AttributeProto.INT, int(rng.integers(-5, 5))


def _one_value(rng: Rng, model: onnx.ModelProto) -> None:
    found, values = _array(rng, model)
    values = values.copy().reshape(values.shape)
    if values.size and values.dtype.kind in "iuf":
        numbers = FLOATS if values.dtype.kind == "f" else (-129, -128, -1, 0, 1, 127, 255, 2**31)
        with np.errstate(all="ignore"):
            value = np.asarray(pick(rng, numbers)).astype(values.dtype)
        values.reshape(-1)[int(rng.integers(values.size))] = value
        if rng.random() < 0.3:
            values[...] = value
        _set(found, values)


def _cycle(rng: Rng, model: onnx.ModelProto) -> None:
    nodes = model.graph.node
    if len(nodes) > 1:
        a, b = sorted(int(i) for i in rng.choice(len(nodes), 2, replace=False))
        if nodes[a].input and nodes[b].output:
            nodes[a].input[int(rng.integers(len(nodes[a].input)))] = nodes[b].output[0]


def _subgraph(rng: Rng, model: onnx.ModelProto) -> None:
    """Put an operator with graphs inside before a node; they read what is outside."""
    outer = pick(rng, _names(model)) or "x"
    info = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", [outer], ["inner"])], "g", [], [info])
    for _ in range(int(pick(rng, (0, 0, 1, 5, 30)))):
        inner = helper.make_node("If", [outer], ["inner"], then_branch=graph, else_branch=graph)
        if inner.ByteSize() > 1 << 20:
            break
        graph = helper.make_graph([inner], "g", [], [info])
    name = f"sub{int(rng.integers(99))}"
    kinds = (
        helper.make_node("If", [outer], [name], then_branch=graph, else_branch=graph),
        helper.make_node("Loop", ["", outer, outer], [name], body=graph),
        helper.make_node("Scan", [outer], [name], body=graph, num_scan_inputs=1),
        helper.make_node("Conv", [outer, outer], [name], body=graph),
    )
    model.graph.node.insert(0, pick(rng, kinds))
    node = _node(rng, model)
    if node.input:
        node.input[0] = name


def _function(rng: Rng, model: onnx.ModelProto) -> None:
    """Define a function, which may call itself, and let a node call it."""
    node = _node(rng, model)
    body = [helper.make_node(pick(rng, ("Relu", "f", "Identity")), ["a"], ["b"], domain="")]
    body[0].domain = "own" if body[0].op_type == "f" else ""
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", "f", ["a"], ["b"], body, opsets))
    if rng.random() < 0.7:
        model.opset_import.add(domain="own", version=1)
    node.op_type, node.domain = "f", "own"


def _sparse(rng: Rng, model: onnx.ModelProto) -> None:
    found, values = _array(rng, model)
    made = model.graph.sparse_initializer.add()
    made.values.CopyFrom(numpy_helper.from_array(values.reshape(-1)[:9].copy(), found.name))
    places = np.arange(min(9, values.size), dtype=np.int64) * int(pick(rng, (1, 1, -1, 2**40)))
    made.indices.CopyFrom(numpy_helper.from_array(places, "i"))
    made.dims[:] = [int(pick(rng, NUMBERS))] if rng.random() < 0.3 else list(values.shape)
    if rng.random() < 0.5:
        model.graph.initializer.remove(found)


def _huge(rng: Rng, model: onnx.ModelProto) -> None:
    """Give a node attributes, inputs or outputs of absurd size."""
    node, kind = _node(rng, model), int(rng.integers(6))
    name = str(pick(rng, ATTRIBUTES))
    if kind == 0:
        node.attribute.append(helper.make_attribute(name, [1] * 200_000))
    elif kind == 1:
        node.attribute.append(helper.make_attribute(name, "x" * 500_000))
    elif kind == 2:
        value = TensorProto(data_type=TensorProto.FLOAT, dims=[2**31, 2**31])
        node.attribute.append(helper.make_attribute(name, value))
    elif kind == 3:
        node.input.extend([pick(rng, _names(model))] * 20_000)
    elif kind == 4:
        node.output.extend(f"more{i}" for i in range(20_000))
    else:
        node.attribute.extend([helper.make_attribute(name, i) for i in range(5000)])


def _hostile_names(rng: Rng, model: onnx.ModelProto) -> None:
    """Rename everything of one kind, or every edge: the graph stays what it was."""
    text, graph = pick(rng, TEXTS), model.graph
    if rng.random() < 0.4:
        for number, node in enumerate(graph.node):
            node.name = text if rng.random() < 0.1 else f"{text}{number}"
        return
    names = dict.fromkeys(name for node in graph.node for name in (*node.input, *node.output))
    new = {old: f"{text}{place}" if old else "" for place, old in enumerate(names)}
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [new[name] for name in ends]
    for thing in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        thing.name = new.get(thing.name, thing.name)


def _texts(rng: Rng, model: onnx.ModelProto) -> None:
    """Put hostile text where nobody names anything."""
    text = pick(rng, TEXTS)
    model.producer_name = model.producer_version = model.domain = model.doc_string = text
    model.graph.doc_string = _node(rng, model).doc_string = _tensor(rng, model).doc_string = text
    model.metadata_props.add(key=text, value=text)
    model.opset_import.add(domain=text, version=1)


def _between(rng: Rng, model: onnx.ModelProto) -> None:
    """Put an operator between two nodes; often the network stays a valid one."""
    node = _node(rng, model)
    if not node.input:
        return
    at, name = int(rng.integers(len(node.input))), f"between{int(rng.integers(999))}"
    source = node.input[at]
    axes, shape, low = (f"{name}/{part}" for part in ("axes", "shape", "low"))
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), key)
        for key, value in ((axes, np.array([0])), (shape, np.array([0, -1])), (low, np.float32(0)))
    )
    kinds = (
        helper.make_node("Transpose", [source], [name], perm=[0, 1, 3, 2]),
        helper.make_node("Transpose", [source], [name]),
        helper.make_node("Reshape", [source, shape], [name]),
        helper.make_node("Concat", [source, source], [name], axis=int(rng.integers(-4, 4))),
        helper.make_node("MaxPool", [source], [name], kernel_shape=[2, 2]),
        helper.make_node("MaxPool", [source], [name], kernel_shape=[3, 3], ceil_mode=1,
                         strides=[2, 2]),
        helper.make_node("Relu", [source], [name]),
        helper.make_node("Clip", [source, low], [name]),
        helper.make_node("Unsqueeze", [source, axes], [name]),
        helper.make_node("Cast", [source], [name], to=int(rng.integers(1, 17))),
        helper.make_node("Split", [source], [name, f"{name}/rest"], axis=1),
        helper.make_node("Shape", [source], [name]),
        helper.make_node("Neg", [source], [name]),
        helper.make_node("Flatten", [source], [name], axis=int(rng.integers(-5, 5))),
        helper.make_node("ReduceMean", [source], [name], axes=[2, 3]),
    )  # fmt: skip
    place = next(i for i, other in enumerate(model.graph.node) if other == node)
    node.input[at] = name
    model.graph.node.insert(place, pick(rng, kinds))


def _batch(rng: Rng, model: onnx.ModelProto) -> None:
    """Fix, open or break the first dimension of the inputs, and forget what follows from it."""
    size = int(pick(rng, (0, 1, 2, 3, 1000, 2**31, -1)))
    for edge in model.graph.input:
        if edge.type.tensor_type.shape.dim:
            edge.type.tensor_type.shape.dim[0].dim_value = size
    del model.graph.value_info[:]


def _more_outputs(rng: Rng, model: onnx.ModelProto) -> None:
    for _ in range(int(rng.integers(1, 4))):
        name = pick(rng, _names(model))
        model.graph.output.append(onnx.ValueInfoProto(name=name))


Change = Callable[[Rng, onnx.ModelProto], None]
CHANGES: tuple[Change, ...] = (
    _remove_node, _double_node, _move_node, _rewire, _rewire, _arity, _rename_output, _operator,
    _attribute, _attribute, _tensor_type, _tensor_shape, _tensor_values, _tensor_values, _external,
    _text, _edge_shape, _ends, _versions, _identity,
    _swap_inputs, _drop_tensor, _other_dtype, _other_dtype, _other_rank, _repeat, _repeat,
    _one_value, _one_value, _cycle, _subgraph, _function, _sparse, _huge, _hostile_names,
    _hostile_names, _texts, _between, _between, _between, _batch, _more_outputs,
)  # fmt: skip


def onnx_file(rng: Rng, data: bytes) -> bytes:
    """Change an ONNX file: structure (six of ten), fields, bytes, or the text of names."""
    kind = int(rng.integers(10))
    if kind < 6:
        return changed_model(rng, data)
    if kind < 8:
        return changed_fields(rng, data)
    return not_utf8(rng, data) if kind == 8 else changed_bytes(rng, data)


def changed_fields(rng: Rng, data: bytes) -> bytes:
    """Delete, double, move, renumber or refill a field of protobuf, at any depth."""
    fields = _fields(data)
    if not fields:
        return changed_bytes(rng, data)
    sizes = np.array([end - begin for begin, end, _ in fields], float)
    weights = np.full(len(fields), 1 / len(fields)) if rng.random() < 0.5 else sizes / sizes.sum()
    begin, end, inside = fields[int(rng.choice(len(fields), p=weights))]
    field, kind = data[begin:end], int(rng.integers(6))
    if inside and rng.random() < 0.8:
        content = changed_fields(rng, data[inside:end])
        changed = _varint(field[0]) + _varint(len(content)) + content if field[0] < 128 else field
    elif kind == 0:
        changed = b""
    elif kind == 1:
        changed = field * int(pick(rng, (2, 2, 3, 1000)))
    elif kind == 2:
        changed = _varint(int(rng.integers(1, 40)) << 3 | field[0] & 7) + field[1:]
    elif kind == 3:
        changed = _varint(field[0] & 0x78) + _varint(int(pick(rng, NUMBERS)) % 2**64)
    elif kind == 4:
        content = pick(rng, (rng.bytes(5), b"", b"\xff\xfe", data[:200], "\u202e=1+1".encode()))
        changed = _varint(field[0] & 0x78 | 2) + _varint(len(content)) + content
    else:
        other = pick(rng, fields)
        changed = field + data[other[0] : other[1]]
    return data[:begin] + changed + data[end:]


def _varint(number: int) -> bytes:
    parts = []
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _fields(data: bytes) -> list[tuple[int, int, int]]:
    """Return begin, end and where the content begins (0: no bytes) of the fields of a message."""
    found, at = [], 0
    while at < len(data):
        begin = at
        key, at = _read_varint(data, at)
        kind, inside = key & 7, 0
        if kind == 0:
            _, at = _read_varint(data, at)
        elif kind == 2:
            length, inside = _read_varint(data, at)
            at = inside + length
        else:
            at += {1: 8, 5: 4}.get(kind, len(data) + 1)
        if at > len(data) or not key >> 3:
            return []
        found.append((begin, at, inside))
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(data[at : at + 10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, at + place + 1
    return 0, len(data) + 1
