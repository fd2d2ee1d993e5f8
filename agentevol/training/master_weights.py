"""Training weights of 16 bits: float32 master copies that the optimizer updates, and gradients that are summed in float32.

Invariant: after every update a weight is its master, rounded. A gradient of 16 bits lives only until it is added to its master's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MasterWeights:
    """Moves a float32 model to `device` as one of `dtype`; its trained weights get masters there with the values they had."""

    def __init__(self, model: Any, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> None:
        self.dtype = dtype
        self.masters: dict[nn.Parameter, Tensor] = {}
        # Weight by weight: a GPU may have room for a frozen model of 16 bits and not for one of 32.
        for parameter in model.parameters():
            whole = parameter.detach()
            parameter.data = whole.to(dtype).to(device)
            if parameter.requires_grad:
                self.masters[parameter] = whole.to(device, torch.float32, copy=True).requires_grad_()
                parameter.register_post_accumulate_grad_hook(self._take_gradient)
        model.to(device)  # its buffers

    def of(self, parameter: nn.Parameter) -> Tensor:
        """What the optimizer updates in the place of the parameter."""
        return self.masters[parameter]

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Round the masters into the model's weights."""
        torch._foreach_copy_([parameter.data for parameter in self.masters], list(self.masters.values()))

    def give_to_model(self) -> None:
        """Make the masters the model's weights, at the end of a training."""
        for parameter, master in self.masters.items():
            parameter.data = master.data

    def _take_gradient(self, parameter: Tensor) -> None:
        master, gradient = self.masters[parameter], parameter.grad  # type: ignore[index]
        assert gradient is not None
        if master.grad is None:
            master.grad = gradient.float()
        else:
            master.grad += gradient
        parameter.grad = None
