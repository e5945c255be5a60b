"""MLPerf Tiny's ResNet8 as a PyTorch module (needs the ``train`` extra).

The layer names are the canonical ones used everywhere in the project: ``stem``,
``stack1.conv1``, ``stack1.conv2``, ``stack1.add``, ... ``dense``.  A batch-norm layer is
named after the convolution that it follows, with the suffix ``_bn``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from workshop.layers import CLASS_COUNT, EPSILON, FEATURES, STACKS


class SameConv2d(nn.Conv2d):
    """A convolution with Keras ``padding="same"``.

    For even input sizes, a 3x3 kernel with stride 2 needs one row and one column of zeros,
    and Keras puts them at the bottom and on the right only.
    """

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max(kernel - stride, 0)
        before = total // 2
        if total == 2 * before:
            return functional.conv2d(input, self.weight, self.bias, self.stride, before)
        padded = functional.pad(input, (before, total - before, before, total - before))
        return functional.conv2d(padded, self.weight, self.bias, self.stride)


class Stack(nn.Module):
    """Two 3x3 convolutions and a shortcut: the identity, or a 1x1 convolution with stride 2."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = SameConv2d(channels_in, channels_out, 3, stride)
        self.conv1_bn = nn.BatchNorm2d(channels_out, eps=EPSILON)
        self.conv2 = SameConv2d(channels_out, channels_out, 3)
        self.conv2_bn = nn.BatchNorm2d(channels_out, eps=EPSILON)
        self.shortcut = SameConv2d(channels_in, channels_out, 1, stride) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.shortcut is None else self.shortcut(x)
        y = functional.relu(self.conv1_bn(self.conv1(x)))
        y = self.conv2_bn(self.conv2(y))
        return functional.relu(y + skip)


class ResNet8(nn.Module):
    """ResNet8: input ``[N, 3, 32, 32]`` float32 in 0..255 (raw pixels), output ``[N, 10]`` logits.

    Source: MLPerf Tiny image classification (Banbury et al., 2021), ``keras_model.py``.
    The softmax of the original is left out: it does not change the predicted class.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, 16, 3)
        self.stem_bn = nn.BatchNorm2d(16, eps=EPSILON)
        for name, channels_in, channels_out, stride in STACKS:
            self.add_module(name, Stack(channels_in, channels_out, stride))
        self.dense = nn.Linear(FEATURES, CLASS_COUNT)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem_bn(self.stem(x)))
        for name, *_ in STACKS:
            x = self.get_submodule(name)(x)
        return self.dense(torch.mean(x, dim=(2, 3)))
