"""Muon: weights that are matrices follow their gradient's direction, with all its singular values made equal.

Stage of training in which the time is spent. From K. Jordan et al., "Muon: An optimizer for hidden layers in neural
networks" (2024); steps as large as Adam's, so that rates may be kept, from J. Liu et al., "Muon is scalable for LLM
training" (arXiv 2502.16982, section 2.2). torch has a Muon for matrices alone, and most weights of our networks are
matrices written as 1x1 convolutions. What is no matrix or a narrow one (biases, norms, depthwise kernels, tables of few
heads) takes Adam's steps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

# Narrower ones have too few singular values for their evening out to mean anything.
_NARROWEST = 8
# Of x <- a x + (b x x' + c (x x')^2) x, the quintic that pulls singular values in (0, 1] to about 1 fastest.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# Memories of the running averages of a matrix's gradients, and of Adam's two; what Adam's divisor is at least.
_MOMENTUM, _BETAS, _EPS = 0.95, (0.9, 0.999), 1e-8
# The root mean square of Adam's steps, per unit of its rate, in the training of most networks.
_ADAM_STEP = 0.2


class Muon(torch.optim.Optimizer):
    """Take Muon's steps for matrices, and for all else those of torch's AdamW without decay.

    Args:
        params: Of a network, in the order of its modules.
        lr: Learning rate, of both.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move all parameters that have a gradient; return the closure's loss, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            matrices: defaultdict[tuple[torch.device, torch.Size], list[nn.Parameter]] = defaultdict(list)
            others = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if is_matrix(parameter):
                    matrices[parameter.device, parameter.flatten(1).shape].append(parameter)
                else:
                    others.append(parameter)
            for alike in matrices.values():
                self._step_matrices(alike, group)
            if others:
                self._step_others(others, group)
        return loss

    def _step_matrices(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Move matrices of one shape, all in one product."""
        gradients = [_gradient(parameter) for parameter in parameters]
        averages = [self._kept(parameter, "momentum") for parameter in parameters]
        torch._foreach_lerp_(averages, gradients, 1.0 - _MOMENTUM)
        ahead = torch._foreach_lerp(gradients, averages, _MOMENTUM)  # Nesterov's
        directions = orthogonalised(torch.stack([gradient.flatten(1) for gradient in ahead]))
        size = group["lr"] * _ADAM_STEP * max(directions.shape[1:]) ** 0.5
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.sub_(direction.view_as(parameter), alpha=size)

    def _step_others(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        adamw(
            list(parameters),
            [_gradient(parameter) for parameter in parameters],
            [self._kept(parameter, "mean") for parameter in parameters],
            [self._kept(parameter, "square") for parameter in parameters],
            [],
            [self.state[parameter].setdefault("steps", torch.zeros(())) for parameter in parameters],
            foreach=True,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=_EPS,
            maximize=False,
        )

    def _kept(self, parameter: nn.Parameter, name: str) -> Tensor:
        """Return a running average of a parameter's, which begins at zero."""
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter)
        kept: Tensor = state[name]
        return kept


def is_matrix(parameter: Tensor) -> bool:
    """Return whether a parameter, its later dimensions taken together, is a matrix that Muon's steps are made for."""
    return parameter.dim() > 1 and min(parameter.flatten(1).shape) >= _NARROWEST and not _is_depthwise(parameter)


def _is_depthwise(parameter: Tensor) -> bool:
    return parameter.dim() == 4 and parameter.shape[1] == 1


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return the nearest matrices whose singular values are all about 1 (0.7 to 1.2).

    Args:
        matrices: float (N, rows, columns).

    Returns:
        The same shape. A matrix of zeros stays as it is.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    orthogonal: Tensor = x.mT if tall else x
    return orthogonal


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        msg = "only parameters with a gradient are moved"
        raise ValueError(msg)
    return parameter.grad
