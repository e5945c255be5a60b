"""Files changed at random: bytes, the structure of a graph, the opcodes of a pickle, arrays."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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


def pick(rng: Rng, items: Any) -> Any:
    """Return one of the items."""
    return items[int(rng.integers(len(items)))]


def changed_bytes(rng: Rng, data: bytes) -> bytes:
    """Overwrite, cut, double or insert some bytes."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        at = int(rng.integers(len(changed) + 1))
        kind, length = int(rng.integers(6)), int(rng.integers(1, 40))
        if kind <= 2 and at < len(changed):
            changed[at] = int(rng.integers(256)) if kind else changed[at] ^ 1 << rng.integers(8)
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length]
        elif rng.random() < 0.3:
            del changed[at:]
        else:
            changed[at:at] = rng.bytes(length)
        if not changed:
            return b""
    return bytes(changed)


def not_utf8(rng: Rng, data: bytes) -> bytes:
    """Break the text of some names, whose length stays."""
    changed = bytearray(data)
    letters = [i for i, byte in enumerate(data) if 97 <= byte <= 122]
    for _ in range(int(rng.integers(1, 6))):
        if letters:
            changed[pick(rng, letters)] = int(pick(rng, (0xFF, 0xC0, 0xED, 0x80, 0, 27)))
    return bytes(changed)


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
    elif found.data_type == TensorProto.FLOAT and kind == 2:
        values = numpy_helper.to_array(found).copy().reshape(-1)
        if values.size and values.dtype == np.float32:
            values[int(rng.integers(values.size))] = float(pick(rng, FLOATS))
            found.raw_data = values.tobytes()
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


Change = Callable[[Rng, onnx.ModelProto], None]
CHANGES: tuple[Change, ...] = (
    _remove_node, _double_node, _move_node, _rewire, _rewire, _arity, _rename_output, _operator,
    _attribute, _attribute, _tensor_type, _tensor_shape, _tensor_values, _tensor_values, _external,
    _text, _edge_shape, _ends, _versions, _identity,
)  # fmt: skip


def onnx_file(rng: Rng, data: bytes) -> bytes:
    """Change an ONNX file: structure (three of five), bytes, or the text of names."""
    kind = int(rng.integers(10))
    if kind < 6:
        return changed_model(rng, data)
    return not_utf8(rng, data) if kind == 6 else changed_bytes(rng, data)


GLOBALS = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"csubprocess\nPopen\n", b"ctorch\nload\n",
    b"cbuiltins\ngetattr\n", b"ccollections\nOrderedDict\n", b"c_codecs\nencode\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_qtensor\n",
    b"cbuiltins\nset\n", b"cfunctools\npartial\n", b"ctorch.nn.modules.conv\nConv2d\n",
)  # fmt: skip
CALLS = (b")R", b"", b"(tR", b")\x81", b"Nb")
OPCODES = (
    b"N", b"h\x00", b"G\x7f\xf8" + bytes(6), b"K\xff", b"J\xff\xff\xff\xff",
    b"\x8a\x09" + b"\x7f" * 9, b"]", b"}", b"(", b"t", b"R", b"b", b"0",
)  # fmt: skip


def pickle_file(rng: Rng, data: bytes) -> bytes:
    """Change a ``.pt`` file: its pickle opcode by opcode with a fitting checksum, or its bytes."""
    if rng.random() < 0.25:
        return changed_bytes(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, record in records.items():
            changed = _changed_pickle(rng, record) if name.endswith(".pkl") else record
            archive.writestr(name, changed)
    return made.getvalue()


def _changed_pickle(rng: Rng, data: bytes) -> bytes:
    try:
        places = [at for *_, at in pickletools.genops(data) if at is not None]
    except ValueError:
        return changed_bytes(rng, data)
    parts = [data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]
    for _ in range(int(rng.choice((1, 1, 1, 2, 4)))):
        at, other = (int(i) for i in rng.integers(len(parts), size=2))
        kind = int(rng.integers(6))
        if kind == 0:
            parts[at] = parts[other]
        elif kind == 1:
            parts.insert(at, parts[other])
        elif kind == 2 and len(parts) > 2:
            del parts[at]
        elif kind == 3:
            parts[at] = changed_bytes(rng, parts[at])
        elif kind == 4:
            parts.insert(at, pick(rng, GLOBALS) + pick(rng, CALLS))
        else:
            parts[at] = pick(rng, OPCODES)
    return b"".join(parts)


def arrays_file(rng: Rng, arrays: dict[str, Any]) -> bytes:
    """Change named arrays and write them as ``.npz``: names, types, shapes, values, bytes."""
    made = dict(arrays)
    for _ in range(int(rng.integers(1, 3))):
        name = str(pick(rng, list(made))) if made else ""
        kind = int(rng.integers(7))
        if not made or kind == 0 or made[name].dtype == object:
            made[pick(rng, ("x", "no such name", "a/b", "\x1b[2J"))] = np.zeros(3)
        elif kind == 1:
            made[pick(rng, ("other", "y", f"{name}:0"))] = made.pop(name)
        elif kind == 2:
            types = (np.int8, np.uint8, np.int32, np.float16, np.float64, np.complex64, np.bool_)
            with np.errstate(invalid="ignore"):
                made[name] = made[name].astype(pick(rng, types))
        elif kind == 3:
            made[name] = made[name].reshape(-1)[: int(rng.integers(4))]
        elif kind == 4 and made[name].ndim:
            made[name] = made[name][None] if rng.random() < 0.5 else made[name][:0]
        elif kind == 5:
            made[name] = np.array(["text", None], dtype=object)
        else:
            del made[name]
    file = io.BytesIO()
    np.savez(file, **made)
    return changed_bytes(rng, file.getvalue()) if rng.random() < 0.2 else file.getvalue()
