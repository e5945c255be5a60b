"""A layer as products of two matrices: rows of inputs (im2col) times packed weights.

A convolution of G groups is G products, a dense layer one. Row ``k`` of the weights and column
``k`` of the inputs belong to the same tap: input channel, row and column of the kernel, in this
order, as in the file's weights.
"""

from __future__ import annotations

import numpy as np

from bitbybit import arithmetic
from bitbybit.arithmetic import along
from bitbybit.errors import UnsupportedError
from bitbybit.execution.engine import params
from bitbybit.model.costs import centred_rows
from bitbybit.model.types import AnyArray, Conv, Dense, Layer, QuantizedModel


def matrix_layer(layer: Layer) -> Conv | Dense:
    """Return a layer that is a product of matrices.

    Raises
    ------
    UnsupportedError
        A layer of another kind.
    """
    if isinstance(layer, (Conv, Dense)):
        return layer
    raise UnsupportedError(
        f"a layer of kind {layer.kind} has no weights to lay into an array",
        where=f"layer {layer.name}",
        expected="conv or dense",
        found=layer.kind,
        next_step="Take a convolution or a dense layer.",
    )


def packed_weights(layer: Conv | Dense) -> AnyArray:
    """Return ``w - w_zp`` as an array holds it: ``[G, K, M/G]``, one column per output channel.

    Parameters
    ----------
    layer
        ``K = C/G * kH * kW`` of a convolution, the input features of a dense layer.

    Returns
    -------
    int64, -255..255
    """
    groups = layer.group if isinstance(layer, Conv) else 1
    rows = centred_rows(layer)
    return rows.reshape(groups, -1, rows.shape[1]).swapaxes(1, 2)


def input_rows(model: QuantizedModel, layer: Conv | Dense, x: AnyArray) -> AnyArray:
    """Return ``x - x_zp`` as the rows that enter an array: ``[G, V, K]``, one per output pixel.

    This is im2col: a code of the image stands in each row whose window covers it, and a padded
    tap is 0.

    Parameters
    ----------
    model
        The network, which knows the zero point of the layer's input.
    layer
        A convolution or a dense layer.
    x : codes of the layer's input, ``[N, C, H, W]`` or ``[N, K]``

    Returns
    -------
    int64, -255..255; ``V = N * H_out * W_out``, images first, then rows and columns
    """
    zero_point = params(model.edges[layer.inputs[0]], layer).zero_point
    return rows_of(layer, arithmetic.centred(x, zero_point), 0)


def rows_of(layer: Conv | Dense, x: AnyArray, padded: int) -> AnyArray:
    """Return any values of a layer's input as rows ``[G, V, K]``: the order of :func:`input_rows`.

    Parameters
    ----------
    layer
        A convolution or a dense layer.
    x : values in the shape of the layer's input, ``[N, C, H, W]`` or ``[N, K]``
    padded
        The value of a tap outside the image.

    Returns
    -------
    dtype of ``x``, ``[G, V, K]``
    """
    if isinstance(layer, Dense):
        return x[None]
    (top, left, bottom, right), (kh, kw) = layer.pads, layer.weight.values.shape[2:]
    edges = ((0, 0), (0, 0), (top, bottom), (left, right))
    image = np.pad(x, edges, constant_values=padded)
    (sy, sx), (dy, dx) = layer.strides, layer.dilations
    reach = (kh - 1) * dy + 1, (kw - 1) * dx + 1
    windows = np.lib.stride_tricks.sliding_window_view(image, reach, (2, 3))
    taps = windows[:, :, ::sy, ::sx, ::dy, ::dx]  # [N, C, H', W', kH, kW]
    n, _, height, width = taps.shape[:4]
    grouped = taps.reshape(n, layer.group, -1, *taps.shape[2:]).transpose(1, 0, 3, 4, 2, 5, 6)
    return grouped.reshape(layer.group, n * height * width, -1)


def layer_sums(layer: Conv | Dense, sums: AnyArray, x_shape: tuple[int, ...]) -> AnyArray:
    """Return sums ``[G, V, M/G]`` as a layer's accumulators, with its bias.

    Parameters
    ----------
    layer, sums
        As they come from :func:`input_rows` times :func:`packed_weights`; whole numbers.
    x_shape
        Of the layer's input, ``[N, C, H, W]`` or ``[N, K]``.

    Returns
    -------
    int32, ``[N, M, H_out, W_out]`` or ``[N, M]``, modulo 2^32 as the contract's
    """
    size: tuple[int, ...] = ()
    if isinstance(layer, Conv):
        kernel, window = layer.weight.values.shape[2:], (layer.strides, layer.dilations, layer.pads)
        size = arithmetic.window_output_size(x_shape[2:], kernel, *window)
    pixels = sums.transpose(1, 0, 2).reshape(x_shape[0], *size, -1)
    acc = np.moveaxis(pixels, -1, 1).astype(np.int64)
    if layer.bias is not None:
        acc = acc + along(layer.bias.values.astype(np.int64), 1, acc.ndim)
    return acc.astype(np.int32)
