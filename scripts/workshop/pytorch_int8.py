"""ResNet8 quantized by PyTorch itself (torch.ao, FX graph mode) and saved as TorchScript."""

# No `from __future__ import annotations` here: torch.jit.script needs real types.

import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from bitbybit.errors import EnvironmentProblem, ModelError
from workshop.export import State, check_state, fold_batch_norm
from workshop.layers import CLASS_COUNT, FEATURES, STACKS, Convolution, convolutions
from workshop.pins import pinned_torch

ENGINE = "fbgemm"
"""PyTorch's default for x86: per-channel int8 weights, uint8 activations in 0..127."""

_BATCH = 100
_KNOWN_WARNINGS = (
    "torch.ao.quantization is deprecated",
    "Please use quant_min and quant_max to specify the range for observers",
    "torch.quantize_per_tensor, torch.quantize_per_channel and other quantized tensor creation",
    "`torch.jit",
    "The TorchScript type system doesn't support instance-level annotations",
)


class FoldedStack(nn.Module):
    """A residual stack, batch-norm folded. ``pad`` is Keras' uneven padding, if there is any."""

    def __init__(self, name: str, layers: dict[str, Convolution]) -> None:
        super().__init__()
        first, shortcut = layers[f"{name}.conv1"], layers.get(f"{name}.shortcut")
        top, left, bottom, right = first.pads
        uneven = top != bottom
        self.pad = nn.ZeroPad2d((left, right, top, bottom)) if uneven else nn.Identity()
        self.conv1 = _convolution(first, padded=uneven)
        self.conv2 = _convolution(layers[f"{name}.conv2"])
        self.shortcut = _convolution(shortcut) if shortcut else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``relu(conv2(relu(conv1(x))) + shortcut(x))``, all NCHW."""
        y = functional.relu(self.conv1(self.pad(x)))
        return functional.relu(self.conv2(y) + self.shortcut(x))


class FoldedResNet8(nn.Module):
    """ResNet8 with batch-norm folded: what quantization starts from."""

    def __init__(self) -> None:
        super().__init__()
        layers = {conv.name: conv for conv in convolutions()}
        self.stem = _convolution(layers["stem"])
        for name, *_ in STACKS:
            self.add_module(name, FoldedStack(name, layers))
        self.dense = nn.Linear(FEATURES, CLASS_COUNT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``[N, 10]`` for raw pixels ``[N, 3, 32, 32]``."""
        x = functional.relu(self.stem(x))
        for name, *_ in STACKS:
            x = self.get_submodule(name)(x)
        return self.dense(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def _convolution(conv: Convolution, *, padded: bool = False) -> nn.Conv2d:
    padding = 0 if padded else conv.pads[0]
    return nn.Conv2d(conv.channels_in, conv.channels_out, conv.kernel, conv.stride, padding)


def folded_module(state: State, where: object = "the state dict") -> FoldedResNet8:
    """Return the float module with the weights of ``state``, batch-norm folded in float64."""
    check_state(state, str(where))
    folded: dict[str, NDArray[Any]] = {}
    for conv in convolutions():
        folded[f"{conv.name}.weight"], folded[f"{conv.name}.bias"] = fold_batch_norm(state, conv)
    for part in ("weight", "bias"):
        folded[f"dense.{part}"] = state[f"dense.{part}"].astype(np.float32)
    module = FoldedResNet8()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in folded.items()})
    return module.eval()


def quantize(
    state: State, images: NDArray[np.uint8], where: object = "the state dict"
) -> torch.jit.ScriptModule:
    """Quantize ResNet8 with PyTorch's defaults for x86.

    Parameters
    ----------
    state
        Name and value of each float tensor.
    images
        Calibration images, uint8 ``[N, 3, 32, 32]``.
    where
        What to call the state dict in an error.

    Raises
    ------
    ModelError
        If ``state`` is not a float state dict of ResNet8.
    EnvironmentProblem
        If another version of PyTorch is installed, or it lacks the engine.
    """
    _check_torch()
    module = folded_module(state, where)
    with known_warnings():
        from torch.ao.quantization import get_default_qconfig_mapping
        from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

        torch.backends.quantized.engine = ENGINE
        example = torch.from_numpy(images[:1]).float()
        backend = _backend_with_padding()
        mapping = get_default_qconfig_mapping(ENGINE)
        observed = prepare_fx(module, mapping, (example,), backend_config=backend)
        with torch.inference_mode():
            for start in range(0, len(images), _BATCH):
                observed(torch.from_numpy(images[start : start + _BATCH]).float())
        return torch.jit.script(convert_fx(observed, backend_config=backend))


def _backend_with_padding() -> Any:
    """Return PyTorch's backend description, taught that zero padding keeps scale and zero point.

    Without that, the padded tensor gets a range of its own and is rounded twice.
    """
    from torch.ao.quantization.backend_config import (
        BackendPatternConfig,
        DTypeConfig,
        ObservationType,
        get_native_backend_config,
    )

    padding = BackendPatternConfig(nn.ZeroPad2d)
    padding.set_observation_type(ObservationType.OUTPUT_SHARE_OBSERVER_WITH_INPUT)
    padding.add_dtype_config(DTypeConfig(input_dtype=torch.quint8, output_dtype=torch.quint8))
    return get_native_backend_config().set_backend_pattern_config(padding)


def _check_torch() -> None:
    found, pinned = torch.__version__.partition("+")[0], pinned_torch()
    if found != pinned:
        raise EnvironmentProblem(
            "this step is pinned to one version of PyTorch",
            where="PyTorch",
            expected=pinned,
            found=found,
            next_step=f"Run `python -m pip install torch=={pinned}`.",
        )
    if ENGINE not in torch.backends.quantized.supported_engines:
        raise EnvironmentProblem(
            "PyTorch was built without its x86 quantization engine",
            where="PyTorch",
            expected=ENGINE,
            found=", ".join(torch.backends.quantized.supported_engines),
            next_step="Run this step on x86-64.",
        )


def to_bytes(module: torch.jit.ScriptModule) -> bytes:
    """Return the TorchScript archive of ``module`` without its debug records.

    Those records hold the paths of source files on the machine that wrote them; nothing needs
    them.  The members are stored uncompressed, in their order, with a fixed date.
    """
    buffer, result = io.BytesIO(), io.BytesIO()
    with known_warnings():
        torch.jit.save(module, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(result, "w") as target:
        for name in source.namelist():
            if not name.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(name), source.read(name))
    return result.getvalue()


def load_torchscript(path: Path) -> torch.jit.ScriptModule:
    """Load a TorchScript archive to run it; its code runs in PyTorch's interpreter, not Python's.

    Raises :class:`ModelError` if PyTorch refuses the file.
    """
    with known_warnings():
        try:
            return torch.jit.load(str(path), map_location="cpu").eval()
        except RuntimeError as error:
            raise ModelError(
                "PyTorch cannot load this TorchScript archive",
                where=path,
                found=str(error).strip().splitlines()[0],
                next_step="Make it again with scripts/quantize_pytorch.py.",
            ) from error


@contextmanager
def known_warnings() -> Iterator[None]:
    """Silence the warnings of PyTorch's quantizer that are known, by their first words."""
    with warnings.catch_warnings():
        for message in _KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        yield
