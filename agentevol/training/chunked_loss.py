"""The loss of many tokens over a large vocabulary in chunks of tokens, so that at most one chunk's logits exist at a time.

Invariant: loss and gradients are those of all logits at once, to rounding. Logits within CHUNK_BYTES are always computed at once. Where
processes share a model (FSDP 2), its output layer is whole from the forward pass to the end of the backward pass.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from agentevol.training.memory import logit_chunk_tokens

LogitChange = Callable[[Tensor], Tensor]
"""What an architecture does to its logits after the output layer, elementwise: scaling, soft capping."""
_PROBE_LIMIT = 200.0  # far above the usual caps of 15 to 50: a cap that the configuration does not name shows
_changes: WeakKeyDictionary[nn.Module, LogitChange | None] = WeakKeyDictionary()
"""By output layer; None: its logits must be computed at once."""


def token_nll(model: Any, forward: Callable[[], Tensor], targets: Tensor, weights: Tensor) -> Tensor:
    """The sum over trained tokens of weight * -log p(target), in nats; a scalar.

    forward: runs `model` and returns the logits [trained tokens, vocabulary], which pass through its output layer together. targets: int64
    [trained tokens], weights: float32 [trained tokens], both on the model's device.
    """
    head, rows = _output_layer(model)
    if len(targets) > rows and (found := _chunkable(model, head, forward)):
        nll: Tensor = _ChunkedNll.apply(found[0], head.weight, head.bias, targets, weights, found[1], rows)  # type: ignore[no-untyped-call]
        return nll
    return weighted_nll(forward(), targets, weights)


def token_logprobs(model: Any, forward: Callable[[], Tensor], targets: Tensor) -> Tensor:
    """log p(target) of every trained token, in nats: float32 [trained tokens]. The arguments are those of `token_nll`.

    A loss that is not linear in them needs all of them before their gradients, so the logits of a chunk are computed again in the backward
    pass.
    """
    head, rows = _output_layer(model)
    if len(targets) > rows and (found := _chunkable(model, head, forward)):
        hidden, change = found

        def chunk_logprobs(inputs: Tensor, ids: Tensor) -> Tensor:
            return _logprobs(change(functional.linear(inputs, head.weight, head.bias)), ids)

        parts = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
        return torch.cat([checkpoint(chunk_logprobs, *part, use_reentrant=False) for part in parts])
    return _logprobs(forward(), targets)


def prepare_output_layer(model: Any, forward: Callable[[], Tensor]) -> None:
    """Examine the output layer now, as `token_nll` would at its first use. Where several processes train a model, all must do so together.

    Another forward pass of one process alone would wait for the others for ever. forward: as in `token_nll`, of any few tokens.
    """
    head, _ = _output_layer(model)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        _chunkable(model, head, forward, together=True)
    model.train(was_training)


def _logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    return -functional.cross_entropy(logits.float(), targets, reduction="none")


def weighted_nll(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The same from the logits [trained tokens, vocabulary]."""
    return (functional.cross_entropy(logits.float(), targets, reduction="none") * weights).sum()


def _output_layer(model: Any) -> tuple[Any, int]:
    """The output layer, and the most tokens whose logits are computed at once."""
    plain = getattr(model, "module", model)
    head = plain.get_output_embeddings()
    vocabulary = head.weight.shape[0] if hasattr(head, "weight") else int(plain.config.get_text_config().vocab_size)
    return head, logit_chunk_tokens(vocabulary)


def _chunkable(model: Any, head: Any, forward: Callable[[], Tensor], *, together: bool = False) -> tuple[Tensor, LogitChange] | None:
    """The inputs of the output layer [trained tokens, width] and what the model does to its logits; None: compute all logits at once.

    `together`: whether all processes that train the model are in this call.
    """
    several_processes = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    if _changes.get(head, True) is None or (head not in _changes and several_processes and not together):
        return None
    plain = getattr(model, "module", model)
    if problem := _unsupported(head):
        _give_up(head, f"{type(plain).__name__}: {problem}")
        return None
    hidden, change = _hidden_and_change(plain, head, forward)
    return None if change is None else (hidden, change)


def _unsupported(head: Any) -> str | None:
    """Why the loss of this output layer cannot be computed in chunks."""
    if type(head) is not nn.Linear:
        return f"its output layer is of the type {type(head).__name__}"
    return None


def _give_up(head: nn.Module, reason: str) -> None:
    _changes[head] = None
    print(f"the logits of all trained tokens are computed at once, not in chunks ({reason}); this can need much memory", file=sys.stderr)


def _hidden_and_change(model: Any, head: nn.Linear, forward: Callable[[], Tensor]) -> tuple[Tensor, LogitChange | None]:
    """The inputs of the output layer [trained tokens, width], and what the model does to its logits; None if that is not known.

    The output layer itself computes one token only, and its result is replaced by values of a wide range: what the model makes of these
    must be what its configuration says.
    """
    probe = torch.linspace(-_PROBE_LIMIT, _PROBE_LIMIT, head.out_features, device=head.weight.device)
    with _intercepted(head, probe) as inputs:
        changed = forward()
    if head not in _changes:
        change = _configured_change(model.config.get_text_config())
        expected = change(probe)
        if changed.shape == (1, len(probe)) and torch.allclose(changed[0].detach().float(), expected, rtol=2e-2, atol=1e-3 * _PROBE_LIMIT):
            _changes[head] = change
        else:
            _give_up(head, f"{type(model).__name__} changes its logits in a way that is not supported")
    return inputs[0].flatten(0, -2), _changes[head]


@contextmanager
def _intercepted(head: nn.Linear, output: Tensor) -> Iterator[list[Tensor]]:
    """Keep what goes into the output layer, and let `output` be the logits of a single token."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        kept.append(inputs[0])
        return (inputs[0][:, :1].detach(), *inputs[1:])

    hooks = [
        head.register_forward_pre_hook(keep),
        head.register_forward_hook(lambda _, inputs, logits: output.to(logits.dtype).expand_as(logits)),
    ]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def _configured_change(config: Any) -> LogitChange:
    """The scales of Cohere and Granite, and the soft cap of Gemma: cap * tanh(logits / cap)."""
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)

    def change(logits: Tensor) -> Tensor:
        scaled = logits if scale == 1.0 else logits * scale
        return torch.tanh(scaled / cap) * cap if cap else scaled

    return change


class _ChunkedNll(torch.autograd.Function):
    """hidden [tokens, width], weight [vocabulary, width], bias [vocabulary] or None; returns the scalar of `token_nll`.

    The gradient of the weights is summed in float32. Under autocast products are computed in autocast's precision, as elsewhere.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, weights: Tensor, change: LogitChange, rows: int
    ) -> Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        needs_any = needs_hidden or needs_weight or needs_bias
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if needs_bias and bias is not None else None
        total = torch.zeros((), device=hidden.device)
        with torch.autocast(device, enabled=False):
            inputs, matrix = hidden.to(dtype), weight.to(dtype)
            offsets = None if bias is None else bias.to(dtype)
            for chunk in (slice(start, start + rows) for start in range(0, len(hidden), rows)):
                logits = functional.linear(inputs[chunk], matrix, offsets).requires_grad_(needs_any)
                with torch.set_grad_enabled(needs_any):
                    nll = weighted_nll(change(logits), targets[chunk], weights[chunk])
                total += nll.detach()
                if not needs_any:
                    continue
                (grad_logits,) = torch.autograd.grad(nll, logits)
                del logits, nll
                if grad_hidden is not None:
                    grad_hidden[chunk] = grad_logits @ matrix
                if grad_weight is not None:
                    _add_product(grad_weight, grad_logits, inputs[chunk])
                if grad_bias is not None:
                    grad_bias += grad_logits.sum(0, dtype=torch.float32)
        ctx.gradients = [grad_hidden, grad_weight, grad_bias]
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # scaled in place: a copy of the weights' gradient can take gigabytes
        return (*(None if gradient is None else gradient.mul_(grad_outputs[0]) for gradient in gradients), None, None, None, None)


def _add_product(total: Tensor, grad_logits: Tensor, inputs: Tensor) -> None:
    """total += grad_logits' inputs, where `total` is float32 [vocabulary, width]; without a second matrix of its size."""
    if grad_logits.dtype == torch.float32:
        total.addmm_(grad_logits.t(), inputs)
        return
    step = max(1, len(total) // 16)
    for start in range(0, len(total), step):
        total[start : start + step] += grad_logits[:, start : start + step].t() @ inputs
