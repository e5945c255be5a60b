"""Operators without weights against ONNX Runtime: all codes and pairs, ties, windows, modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from bitbybit import arithmetic
from bitbybit.arithmetic import OperandError
from bitbybit.errors import UnsupportedError
from bitbybit.execution.sessions import Session
from tests.support.runtime import identical, on_contract_platform

INT8, UINT8 = np.dtype(np.int8), np.dtype(np.uint8)
Params = tuple[Any, Any]
ONE = np.ones(1, np.int8)


def between(
    op: str,
    inputs: list[tuple[NDArray[Any], Params]],
    y: Params,
    constants: tuple[NDArray[Any] | None, ...] = (),
    opset: int = 17,
    **attributes: Any,
) -> NDArray[Any]:
    """Run DequantizeLinear, an operator, QuantizeLinear in ONNX Runtime."""
    nodes, infos, names = [], [], []
    stored: list[onnx.TensorProto] = []

    def store(stem: str, params: Params) -> list[str]:
        found = [f"{stem}_scale", f"{stem}_zero"]
        stored.extend(
            numpy_helper.from_array(np.asarray(v), n) for n, v in zip(found, params, strict=True)
        )
        return found

    for i, (codes, params) in enumerate(inputs):
        kind = helper.np_dtype_to_tensor_dtype(codes.dtype)
        infos.append(helper.make_tensor_value_info(f"x{i}", kind, codes.shape))
        names.append(f"real{i}")
        nodes.append(
            helper.make_node("DequantizeLinear", [f"x{i}", *store(f"x{i}", params)], [f"real{i}"])
        )
    for i, values in enumerate(constants):
        names.append("" if values is None else f"c{i}")
        if values is not None:
            stored.append(numpy_helper.from_array(values, f"c{i}"))
    nodes.append(helper.make_node(op, names, ["real"], **attributes))
    nodes.append(helper.make_node("QuantizeLinear", ["real", *store("y", y)], ["y"]))
    kind = helper.np_dtype_to_tensor_dtype(np.asarray(y[1]).dtype)
    out = helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph(nodes, "one", infos, [out], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    given = {f"x{i}": codes for i, (codes, _) in enumerate(inputs)}
    return Session(model.SerializeToString()).run(given)[0]


def every_code(dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return all 256 codes."""
    info = np.iinfo(dtype.name)
    return np.arange(info.min, info.max + 1).astype(dtype)


def drawn(
    rng: np.random.Generator, dtype: np.dtype[Any], low: float = -8, high: float = 0
) -> Params:
    """Return a scale and a zero point."""
    return np.float32(2 ** rng.uniform(low, high)), rng.choice(every_code(dtype))


FUNCTIONS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "Identity": ((), {}),
    "Relu": ((), {}),
    "Clip": ((np.float32(-0.7), np.float32(1.3)), {}),
    "LeakyRelu": ((), {"alpha": 0.1}),
    "Sigmoid": ((), {}),
    "HardSigmoid": ((), {"alpha": 0.25, "beta": 0.5}),
    "HardSwish": ((), {}),
    "Tanh": ((), {}),
}


@on_contract_platform
@pytest.mark.parametrize("op", FUNCTIONS)
def test_a_function_of_every_code(op: str) -> None:
    rng = np.random.default_rng(3)
    limits, attributes = FUNCTIONS[op]
    own: dict[str, Any] = dict(zip(("min", "max"), map(float, limits), strict=False))
    own |= attributes
    for k in range(24):
        x_type, y_type = ((INT8, INT8), (UINT8, UINT8), (UINT8, INT8), (INT8, UINT8))[k % 4]
        x, y = drawn(rng, x_type), drawn(rng, y_type, -9, -3)
        y = (np.float32(1 / 256), y[1]) if k % 3 == 0 else y
        codes = every_code(x_type)[: 256 - k]  # other lengths reach the scalar ends of loops
        theirs = between(op, [(codes, x)], y, tuple(map(np.asarray, limits)), **attributes)
        assert identical(arithmetic.lookup(codes, x[0], x[1], y[0], y[1], op, **own), theirs)


@on_contract_platform
def test_every_product() -> None:
    rng = np.random.default_rng(4)
    for k in range(40):
        dtype = (INT8, UINT8)[k % 2]
        a, b = np.meshgrid(every_code(dtype), every_code(dtype))
        (p, q), r = (drawn(rng, dtype) for _ in range(2)), drawn(rng, dtype)
        if k % 3 == 0:
            r = (np.float32(p[0] * q[0] * 200), r[1])
        if k % 10 == 0:  # beyond int32, and beyond float32
            r = (np.float32((1e-9, 1e-30, 1e-38)[k // 10 % 3]), r[1])
        theirs = between("Mul", [(a, p), (b, q)], r)
        assert identical(arithmetic.qlinear_mul(a, *p, b, *q, *r), theirs)


@on_contract_platform
@pytest.mark.parametrize("shapes", [((2, 5, 4, 3), (2, 5, 1, 1)), ((1, 1), (2, 3, 4)), ((4,), ())])
def test_a_product_repeats_either_side(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes)
    p, q, r = (drawn(rng, INT8) for _ in range(3))
    for first, second in (((a, p), (b, q)), ((b, q), (a, p))):
        theirs = between("Mul", [first, second], r)
        own = arithmetic.qlinear_mul(first[0], *first[1], second[0], *second[1], *r)
        assert identical(own, theirs)


@on_contract_platform
def test_every_code_side_by_side() -> None:
    rng = np.random.default_rng(6)
    for k in range(40):
        dtype = (INT8, UINT8)[k % 2]
        codes = every_code(dtype).reshape(1, 1, 16, 16)
        params = [drawn(rng, dtype) for _ in range(4)]
        params[3] = params[k % 3] if k % 4 == 0 else params[3]
        parts = [(codes, p) for p in params[:3]]
        theirs = between("Concat", parts, params[3], axis=1 - 4 * (k % 2))
        own = arithmetic.qlinear_concat(*params[3], [(c, *p) for c, p in parts], axis=1)
        assert identical(own, theirs)


def windows(rng: np.random.Generator) -> dict[str, Any]:
    """Return the attributes of a pool."""
    kernel = rng.integers(1, 4, 2).tolist()
    return {
        "kernel_shape": kernel,
        "strides": rng.integers(1, 4, 2).tolist(),
        "pads": [int(rng.integers(0, size)) for size in kernel + kernel],
        "ceil_mode": int(rng.random() < 0.4),
    }


@on_contract_platform
def test_pools() -> None:
    rng = np.random.default_rng(7)
    for k in range(120):
        dtype = (INT8, UINT8)[k % 2]
        window, x = windows(rng), drawn(rng, dtype)
        size = (2, 3, *rng.integers(3, 9, 2).tolist())
        codes = rng.choice(every_code(dtype), size)
        largest = between("MaxPool", [(codes, x)], x, **window)
        assert identical(arithmetic.max_pool(codes, **window), largest)
        # one zero point and half the scale: every second mean is a tie
        y = ((x[0], x[1]), (x[0] / np.float32(2), x[1]), drawn(rng, dtype))[k % 3]
        y = (np.float32(1e-30), x[1]) if k % 20 == 0 else y
        window["count_include_pad"] = k // 2 % 2
        theirs = between("AveragePool", [(codes, x)], y, **window)
        assert identical(arithmetic.qlinear_average_pool(codes, *x, *y, **window), theirs)


@on_contract_platform
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [0, 0, 0, 1]])
def test_a_window_of_the_whole_image(pads: list[int]) -> None:
    """Without pads ONNX Runtime sums integers, so that ties end otherwise."""
    rng = np.random.default_rng(12)
    found = 0
    for size in (2, 4, 8, 16):
        window: dict[str, Any] = {"kernel_shape": [size, size], "pads": pads}
        codes = rng.integers(0, 256, (50, 40, size, size)).astype(np.uint8)
        x = drawn(rng, UINT8)
        theirs = between("AveragePool", [(codes, x)], x, **window)
        assert identical(arithmetic.qlinear_average_pool(codes, *x, *x, **window), theirs)
        real = arithmetic.dequantize_linear(codes, *x).mean((2, 3), dtype=np.float32)
        found += int(np.count_nonzero(arithmetic.quantize_linear(real, *x) != theirs[..., 0, 0]))
    assert found


@on_contract_platform
def test_a_dilated_window() -> None:
    codes = np.random.default_rng(8).integers(-128, 128, (1, 2, 9, 8)).astype(np.int8)
    window: dict[str, Any] = {
        "kernel_shape": [2, 3],
        "dilations": [3, 2],
        "pads": [1, 2, 0, 1],
        "strides": [2, 1],
    }
    params = (np.float32(0.1), np.int8(3))
    theirs = between("MaxPool", [(codes, params)], params, **window)
    assert identical(arithmetic.max_pool(codes, **window), theirs)


@on_contract_platform
def test_softmax() -> None:
    """Ties too: two equal terms of a scale of 1/127 give 63.5 each."""
    rng = np.random.default_rng(9)
    for k in range(150):
        dtype = (INT8, UINT8)[k % 2]
        size, axis = tuple(rng.integers(2, 12, 3).tolist()), int(rng.integers(-3, 3))
        spread = (10, 255)[k // 2 % 2]
        top = np.iinfo(dtype.name).max
        codes = rng.integers(top - spread, top + 1, size).astype(dtype)
        x = drawn(rng, dtype, -9, 1)
        y = (np.float32(1 / (256, 255, 127)[k % 3]), drawn(rng, dtype)[1])
        theirs = between("Softmax", [(codes, x)], y, axis=axis)
        assert identical(arithmetic.qlinear_softmax(codes, *x, *y, axis=axis), theirs)
        if k % 10 == 0:
            theirs = between("Softmax", [(codes, x)], y, opset=11, axis=axis)
            assert identical(arithmetic.qlinear_softmax(codes, *x, *y, axis=axis, opset=11), theirs)


def test_softmax_refuses_what_overflows() -> None:
    x, zero = np.zeros((2, 1), np.int8), np.int8(0)
    with pytest.raises(UnsupportedError, match="overflow"):
        arithmetic.qlinear_softmax(x, 0.1, zero, 1 / 256, zero)
    with pytest.raises(OperandError, match="no such axis"):
        arithmetic.qlinear_softmax(x, 0.1, zero, 1 / 256, zero, axis=2)


@on_contract_platform
def test_means_of_images() -> None:
    """Every size from 1 to 70 pixels: all ways to begin and end a register."""
    rng = np.random.default_rng(10)
    for k, pixels in enumerate((*range(1, 71), 196, 784)):
        dtype = (INT8, UINT8)[k % 2]
        codes = rng.choice(every_code(dtype), (3, 8, pixels, 1))
        x = drawn(rng, dtype)
        y = (x[0] / np.float32(8), drawn(rng, dtype)[1])  # so that a last bit shows
        for keepdims in (0, 1):
            theirs = between("ReduceMean", [(codes, x)], y, axes=[2, 3], keepdims=keepdims)
            assert identical(arithmetic.reduce_mean(codes, *x, *y, keepdims=keepdims), theirs)


def test_a_mean_that_depends_on_the_batch_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="place in the batch"):
        arithmetic.reduce_mean(np.zeros((1, 3, 7, 7), np.int8), 1, np.int8(0), 1, np.int8(0))


@on_contract_platform
@pytest.mark.parametrize(
    ("op", "constants", "attributes", "own"),
    [
        ("Transpose", [], {"perm": [0, 2, 3, 1]}, {"perm": [0, 2, 3, 1]}),
        ("Transpose", [], {}, {}),
        ("Slice", [[1, -3], [2**31 - 1, -1]], {}, {"starts": [1, -3], "ends": [2**31 - 1, -1]}),
        ("Slice", [[0, -1], [9, -9], [1, 3], [2, -2]], {},
         {"starts": [0, -1], "ends": [9, -9], "axes": [1, 3], "steps": [2, -2]}),
        ("Slice", [[6], [-(2**31)], [-2], [-3]], {},
         {"starts": [6], "ends": [-(2**31)], "axes": [-2], "steps": [-3]}),
        ("Pad", [[0, 1, 2, 0, 0, 0, 1, 3]], {},
         {"pads": [0, 1, 2, 0, 0, 0, 1, 3], "constant_value": 7}),
        ("Pad", [[0, 0, 2, 1, 0, 0, 1, 3]], {"mode": "edge"},
         {"pads": [0, 0, 2, 1, 0, 0, 1, 3], "mode": "edge", "constant_value": 7}),
        ("Pad", [[0, 0, 2, 1, 0, 0, 1, 3]], {"mode": "reflect"},
         {"pads": [0, 0, 2, 1, 0, 0, 1, 3], "mode": "reflect", "constant_value": 7}),
    ],
)  # fmt: skip
def test_codes_that_move(
    op: str, constants: list[list[int]], attributes: dict[str, Any], own: dict[str, Any]
) -> None:
    codes = np.random.default_rng(11).integers(-128, 128, (2, 3, 7, 6)).astype(np.int8)
    params, values = (np.float32(0.1), np.int8(7)), tuple(np.array(c, np.int64) for c in constants)
    theirs = between(op, [(codes, params)], params, values, **attributes)
    assert identical(arithmetic.move(codes, op, **own), theirs)


@on_contract_platform
@pytest.mark.parametrize("rounding", sorted(arithmetic.RESIZE_MODES[1]))
@pytest.mark.parametrize("places", sorted(arithmetic.RESIZE_MODES[0]))
def test_the_nearest_of_every_size(places: str, rounding: str) -> None:
    params = (np.float32(0.1), np.int8(7))
    modes: dict[str, Any] = {"coordinate_transformation_mode": places, "nearest_mode": rounding}
    for size in (1, 2, 5, 8):
        codes = np.arange(size, dtype=np.int8).reshape(1, 1, 1, size)
        for out in (1, 2, 3, 5, 7, 8, 10, 16, 23):
            sizes = [1, 1, 1, out]
            constants = (None, None, np.array(sizes, np.int64))
            theirs = between(
                "Resize", [(codes, params)], params, constants, mode="nearest", **modes
            )
            assert identical(arithmetic.move(codes, "Resize", sizes=sizes, **modes), theirs)
        for factor in (0.3, 0.5, 1.5, 2, 3):
            scales = np.array([1, 1, 1, factor], np.float32)
            if int(np.float32(factor) * np.float32(size)) < 1:
                continue
            theirs = between("Resize", [(codes, params)], params, (None, scales),
                             mode="nearest", **modes)  # fmt: skip
            assert identical(arithmetic.move(codes, "Resize", scales=scales, **modes), theirs)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: arithmetic.move(ONE, "Gather"), "no operator that moves codes"),
        (lambda: arithmetic.move(ONE, "Transpose", perm=[1, 0]), "do not fit"),
        (lambda: arithmetic.lookup(ONE, 1, np.int8(0), 1, np.int8(0), "Erf"), "function"),
        (lambda: arithmetic.qlinear_concat(1, np.int8(0), [], axis=0), "side by side"),
        (
            lambda: arithmetic.max_pool(np.zeros((1, 1, 2, 2), np.int8), kernel_shape=[3, 3]),
            "larger",
        ),
    ],
)
def test_bad_operands(call: Any, expected: str) -> None:
    with pytest.raises(OperandError, match=expected):
        call()
