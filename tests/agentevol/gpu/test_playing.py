"""Playing on the device of this machine: conversations in one pass of the engine against the model's own result for each alone.

Invariant: heads are as wide as those of language models, so that a GPU uses its attention kernel where it has one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agentevol.models import load_model, load_tokenizer
from agentevol.rollout.engines.transformers import TransformersEngine

ROWS = [[(7 * slot + i * i) % 250 for i in range(length)] for slot, length in enumerate((300, 5, 256))]


@pytest.fixture(scope="module")
def wide_model(small_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of one layer whose two heads of 64 numbers share a key head."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wide")
    tokenizer = load_tokenizer(small_models["llama"])
    shape = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=1024, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 5e-2)])
def test_conversations_in_one_pass_get_what_each_gets_alone(precision: str, tolerance: float, wide_model: Path) -> None:
    engine = TransformersEngine(wide_model, num_slots=len(ROWS), context_length=512, precision=precision, paged=True)
    alone = load_model(wide_model).to(engine.device)
    with torch.inference_mode():
        expected = [alone(input_ids=torch.tensor([row], device=engine.device), use_cache=False).logits[0] for row in ROWS]
    for start, end in ((None, -3), (-3, -1), (-1, None)):  # a prompt, an observation, a token that is generated
        logits = engine.append_tokens(range(len(ROWS)), [row[start:end] for row in ROWS])
        for row_logits, row, row_expected in zip(logits, ROWS, expected, strict=True):
            at = len(row[:end]) - 1
            assert (row_logits - row_expected[at]).abs().max() <= tolerance * row_expected[at].abs().max()
