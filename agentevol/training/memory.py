"""Estimates of the memory that training and playing need, from a model's configuration alone.

Invariant: these are estimates for decoder layers with grouped-query attention and a gated MLP, computed without loading a weight. They
choose sizes and warn; no result depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GIB = 1 << 30
MEMORY_SHARE = 0.9
"""Of a GPU's memory: what a training step is fitted to."""
CHUNK_BYTES = 256 << 20
"""Float32 logits of one forward pass above this size are computed in chunks of at most this size (chunked_loss.py)."""
_MOMENT_BYTES = {"adamw": 8, "adamw_8bit": 2, "adamw_paged_8bit": 2}
_LOGIT_BYTES = 12
"""Per entry of the vocabulary and trained token: the logits, their float32 copy, its gradient, and the gradient in the model's type."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The numbers of a causal language model that its memory depends on; widths in numbers per token."""

    parameters: int
    trained_parameters: int
    layers: int
    width: int
    mlp_width: int
    query_width: int
    key_width: int
    vocabulary: int

    @classmethod
    def of(cls, model: Any) -> ModelSize:
        """The size of a model, which may be on the meta device."""
        config = model.config.get_text_config()
        width, heads = int(config.hidden_size), int(config.num_attention_heads)
        head_width = int(getattr(config, "head_dim", None) or width // heads)
        parameters = list(model.parameters())
        return cls(
            parameters=sum(p.numel() for p in parameters),
            trained_parameters=sum(p.numel() for p in parameters if p.requires_grad),
            layers=int(config.num_hidden_layers),
            width=width,
            mlp_width=int(getattr(config, "intermediate_size", None) or 4 * width),
            query_width=heads * head_width,
            key_width=int(getattr(config, "num_key_value_heads", None) or heads) * head_width,
            vocabulary=int(config.vocab_size),
        )


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes on one GPU: of the model and its optimizer, and of each token and each trained token of a micro-batch."""

    weights: int
    gradients: int
    moments: int
    per_token: int
    per_trained_token: int
    chunk_tokens: int | None = None
    """Trained tokens whose logits are computed together; None: those of a whole micro-batch."""
    per_chunked_token: int = 0
    """Bytes of each trained token of a micro-batch that is computed in chunks, in the place of its logits."""
    chunked: int = 0
    """Further bytes of such a micro-batch: the float32 gradient of the output layer, summed over its chunks."""

    @property
    def fixed(self) -> int:
        return self.weights + self.gradients + self.moments

    def total(self, tokens: int, trained_tokens: int) -> int:
        """Bytes of a step whose largest micro-batch has this many tokens, of which `trained_tokens` are in the loss."""
        if self.chunk_tokens is None or trained_tokens <= self.chunk_tokens:
            return self.fixed + tokens * self.per_token + trained_tokens * self.per_trained_token
        chunk = self.chunked + self.chunk_tokens * self.per_trained_token
        return self.fixed + tokens * self.per_token + chunk + trained_tokens * self.per_chunked_token

    def fitting_tokens(self, available: int) -> int:
        """The tokens of the largest micro-batch that fits, if every token is in the loss; at least 1."""
        fitting = (available - self.fixed) // (self.per_token + self.per_trained_token)
        if self.chunk_tokens is not None and fitting >= self.chunk_tokens:
            chunk = self.chunked + self.chunk_tokens * self.per_trained_token
            in_chunks = (available - self.fixed - chunk) // (self.per_token + self.per_chunked_token)
            fitting = max(self.chunk_tokens, in_chunks)
        return max(1, fitting)


def estimate_training(
    size: ModelSize,
    *,
    bfloat16: bool,
    optimizer: str = "adamw",
    gradient_checkpointing: bool = False,
    master_weights: bool = True,
    num_shards: int = 1,
) -> TrainingMemory:
    """The memory of a training. `num_shards`: processes that share weights, gradients and moments (FSDP); 1: each has all of them.

    With bfloat16, trained weights have a float32 master copy; weights that are not trained (LoRA) have none. `master_weights` False: all
    weights are in float32, and autocast casts them. Processes that share a model share its float32 weights; each gathers those of two
    layers at a time, and casts them.
    """
    frozen, trained = size.parameters - size.trained_parameters, size.trained_parameters
    compute_bytes = 2 if bfloat16 else 4
    master_bytes = 4 if bfloat16 else 0
    layer = _activation_bytes(size, compute_bytes)
    trains_output_layer = frozen == 0  # LoRA has no adapter there
    # With checkpointing: the input of every layer, and all of one layer while it is computed again.
    per_token = size.layers * size.width * compute_bytes + layer if gradient_checkpointing else size.layers * layer
    weights = frozen * (compute_bytes if master_weights else 4) + trained * (compute_bytes + master_bytes)
    if num_shards > 1:
        of_layer = size.parameters // max(1, size.layers)
        # Cast weights are those of a layer, or of all layers until the backward pass.
        cast = (of_layer if gradient_checkpointing else size.parameters) if bfloat16 else 0
        weights = 4 * size.parameters // num_shards + 2 * 4 * of_layer + compute_bytes * cast
    return TrainingMemory(
        weights=weights,
        gradients=4 * trained // num_shards,
        moments=_MOMENT_BYTES[optimizer] * trained // num_shards,
        per_token=per_token,
        per_trained_token=_LOGIT_BYTES * size.vocabulary,
        chunk_tokens=logit_chunk_tokens(size.vocabulary),
        per_chunked_token=2 * size.width * compute_bytes,  # the output layer's input and its gradient
        chunked=4 * size.vocabulary * size.width if trains_output_layer else 0,
    )


def step_limit(memory_gib: float | None, gpu_memory: int | None) -> int | None:
    """The bytes that a training step is fitted to: `memory_gib`, or a share of the GPU's bytes; None: no limit (on a CPU)."""
    if memory_gib is not None:
        return int(memory_gib * GIB)
    return None if gpu_memory is None else int(MEMORY_SHARE * gpu_memory)


def logit_chunk_tokens(vocabulary: int) -> int:
    """The most trained tokens whose float32 logits are within CHUNK_BYTES."""
    return max(1, CHUNK_BYTES // (4 * max(1, vocabulary)))


def kv_cache_bytes_per_token(size: ModelSize, *, bytes_per_number: int = 2) -> int:
    """Keys and values of one token in all layers."""
    return 2 * size.layers * size.key_width * bytes_per_number


def _activation_bytes(size: ModelSize, compute_bytes: int) -> int:
    """What one decoder layer keeps of a token for the backward pass."""
    norms = 2 * size.width * (2 * 4 + compute_bytes)  # two RMS norms, computed in float32
    attention = 2 * size.query_width + 3 * size.key_width + size.query_width + 2 * size.width  # q, k, v, both rotated, output, residuals
    mlp = 4 * size.mlp_width + size.width  # gate, up, activation, product; the input
    return norms + (attention + mlp) * compute_bytes
