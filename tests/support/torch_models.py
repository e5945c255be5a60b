"""Small networks made by torch, float and quantized, for tests marked ``torch``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


def network() -> Any:
    """A convolution, a batch norm, a depthwise convolution and a linear layer, seeded."""
    import torch
    from torch import nn

    torch.manual_seed(7)
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(3, 4, 3, padding=1))
    net.add_module("bn", nn.BatchNorm2d(4))
    net.add_module("relu", nn.ReLU())
    net.add_module("depthwise", nn.Conv2d(4, 4, 3, stride=2, groups=4, bias=False))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc", nn.Linear(4, 5))
    net(torch.randn(8, 3, 8, 8))  # gives the batch norm statistics
    net.register_buffer("constant", torch.arange(3))
    return net.eval()


def quantized(net: Any) -> Any:
    """The network after torch's own static quantization, per channel."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.quantization import get_default_qconfig_mapping
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

        engine = next(
            e
            for e in ("fbgemm", "x86", "qnnpack")
            if e in torch.backends.quantized.supported_engines
        )
        torch.backends.quantized.engine = engine
        prepared = prepare_fx(net, get_default_qconfig_mapping(engine), (torch.zeros(1, 3, 8, 8),))
        prepared(torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(3)))
        return convert_fx(prepared)


def save_script(net: Any, path: Path, *, freeze: bool = False) -> Path:
    """Write a TorchScript archive."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(net)
        torch.jit.save(torch.jit.freeze(script) if freeze else script, str(path))
    return path


def save(value: Any, path: Path) -> Path:
    """Write with ``torch.save``."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, path)
    return path
