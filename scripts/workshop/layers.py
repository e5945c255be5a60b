"""ResNet8's layers as plain data, for those who need neither PyTorch nor ONNX.

Source: MLPerf Tiny image classification (Banbury et al., 2021), ``keras_model.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bitbybit.arithmetic import window_pads

STACKS = (("stack1", 16, 16, 1), ("stack2", 16, 32, 2), ("stack3", 32, 64, 2))
"""Name, input channels, output channels and stride of each residual stack."""

FEATURES, CLASS_COUNT = 64, 10
"""Input and output features of the dense layer."""

EPSILON = 1e-3
"""Keras' default epsilon of batch normalization: the denominator is sqrt(variance + epsilon)."""


@dataclass(frozen=True)
class Convolution:
    """One convolution: weight ``[channels_out, channels_in, kernel, kernel]``, with bias.

    ``batch_norm`` says whether a batch-norm layer called ``name + "_bn"`` follows, ``relu``
    whether a ReLU comes next.
    """

    name: str
    channels_in: int
    channels_out: int
    kernel: int
    stride: int
    batch_norm: bool = True
    relu: bool = False

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Return Keras SAME padding of an image of even size: (top, left, bottom, right)."""
        window = (32, 32), (self.kernel,) * 2, (self.stride,) * 2, (1, 1), (0, 0, 0, 0)
        top, left, bottom, right = window_pads(*window, "SAME_UPPER")
        return top, left, bottom, right


def convolutions() -> Iterator[Convolution]:
    """Yield the nine convolutions in graph order."""
    yield Convolution("stem", 3, 16, 3, 1, relu=True)
    for name, channels_in, channels_out, stride in STACKS:
        yield Convolution(f"{name}.conv1", channels_in, channels_out, 3, stride, relu=True)
        yield Convolution(f"{name}.conv2", channels_out, channels_out, 3, 1)
        if stride > 1:
            yield Convolution(
                f"{name}.shortcut", channels_in, channels_out, 1, stride, batch_norm=False
            )


def state_shapes() -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every floating-point tensor of the state dict."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in convolutions():
        channels = (conv.channels_out,)
        shapes[f"{conv.name}.weight"] = (*channels, conv.channels_in, conv.kernel, conv.kernel)
        shapes[f"{conv.name}.bias"] = channels
        if conv.batch_norm:
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{conv.name}_bn.{part}"] = channels
    shapes["dense.weight"] = (CLASS_COUNT, FEATURES)
    shapes["dense.bias"] = (CLASS_COUNT,)
    return shapes
