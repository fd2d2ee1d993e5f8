"""The `transformers` engine: a language model with one growing KV cache row per slot.

Invariant: every call appends tokens to some of the slots; a token that was read or generated is never computed again. Works with any
causal model of transformers whose attention function can be set (Llama, Qwen, GPT-2 and similar), on CPU or one GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from agentevol.chat.load import load_chat_tokenizer
from agentevol.models import load_model, max_context_length, model_digest
from agentevol.rollout.engine import EngineError, GenerationRequest, GenerationResult, one_line_error
from agentevol.rollout.kv_cache import RaggedCacheLayer
from agentevol.rollout.ragged_attention import RAGGED_ATTENTION, BatchLayout

_MAX_TOKENS_PER_PASS = 2048  # bounds the memory of a forward pass
NOT_FINITE = "the model's logits are not finite; its weights are damaged or the precision is too low"


@dataclass(slots=True)
class _ActiveSequence:
    """A request in progress: the tokens that the model has yet to read, and those generated so far."""

    request: GenerationRequest
    pending_ids: list[int]
    generated_ids: list[int] = field(default_factory=list)


class TransformersEngine:
    """Model, tokenizer and KV cache. Each `poll` is one forward pass, which generates one token for every active sequence in it.

    A new conversation that begins like one in the cache (most often with the same prompt) copies the shared prefix from there.
    """

    def __init__(
        self,
        model_folder: Path,
        *,
        num_slots: int,
        context_length: int,
        dtype: str = "float32",
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = load_model(model_folder, dtype).to(self.device)
        self.model.set_attn_implementation(RAGGED_ATTENTION)
        self.chat = load_chat_tokenizer(model_folder, template_kwargs)
        self.digest = model_digest(model_folder)
        self.num_slots = num_slots
        self.context_length = min(context_length, max_context_length(self.model.config) or context_length)
        self._cached_ids: dict[int, list[int]] = {}
        self._active: dict[int, _ActiveSequence] = {}
        self._layers = [RaggedCacheLayer(num_slots, self.context_length) for _ in range(self.model.config.num_hidden_layers)]
        self._cache = Cache(layers=self._layers)

    def submit(self, request: GenerationRequest) -> None:
        # The last token of the previous answer is not in the cache yet; the model reads it together with the observation.
        cached = len(self._cached_ids.get(request.slot, ()))
        self._active[request.slot] = _ActiveSequence(request, list(request.token_ids[cached:]))

    def poll(self) -> list[GenerationResult]:
        """One forward pass: all sequences that read one token, and as many of the longer ones as the token limit allows."""
        batch: list[_ActiveSequence] = []
        budget = _MAX_TOKENS_PER_PASS
        by_length = sorted(self._active.values(), key=lambda sequence: (len(sequence.pending_ids) > 1, sequence.request.slot))
        for sequence in by_length:
            if not batch or len(sequence.pending_ids) <= budget:
                batch.append(sequence)
                budget -= len(sequence.pending_ids)
        if not batch:
            return []
        try:
            logits = self.append_tokens([sequence.request.slot for sequence in batch], [sequence.pending_ids for sequence in batch])
        except NotImplementedError as error:  # from ragged_attention: retrying cannot help
            raise EngineError(f"{one_line_error(error)}; engine.kind=vllm or a server (openai) may support it") from error
        except RuntimeError as error:  # from torch: most often out of memory
            remedy = "where memory is short, lower rollout.concurrency or rollout.context_length"
            return [self._finish(GenerationResult(sequence.request.slot, error=f"{one_line_error(error)}; {remedy}")) for sequence in batch]
        failed: list[GenerationResult] = []
        finite = rows_are_finite(logits)
        if not all(finite):
            broken = [sequence for sequence, row_is_finite in zip(batch, finite, strict=True) if not row_is_finite]
            failed = [self._finish(GenerationResult(sequence.request.slot, error=NOT_FINITE)) for sequence in broken]
            batch = [sequence for sequence, row_is_finite in zip(batch, finite, strict=True) if row_is_finite]
            logits = logits[finite]
        return failed + self._generate_tokens(batch, logits) if batch else failed

    def release(self, slot: int) -> None:
        self._cached_ids.pop(slot, None)
        self._active.pop(slot, None)

    def close(self) -> None:
        """Nothing to do: the memory is freed with the object."""

    def _generate_tokens(self, batch: list[_ActiveSequence], logits: Tensor) -> list[GenerationResult]:
        """Sample the next token of each sequence; returns the answers that this completes."""
        sampling = batch[0].request.sampling  # the same for all requests of a rollout
        uniforms = [float(sequence.request.rng.random()) for sequence in batch]
        tokens = sample_tokens(logits, temperature=sampling.temperature, top_p=sampling.top_p, uniforms=uniforms)
        results = []
        for sequence, token in zip(batch, tokens, strict=True):
            request, generated = sequence.request, sequence.generated_ids
            sequence.pending_ids = [token]
            generated.append(token)
            stopped = token in self.chat.stop_token_ids
            if stopped or len(generated) >= request.max_new_tokens:
                results.append(self._finish(GenerationResult(request.slot, self.chat.decode(generated), generated, stopped)))
            elif len(request.token_ids) + len(generated) + 1 >= self.context_length:
                full = f"the context of {self.context_length} tokens is full"
                results.append(self._finish(GenerationResult(request.slot, truncation_reason=full)))
        return results

    def _finish(self, result: GenerationResult) -> GenerationResult:
        del self._active[result.slot]
        return result

    @torch.inference_mode()
    def append_tokens(self, slots: Sequence[int], new_ids: Sequence[Sequence[int]]) -> Tensor:
        """Append tokens (at least one) to each slot; returns the next-token logits of each, float32 [slots, vocabulary].

        Raises ValueError if a conversation would exceed the context. A RuntimeError of the forward pass (out of memory) is not caught:
        then no slot's length has changed, but the caller must release the slots.
        """
        longest = max(len(self._cached_ids.get(slot, ())) + len(ids) for slot, ids in zip(slots, new_ids, strict=True))
        if longest > self.context_length:
            raise ValueError(f"a conversation of {longest} tokens does not fit the context of {self.context_length}")
        cached_lengths, uncached_ids = [], []
        for slot, ids in zip(slots, new_ids, strict=True):
            is_new = slot not in self._cached_ids
            cached_lengths.append(self._copy_shared_prefix(slot, ids) if is_new else len(self._cached_ids[slot]))
            uncached_ids.append(ids[cached_lengths[-1] :] if is_new else ids)
        layout = BatchLayout(list(slots), cached_lengths, [len(ids) for ids in uncached_ids])
        logits = self._forward(layout, [token for ids in uncached_ids for token in ids])
        for slot, ids in zip(slots, new_ids, strict=True):
            self._cached_ids.setdefault(slot, []).extend(ids)
        return logits

    def _copy_shared_prefix(self, slot: int, token_ids: Sequence[int]) -> int:
        """Copy the longest prefix of `token_ids`, without their last token, that a conversation in the cache has; returns its length."""
        prefixes = ((_shared_prefix_length(cached, token_ids), other) for other, cached in self._cached_ids.items())
        length, source = max(prefixes, default=(0, 0))
        length = min(length, len(token_ids) - 1)
        if length:
            for layer in self._layers:
                layer.copy_prefix(source, slot, length)
        return length

    def _forward(self, layout: BatchLayout, token_ids: list[int]) -> Tensor:
        """The logits after the last token of each row: [rows, vocabulary]."""
        rows, positions = (torch.tensor(index, device=self.device) for index in layout.token_positions())
        for layer in self._layers:
            layer.write_index = rows, positions
        logits: Tensor = self.model(
            input_ids=torch.tensor([token_ids], device=self.device),
            attention_mask=layout.as_attention_mask(),
            position_ids=positions[None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=torch.tensor(layout.new_lengths, device=self.device).cumsum(0) - 1,
        ).logits
        return logits[0].float()


def _shared_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    length = min(len(a), len(b))
    equal = np.asarray(a[:length]) == np.asarray(b[:length])
    return int(equal.argmin()) if not equal.all() else length


def rows_are_finite(logits: Tensor) -> list[bool]:
    """For each row, whether it is free of NaN and infinity."""
    finite: list[bool] = torch.isfinite(logits).all(dim=-1).tolist()
    return finite


def sample_tokens(logits: Tensor, *, temperature: float, top_p: float, uniforms: Sequence[float]) -> list[int]:
    """The next token of each row: the most likely one at temperature 0, else sampled by inverse transform of the row's uniform number.

    `logits`: [rows, vocabulary]; `uniforms`: one number in [0, 1) per row, from the episode's own generator. So a sample depends on its
    episode and not on the other rows of the batch, up to the rounding of the matrix products, which differs between batch shapes (about
    1e-6 relative in float32).
    """
    if temperature == 0.0:
        return [int(token) for token in logits.argmax(dim=-1)]
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    order = None
    if top_p < 1.0:
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        probabilities = torch.where(probabilities.cumsum(dim=-1) - probabilities < top_p, probabilities, 0.0)
    cumulative = probabilities.cumsum(dim=-1)
    targets = torch.as_tensor(np.asarray(uniforms), dtype=torch.float64, device=logits.device)[:, None] * cumulative[:, -1:]
    indices = torch.searchsorted(cumulative, targets, right=True).clamp(max=logits.shape[-1] - 1)
    tokens = indices if order is None else order.gather(1, indices)
    return [int(token) for token in tokens[:, 0]]
