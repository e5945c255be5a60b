"""Check an accumulator certificate with NumPy and onnx alone: CERTIFICATE.json MODEL.onnx."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx

record, file = json.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
same = record["model"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
wrong = [] if same and record["version"] == 1 else ["another model, or another version"]
graph = onnx.load(file).graph
held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
constants = [n for n in graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"]
held |= {n.output[0]: onnx.numpy_helper.to_array(n.attribute[0].t) for n in constants}
maker = {output: node for node in graph.node for output in node.output}
ON_CODES = {"QLinearConv": (3, 5, 8), "QLinearMatMul": (3, 5), "QGemm": (3, 5, 6)}  # w, w_zp, bias
SUMS = {*ON_CODES, "Conv", "Gemm", "MatMul", "GlobalAveragePool", "QLinearGlobalAveragePool"}
needed = [tensor.name for tensor in graph.output]
for tensor in needed:  # it grows: what no output needs is no part of the network
    needed += [name for name in getattr(maker.get(tensor), "input", ()) if name not in needed]
nodes = {n.name: n for n in graph.node if n.op_type in SUMS and n.output[0] in needed}
if sorted(nodes) != sorted(layer["node"] for layer in record["layers"]):
    wrong.append("the nodes that sum integers are others")


def faults(layer):
    """Yield what is wrong with one layer of the certificate."""
    node, name = nodes[layer["node"]], layer["layer"]
    if node.op_type.startswith("Q"):  # it reads x, x_scale, x_zero_point, ...
        used = [node.input[place] for place in (2, *ON_CODES.get(node.op_type, ()))]
    else:  # each of its inputs is a DequantizeLinear of codes, scale, zero point
        x, *more = (maker[tensor].input for tensor in node.input)
        used = [x[2], *(t for w in more[:1] for t in (w[0], w[2])), *(b[0] for b in more[1:])]
    x_zero, w, w_zero, bias = (held.get(tensor) for tensor in [*used, "", "", ""][:4])
    if w is None:  # a pool adds up its pixels
        w = np.array([[layer["products"]]])
    elif w.ndim == 2 and not any(flag.name == "transB" and flag.i for flag in node.attribute):
        w = w.T
    w = w.reshape(len(w), -1).astype(int)
    w = w if w_zero is None else w - w_zero.astype(int).reshape(-1, 1)
    b = np.zeros(len(w), int) if bias is None else bias.astype(int)
    codes, zero = np.iinfo(x_zero.dtype), int(x_zero)
    ends = w * (codes.min - zero), w * (codes.max - zero)  # each product at both ends
    low, high = b + np.minimum(*ends).sum(axis=1), b + np.maximum(*ends).sum(axis=1)
    bound = abs(b) + np.maximum(*map(abs, ends)).sum(axis=1)
    for key, right in (("low", low), ("high", high), ("weights", bound)):
        if layer[key] != right.tolist():
            yield f"{name}: {key} is not what the weights give"
    for end, best in (("low", low.min()), ("high", high.max())):
        witness = layer["witness"][end]
        x = np.frombuffer(bytes.fromhex(witness["codes"]), x_zero.dtype.newbyteorder("<"))
        total = b[witness["channel"]] + (w[witness["channel"]] * (x.astype(int) - zero)).sum()
        if total != witness["value"] or (total != best and not witness["padded"]):
            yield f"{name}: its witness {end} gives {total}"


for layer in [] if wrong else record["layers"]:
    try:
        wrong += faults(layer)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # no zero point, groups
        wrong.append(f"{layer['layer']}: not checked, this program does not read such a node")
print("\n".join(wrong) or f"{len(record['layers'])} layers: all bounds and witnesses hold")
sys.exit(bool(wrong))
