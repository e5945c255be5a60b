"""Muon: momentum whose update is orthogonalized, for weight matrices.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def orthogonalize(matrix: Tensor, steps: int = 4) -> Tensor:
    """Push all singular values of ``matrix`` [R, C] towards 1 (quintic Newton-Schulz)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(Optimizer):
    """Nesterov momentum, orthogonalized per convolution weight, with decoupled weight decay.

    A weight ``[M, C, kH, kW]`` is treated as the matrix ``[M, C*kH*kW]``.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def step(self, closure: Any = None) -> None:  # noqa: ARG002 (the base's signature)
        """Update every weight from its gradient."""
        with torch.no_grad():
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._update(weight, group)

    def _update(self, weight: Tensor, group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        buffer = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        buffer.mul_(momentum).add_(weight.grad)
        matrix = (weight.grad + momentum * buffer).flatten(1)
        rows, columns = matrix.shape
        update = orthogonalize(matrix).view_as(weight) * max(1.0, rows / columns) ** 0.5
        weight.mul_(1 - lr * group["weight_decay"]).add_(update, alpha=-lr)
