"""A language model with one growing key-value cache per slot: the `transformers` engine.

Each slot holds one conversation. Every call appends tokens to some of the slots; what was read or said is never encoded again.
Works with any causal model of transformers whose attention can be chosen (Llama, Qwen, GPT-2 and their kin), on CPU or one GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from agentevol.chat.tokenize import ChatTokenizer
from agentevol.models import load_model, load_tokenizer, max_context_length, model_digest
from agentevol.rollout.engine import EngineError, GenerationRequest, GenerationResult, one_line_error
from agentevol.rollout.kv_cache import RaggedCacheLayer
from agentevol.rollout.ragged_attention import BY_ROW, BatchLayout

_TOKENS_A_PASS = 2048  # what bounds the memory of a forward pass
NOT_FINITE = "the model's logits are not finite; its weights are damaged or the precision is too low"


@dataclass(slots=True)
class _Speech:
    """A turn that is going on: what is still to be fed to the model, what has been said."""

    turn: GenerationRequest
    pending: list[int]
    said: list[int] = field(default_factory=list)


class TransformersEngine:
    """Model, tokenizer and cache. `append` feeds tokens to slots and returns the next-token logits of each: float32 [rows, vocabulary].

    A new conversation that begins like a live one (the same prompt, most often) takes over what that one has of it in the cache.
    `answers` is one forward pass: everybody who is to speak says a token more.
    """

    def __init__(self, folder: Path, *, slots: int, context: int, dtype: str = "float32") -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = load_model(folder, dtype).to(self.device)
        self.model.set_attn_implementation(BY_ROW)
        self.chat = ChatTokenizer(load_tokenizer(folder))
        self.digest = model_digest(folder)
        self.slots = slots
        self.context = min(context, max_context_length(self.model) or context)
        self._heard: dict[int, list[int]] = {}
        self._speeches: dict[int, _Speech] = {}
        self._layers = [RaggedCacheLayer(slots, self.context) for _ in range(self.model.config.num_hidden_layers)]
        self._cache = Cache(layers=self._layers)

    def submit(self, turn: GenerationRequest) -> None:
        # The last token of the answer before has not been fed yet: it goes with what was said to it.
        self._speeches[turn.slot] = _Speech(turn, list(turn.ids[len(self._heard.get(turn.slot, ())) :]))

    def poll(self) -> list[GenerationResult]:
        """One forward pass: everybody who says the next token, and of those who have something to read as many as the budget takes."""
        line: list[_Speech] = []
        budget = _TOKENS_A_PASS
        speeches = sorted(self._speeches.values(), key=lambda speech: (len(speech.pending) > 1, speech.turn.slot))
        for speech in speeches:
            if not line or len(speech.pending) <= budget:
                line.append(speech)
                budget -= len(speech.pending)
        if not line:
            return []
        try:
            logits = self.append([speech.turn.slot for speech in line], [speech.pending for speech in line])
        except NotImplementedError as error:  # of the model's attention: no repetition helps
            raise EngineError(f"{one_line_error(error)}; engine.kind=vllm, or a server (openai), may know it") from error
        except RuntimeError as error:  # torch's: out of memory, most often
            remedy = "where memory is short, lower rollout.concurrency or rollout.context_length"
            return [self._done(GenerationResult(speech.turn.slot, fault=f"{one_line_error(error)}; {remedy}")) for speech in line]
        broken: list[GenerationResult] = []
        sound = usable(logits)
        if not all(sound):
            unsound = [speech for speech, fine in zip(line, sound, strict=True) if not fine]
            broken = [self._done(GenerationResult(speech.turn.slot, fault=NOT_FINITE)) for speech in unsound]
            line, logits = [speech for speech, fine in zip(line, sound, strict=True) if fine], logits[sound]
        return broken + self._say(line, logits) if line else broken

    def release(self, slot: int) -> None:
        """Forget a slot's conversation."""
        self._heard.pop(slot, None)
        self._speeches.pop(slot, None)

    def close(self) -> None:
        """Nothing is held beyond the object."""

    def _say(self, line: list[_Speech], logits: Tensor) -> list[GenerationResult]:
        """One token more of each speech; the answers that are complete with it."""
        how = line[0].turn.sampling  # of all of them: a rollout has one
        uniforms = [float(speech.turn.stream.random()) for speech in line]
        tokens = choose(logits, temperature=how.temperature, top_p=how.top_p, uniforms=uniforms)
        done = []
        for speech, token in zip(line, tokens, strict=True):
            turn, said = speech.turn, speech.said
            speech.pending = [token]
            said.append(token)
            ended = token in self.chat.stop_token_ids
            if ended or len(said) >= turn.limit:
                done.append(self._done(GenerationResult(turn.slot, self.chat.decode(said), said, ended)))
            elif len(turn.ids) + len(said) + 1 >= self.context:
                done.append(self._done(GenerationResult(turn.slot, cut=f"the context of {self.context} tokens is full")))
        return done

    def _done(self, answer: GenerationResult) -> GenerationResult:
        del self._speeches[answer.slot]
        return answer

    @torch.inference_mode()
    def append(self, slots: Sequence[int], pieces: Sequence[Sequence[int]]) -> Tensor:
        """Feed each slot its piece (all non-empty). Raises ValueError when a slot would outgrow the context.

        RuntimeError of the forward pass (out of memory) is let through: then no slot has grown, and those fed must be cleared.
        """
        longest = max(len(self._heard.get(slot, ())) + len(piece) for slot, piece in zip(slots, pieces, strict=True))
        if longest > self.context:
            raise ValueError(f"a conversation of {longest} tokens does not fit the context of {self.context}")
        starts, fed = [], []
        for slot, piece in zip(slots, pieces, strict=True):
            known = slot in self._heard
            starts.append(len(self._heard[slot]) if known else self._take_over(slot, piece))
            fed.append(piece if known else piece[starts[-1] :])
        logits = self._forward(BatchLayout(list(slots), starts, [len(piece) for piece in fed]), [token for piece in fed for token in piece])
        for slot, piece in zip(slots, pieces, strict=True):
            self._heard.setdefault(slot, []).extend(piece)
        return logits

    def _take_over(self, slot: int, piece: Sequence[int]) -> int:
        """Copy the longest beginning that a live conversation shares with a new one, all but the last token; returns its length."""
        shared, source = max(((_shared(heard, piece), other) for other, heard in self._heard.items()), default=(0, 0))
        shared = min(shared, len(piece) - 1)
        if shared:
            for layer in self._layers:
                layer.copy(source, slot, shared)
        return shared

    def _forward(self, plan: BatchLayout, tokens: list[int]) -> Tensor:
        """The logits after the last token of each row: [rows, vocabulary]."""
        rows, positions = (torch.tensor(place, device=self.device) for place in plan.places())
        for layer in self._layers:
            layer.places = rows, positions
        logits: Tensor = self.model(
            input_ids=torch.tensor([tokens], device=self.device),
            attention_mask=plan.as_mask(),
            position_ids=positions[None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=torch.tensor(plan.sizes, device=self.device).cumsum(0) - 1,
        ).logits
        return logits[0].float()


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin alike with."""
    length = min(len(one), len(other))
    same = np.asarray(one[:length]) == np.asarray(other[:length])
    return int(same.argmin()) if not same.all() else length


def usable(logits: Tensor) -> list[bool]:
    """Whether each row is free of NaN and infinity."""
    found: list[bool] = torch.isfinite(logits).all(dim=-1).tolist()
    return found


def choose(logits: Tensor, *, temperature: float, top_p: float, uniforms: Sequence[float]) -> list[int]:
    """The next token of each row: the likeliest at temperature 0, else drawn by inverting the distribution at the row's own uniform number.

    One number per token, from the episode's own stream, so that a sample depends on its episode and not on who shares the batch; what is
    left of the batch is the rounding of the matrix products, which differs between batch shapes (about 1e-6 relative in float32).
    """
    if temperature == 0.0:
        return [int(token) for token in logits.argmax(dim=-1)]
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    order = None
    if top_p < 1.0:
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        probabilities = torch.where(probabilities.cumsum(dim=-1) - probabilities < top_p, probabilities, 0.0)
    cumulative = probabilities.cumsum(dim=-1)
    target = torch.as_tensor(np.asarray(uniforms), dtype=torch.float64, device=logits.device)[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, target, right=True).clamp(max=logits.shape[-1] - 1)
    drawn = index if order is None else order.gather(1, index)
    return [int(token) for token in drawn[:, 0]]
