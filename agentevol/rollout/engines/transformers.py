"""The `transformers` engine: a language model with one growing KV cache row per slot.

Invariant: every call appends tokens to some of the slots; a token that was read or generated is computed again only where the budget of
the cache is too small for all conversations. Works with any causal model of transformers whose attention function can be set (Llama, Qwen,
GPT-2 and similar), on a CPU (float32, one cache row for each slot) or one GPU (the model's own type, a cache of blocks).
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
from agentevol.gpus import free_gpu_memory
from agentevol.models import max_context_length
from agentevol.rollout.engine import EngineError, GenerationRequest, GenerationResult, one_line_error
from agentevol.rollout.engines.loaded_model import get_model
from agentevol.rollout.paged_attention import PagedCache, to_device
from agentevol.rollout.ragged_attention import BatchLayout, RowCache
from agentevol.training.memory import GIB, ModelSize, kv_cache_bytes_per_token
from agentevol.training.precision import inference_dtype

_MAX_TOKENS_PER_PASS = 2048  # bounds the memory of a forward pass
_MAX_PADDED_TOKENS = 8192  # the same on a GPU, where rows of a prefill are padded to the longest
_CACHE_SHARE = 0.8
"""Of a GPU's memory that is free once the weights are loaded: the cache's, if no budget is given."""
NOT_FINITE = "the model's logits are not finite; its weights are damaged or the precision is too low"


@dataclass(slots=True)
class _ActiveSequence:
    """A request in progress: the tokens that the model has yet to read, and those generated so far."""

    request: GenerationRequest
    pending_ids: list[int]
    generated_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


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
        template_kwargs: Mapping[str, Any] | None = None,
        precision: str = "auto",
        kv_cache_gib: float | None = None,
        paged: bool | None = None,
        keep_model: bool = False,
    ) -> None:
        """`kv_cache_gib`: the budget of a cache of blocks; None: most of the free memory. `paged`: None: on a GPU. `keep_model`: its
        weights stay in the process for the next engine (loaded_model.py). Raises EngineError."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self.digest = get_model(model_folder, inference_dtype(precision, model_folder), self.device, keep=keep_model)
        self.chat = load_chat_tokenizer(model_folder, template_kwargs)
        self.num_slots = num_slots
        self.context_length = min(context_length, max_context_length(self.model.config) or context_length)
        self._cached_ids: dict[int, list[int]] = {}
        self._active: dict[int, _ActiveSequence] = {}
        self.is_paged = self.device.type != "cpu" if paged is None else paged
        self._kv = self._create_cache(kv_cache_gib)
        self._layers = self._kv.layers
        self._cache = Cache(layers=self._layers)
        self.model.set_attn_implementation(self._kv.attention)

    def _create_cache(self, budget_gib: float | None) -> PagedCache | RowCache:
        num_layers = self.model.config.num_hidden_layers
        if not self.is_paged:
            return RowCache(num_layers, self.num_slots, self.context_length, self.device)
        budget = None if budget_gib is None else int(budget_gib * GIB)
        if budget is None and self.device.type == "cuda":
            free_gpu_memory()
            budget = int(_CACHE_SHARE * torch.cuda.mem_get_info(self.device)[0])
        per_token = kv_cache_bytes_per_token(ModelSize.of(self.model), bytes_per_number=self.model.dtype.itemsize)
        cache = PagedCache(num_layers, per_token, budget, self.device)
        if cache.max_tokens is not None and cache.max_tokens < self.context_length:
            raise EngineError(
                f"the KV cache holds {cache.max_tokens} tokens, one conversation may have {self.context_length};"
                " raise rollout.kv_cache_gib, or lower rollout.context_length"
            )
        return cache

    def submit(self, request: GenerationRequest) -> None:
        # The last token of the previous answer is not in the cache yet; the model reads it together with the observation.
        cached = len(self._cached_ids.get(request.slot, ()))
        self._active[request.slot] = _ActiveSequence(request, list(request.token_ids[cached:]))

    def poll(self, timeout: float | None = None) -> list[GenerationResult]:
        """One forward pass over the sequences of `_next_batch`, whatever `timeout` is."""
        batch = self._next_batch_paged() if self.is_paged else self._next_batch()
        if not batch:
            return []
        try:
            logits = self.append_tokens([sequence.request.slot for sequence in batch], [sequence.pending_ids for sequence in batch])
        except NotImplementedError as error:  # from ragged_attention: retrying cannot help
            raise EngineError(f"{one_line_error(error)}; engine.kind=vllm or a server (openai) may support it") from error
        except RuntimeError as error:  # from torch: most often out of memory
            remedy = "where memory is short, lower rollout.concurrency or rollout.context_length"
            return [self._finish(GenerationResult(sequence.request.slot, error=f"{one_line_error(error)}; {remedy}")) for sequence in batch]
        return self._generate_tokens(batch, logits)

    def release(self, slot: int) -> None:
        self._cached_ids.pop(slot, None)
        self._active.pop(slot, None)
        self._kv.release(slot)

    def close(self) -> None:
        """Nothing to do: the memory is freed with the object."""

    def _next_batch(self) -> list[_ActiveSequence]:
        """All sequences that read one token, and as many of the longer ones as the token limit allows; one that exceeds the limit by itself
        joins them, else it would wait until no other sequence is left."""
        batch: list[_ActiveSequence] = []
        budget = _MAX_TOKENS_PER_PASS
        by_length = sorted(self._active.values(), key=lambda sequence: (len(sequence.pending_ids) > 1, sequence.request.slot))
        for sequence in by_length:
            length = len(sequence.pending_ids)
            if not batch or length <= budget or (length > _MAX_TOKENS_PER_PASS and budget >= 0):
                batch.append(sequence)
                budget -= length
        return batch

    def _next_batch_paged(self) -> list[_ActiveSequence]:
        """The sequences that have something to read, the oldest first, or else those that generate: the two never share a pass."""
        active = list(self._active.values())
        for group in ([s for s in active if len(s.pending_ids) > 1], [s for s in active if len(s.pending_ids) == 1]):
            batch: list[_ActiveSequence] = []
            longest = 0
            for sequence in group:
                longest = max(longest, len(sequence.pending_ids))
                if (batch and longest > 1 and longest * (len(batch) + 1) > _MAX_PADDED_TOKENS) or not self._reserve(sequence, batch):
                    break
                batch.append(sequence)
            if batch:
                return batch
        return []

    def _reserve(self, sequence: _ActiveSequence, batch: list[_ActiveSequence]) -> bool:
        """Make room in the cache for what the sequence reads: conversations without a request leave it first, then newer ones.

        So the oldest sequence always finds room, and no two take it from each other in turns.
        """
        slot = sequence.request.slot
        length = len(self._cached_ids.get(slot, ())) + len(sequence.pending_ids)
        kept = {slot, *(other.request.slot for other in batch)}
        while not self._kv.reserve(slot, length):
            idle = [other for other in self._cached_ids if other not in self._active]
            order = list(self._active)
            newer = [other for other in reversed(order[order.index(slot) + 1 :]) if other in self._cached_ids and other not in kept]
            if not (victims := idle + newer):
                return False
            self._evict(victims[0])
        return True

    def _evict(self, slot: int) -> None:
        """Forget what the cache has of a conversation; it reads the whole again when it is next in a pass."""
        self._kv.release(slot)
        del self._cached_ids[slot]
        if sequence := self._active.get(slot):
            sequence.pending_ids = [*sequence.request.token_ids, *sequence.generated_ids]

    def _generate_tokens(self, batch: list[_ActiveSequence], logits: Tensor) -> list[GenerationResult]:
        """Sample the next token of each sequence; returns the answers that this completes."""
        sampling = batch[0].request.sampling  # the same for all requests of a rollout
        uniforms = [float(sequence.request.rng.random()) for sequence in batch]
        tokens = sample_tokens(logits, temperature=sampling.temperature, top_p=sampling.top_p, uniforms=uniforms)
        finite = torch.isfinite(logits).all(dim=-1)
        if sampling.record_logprobs:
            logprobs = logits.log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0].tolist()
            for sequence, logprob in zip(batch, logprobs, strict=True):
                sequence.logprobs.append(logprob)
        results = []
        # One copy from the GPU for the whole pass.
        for sequence, token, is_finite in zip(batch, *torch.stack([tokens, finite.to(tokens.dtype)]).tolist(), strict=True):
            request, generated = sequence.request, sequence.generated_ids
            if not is_finite:
                self._cached_ids.pop(request.slot, None)
                self._kv.release(request.slot, damaged=True)
                results.append(self._finish(GenerationResult(request.slot, error=NOT_FINITE)))
                continue
            sequence.pending_ids = [token]
            generated.append(token)
            stopped = token in self.chat.stop_token_ids
            if stopped or len(generated) >= request.max_new_tokens:
                text = self.chat.decode(generated)
                results.append(self._finish(GenerationResult(request.slot, text, generated, stopped, logprobs=sequence.logprobs)))
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
            self._kv.copy_prefix(source, slot, length)
        return length

    def _forward(self, layout: BatchLayout, token_ids: list[int]) -> Tensor:
        """The logits after the last token of each row: [rows, vocabulary]."""
        positions = self._kv.start_pass(layout)
        logits: Tensor = self.model(
            input_ids=to_device([token_ids], self.device, torch.int64),
            attention_mask=layout.as_attention_mask(),
            position_ids=positions[None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=to_device(layout.last_positions(), self.device, torch.int64),
        ).logits
        return logits[0].float()


def _shared_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    length = min(len(a), len(b))
    equal = np.asarray(a[:length]) == np.asarray(b[:length])
    return int(equal.argmin()) if not equal.all() else length


def sample_tokens(logits: Tensor, *, temperature: float, top_p: float, uniforms: Sequence[float]) -> Tensor:
    """The next token of each row, int64 [rows]: the likeliest at temperature 0, else sampled by inverse transform of its uniform number.

    `logits`: [rows, vocabulary]; `uniforms`: one number in [0, 1) per row, from the episode's own generator. So a sample depends on its
    episode and not on the other rows of the batch, up to the rounding of the matrix products, which differs between batch shapes (about
    1e-6 relative in float32).
    """
    if temperature == 0.0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    order = None
    if top_p < 1.0:
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        probabilities = torch.where(probabilities.cumsum(dim=-1) - probabilities < top_p, probabilities, 0.0)
    cumulative = probabilities.cumsum(dim=-1)
    targets = torch.as_tensor(np.asarray(uniforms), dtype=torch.float64, device=logits.device)[:, None] * cumulative[:, -1:]
    indices = torch.searchsorted(cumulative, targets, right=True).clamp(max=logits.shape[-1] - 1)
    tokens = indices if order is None else order.gather(1, indices)
    return tokens[:, 0]
