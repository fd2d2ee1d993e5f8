"""Checks that a model's architecture can be played and trained: a small copy with random weights is played and trained for one pass.

Invariant: two rows, one of them long, give in one pass what each gives alone. The copy has the model's configuration with few layers and
small widths, so the check takes seconds for a model of any size.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentevol.preflight.check import Check
from agentevol.preflight.files import read_config
from agentevol.rollout.engine import one_line_error

_SMALL = {
    **{"vocab_size": 128, "intermediate_size": 64, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
    **{"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    **{"first_k_dense_replace": 1, "sliding_window": 16, "q_lora_rank": 16, "kv_lora_rank": 16},
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "vocab_size_per_layer_input": 128},
}
"""Sizes of the copy, where the configuration has them and they are larger."""
_SHORT, _LONG = 11, 96  # tokens of the two rows
_TOLERANCE = 2e-3  # of the largest logit
_PLAY_ELSEWHERE = "engine.kind=vllm, or a server (openai), may play it"
_OTHER_MODEL = "choose another model"


def check_architecture(folder: Path, *, plays: bool, trains: bool = True) -> list[Check]:
    """Whether the model can be played with the engine `transformers`, and whether it can be trained."""
    if not (plays or trains):
        return []
    name = (read_config(folder).get("architectures") or [read_config(folder).get("model_type") or "unknown"])[0]
    with tempfile.TemporaryDirectory() as temporary, _one_thread():
        copy = Path(temporary) / "model"
        try:
            problem = _create_copy(folder, copy)
        except Exception as error:  # named boundary: an architecture may fail in any way
            problem = f"{name}: {one_line_error(error)}"
        if problem:
            return [Check("architecture", "error", problem, _OTHER_MODEL)]
        checks = [_check("playing", name, _PLAY_ELSEWHERE, _play, copy)] if plays else []
        return [*checks, _check("training", name, _OTHER_MODEL, _train, copy)] if trains else checks


@contextmanager
def _one_thread() -> Iterator[None]:
    """The copy is too small for more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check(subject: str, name: str, remedy: str, run: Any, copy: Path) -> Check:
    try:
        problem = run(copy)
    except Exception as error:  # named boundary, as above
        problem = one_line_error(error)[:200]
    if problem:
        return Check(subject, "error", f"{name} is not supported ({problem})", remedy)
    return Check(subject, "ok", f"{name}: two rows in one pass give what each gives alone")


def _create_copy(folder: Path, copy: Path) -> str | None:
    """Write the small copy with the model's tokenizer; returns why there can be none."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    name = (config.architectures or [type(config).__name__])[0]
    if config.get_text_config() is not config:
        return f"{name} has parts besides the language model (images or sound)"
    if type(config) not in AutoModelForCausalLM._model_mapping:
        return f"{name} is not a causal language model"
    _shrink(config)
    random_state = torch.get_rng_state()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():  # larger than at initialization, so that the logits of tokens differ by more than rounding errors
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(4)
    torch.set_rng_state(random_state)
    model.save_pretrained(copy)
    for path in folder.iterdir():
        if path.is_file() and path.suffix not in (".safetensors", ".bin", ".pt", ".gguf") and path.name != "config.json":
            shutil.copy(path, copy / path.name)
    (copy / "model.safetensors.index.json").unlink(missing_ok=True)
    return None


def _shrink(config: Any) -> None:
    """Few layers, one of each kind, and small widths."""
    kinds: list[str] = getattr(config, "layer_types", None) or []
    layers = max([2, *(1 + kinds.index(kind) for kind in set(kinds))])
    layers = min(layers, config.num_hidden_layers)
    config.num_hidden_layers = layers
    for name, value in vars(config).items():
        if name.endswith("layer_types") and isinstance(value, list):
            setattr(config, name, value[:layers])
    for name, size in _SMALL.items():
        if isinstance(value := getattr(config, name, None), int) and value > size:
            setattr(config, name, size)
    heads = getattr(config, "num_attention_heads", None)
    if isinstance(heads, int) and heads > 4:
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        shares = isinstance(kv_heads := getattr(config, "num_key_value_heads", None), int) and kv_heads < heads
        config.num_attention_heads = 4
        if kv_heads is not None:
            config.num_key_value_heads = min(kv_heads, 2) if shares else 4
        config.hidden_size = 4 * head_dim
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        if getattr(config, name, None) is not None:
            setattr(config, name, 0)


def _rows(limit: int | None) -> tuple[list[int], list[int]]:
    long = min(_LONG, limit or _LONG)
    return [3 + 7 * i % 101 for i in range(min(_SHORT, long // 2))], [5 + 11 * i % 89 for i in range(long)]


def _play(copy: Path) -> str | None:
    """Two conversations, one of them long, in the passes of the engine; compared with the model's own result for each alone."""
    import torch

    from agentevol.models import load_model, max_context_length
    from agentevol.rollout.engines.transformers import TransformersEngine

    reference = load_model(copy)
    rows = _rows(max_context_length(reference.config))
    with torch.inference_mode():
        expected = [reference(input_ids=torch.tensor([row]), use_cache=False).logits[0] for row in rows]
    engine = TransformersEngine(copy, num_slots=2, context_length=len(rows[1]), precision="float32")
    for ends in ((-4, -9), (-1, -1), (None, None)):
        starts = [0, 0] if ends == (-4, -9) else [-4, -9] if ends == (-1, -1) else [-1, -1]
        parts = [row[start:end] for row, start, end in zip(rows, starts, ends, strict=True)]
        logits = engine.append_tokens([0, 1], parts).cpu()
        for row, end in enumerate(ends):
            at = len(rows[row][:end]) - 1
            if not _equal(logits[row], expected[row][at]):
                return "a row's logits depend on other rows or on later tokens"
    return None


def _train(copy: Path) -> str | None:
    """The loss of two examples in one batch, compared with the model's own for each alone; and the gradient."""
    import torch
    from torch.nn.functional import cross_entropy

    from agentevol.chat.tokenize import TokenizedExample
    from agentevol.models import load_model, max_context_length
    from agentevol.training.packing import PackedBatch, enable_packed_attention
    from agentevol.training.padding import PaddedBatch

    model = load_model(copy)
    rows = _rows(max_context_length(model.config))
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([row]), use_cache=False).logits[0, :-1] for row in rows]
        expected = [cross_entropy(row_logits, torch.tensor(row[1:]), reduction="sum") for row_logits, row in zip(logits, rows, strict=True)]
    packed = enable_packed_attention(model)
    for weights, alone in (((1.0, 0.0), expected[0]), ((0.0, 1.0), expected[1])):
        examples = [(TokenizedExample(row, [True] * len(row)), weight) for row, weight in zip(rows, weights, strict=True)]
        batch: Any = PackedBatch.from_examples(examples) if packed else PaddedBatch.from_examples(examples, 0)
        loss = batch.loss_sum(model, torch.device("cpu"))
        if not torch.isclose(loss, alone, rtol=_TOLERANCE):
            return "an example's loss depends on other examples or on later tokens"
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return None if gradients and all(bool(gradient.isfinite().all()) for gradient in gradients) else "its gradient is not finite"


def _equal(logits: Any, expected: Any) -> bool:
    return bool((logits - expected).abs().max() <= 1e-5 + _TOLERANCE * expected.abs().max())
