"""A saved policy: its end token, its chat template and its number format; and trainings that must not be saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from agentevol.chat.load import load_chat_tokenizer, read_eos_token_ids
from agentevol.data.dataset import write_dataset
from agentevol.models import load_model, load_tokenizer, max_context_length, model_digest
from agentevol.rollout.engines.transformers import TransformersEngine
from agentevol.rollout.rollout import roll_out
from agentevol.settings.rollout import RolloutParams
from agentevol.training.export import save_policy, stored_dtype
from agentevol.training.finetune import finetune
from agentevol.training.optimizer import NonFiniteLoss, Optimizer
from tests.agentevol.counting import Counting
from tests.agentevol.training.examples import EASY, TRAJECTORIES, finetune_params

SPACE_BEFORE_END = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
)
ROLLOUT = RolloutParams(concurrency=5, num_workers=1, max_new_tokens=40, context_length=512, max_repeats=None)


def _copy_with_template(source: Path, folder: Path, template: str | None, **token_names: str) -> Path:
    shutil.copytree(source, folder)
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = template
    for name, token in token_names.items():
        setattr(tokenizer, name, token)
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_white_space_before_the_end_token_is_no_end_token(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    """In Llama 2's template a space comes before the eos token."""
    base = _copy_with_template(small_models["llama"], tmp_path / "base", SPACE_BEFORE_END)
    finetune(base, TRAJECTORIES, tmp_path / "policy", settings=finetune_params(), epochs=200, seed=0)
    episodes = roll_out(tmp_path / "policy", [Counting.instruction(row.item_id) for row in TRAJECTORIES], settings=ROLLOUT)
    assert sum(episode.success for episode in episodes) >= 7


def test_a_policy_names_its_end_token_and_keeps_format_and_files(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    """Its base model ends with another token than the template's turns, and is stored in bfloat16."""
    base = _copy_with_template(small_models["qwen"], tmp_path / "base", load_tokenizer(small_models["qwen"]).chat_template)
    model = load_model(base, "bfloat16")
    end = load_chat_tokenizer(base).end_token_id
    model.config.eos_token_id = model.generation_config.eos_token_id = 65
    model.save_pretrained(base)
    policy = tmp_path / "policy"
    finetune(base, EASY, policy, settings=finetune_params(), epochs=1, seed=0)
    assert read_eos_token_ids(policy) == [end, 65]
    assert {tensor.dtype for tensor in load_file(policy / "model.safetensors").values()} == {torch.bfloat16}
    assert load_chat_tokenizer(policy).stop_token_ids == load_chat_tokenizer(base).stop_token_ids
    assert load_tokenizer(policy).chat_template == load_tokenizer(base).chat_template
    finetune(small_models["qwen"], EASY, tmp_path / "plain", settings=finetune_params(), epochs=1, seed=0)
    assert {tensor.dtype for tensor in load_file(tmp_path / "plain" / "model.safetensors").values()} == {torch.float32}


def test_the_whole_weights_of_a_model_that_processes_share_are_saved_in_the_bases_format(
    small_models: dict[str, Path], tmp_path: Path
) -> None:
    """The model itself is still in float32, and holds only a part of each weight."""
    load_model(small_models["llama"], "bfloat16").save_pretrained(tmp_path / "base")
    model, chat = load_model(small_models["llama"]), load_chat_tokenizer(small_models["llama"])
    save_policy(model, chat, tmp_path / "base", tmp_path / "policy", model.state_dict())
    assert stored_dtype(tmp_path / "policy") == torch.bfloat16
    assert {tensor.dtype for tensor in load_file(tmp_path / "policy" / "model.safetensors").values()} == {torch.bfloat16}
    assert load_model(tmp_path / "policy").config.architectures == ["LlamaForCausalLM"]


def test_a_policy_of_a_model_without_a_template_has_one(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    base = _copy_with_template(small_models["llama"], tmp_path / "base", None)
    finetune(base, EASY, tmp_path / "policy", settings=finetune_params(), epochs=1, seed=0)
    served = load_tokenizer(tmp_path / "policy")
    rendered = served.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True)
    assert served(rendered, add_special_tokens=False)["input_ids"] == load_chat_tokenizer(base).tokenize_prompt("Hello")


class _NanGradient:
    """A loss of 0 whose gradient is not a number."""

    trained_tokens = 1

    def loss_sum(self, model: Any, device: torch.device) -> torch.Tensor:
        return torch.sqrt((model.weight * 0).sum())


def test_a_gradient_that_is_not_finite_ends_the_training_before_the_weights_change() -> None:
    model = torch.nn.Linear(3, 3)
    before = model.weight.detach().clone()
    optimizer = Optimizer(model, precision="float32", weight_decay=0.1, max_grad_norm=1.0)
    with pytest.raises(NonFiniteLoss, match=r"the gradient's norm is nan; lower finetune.learning_rate \(now 0.1\)"):
        optimizer.step([_NanGradient()], 0.1)
    assert torch.equal(model.weight, before)


def test_a_checkpoint_with_weights_that_are_not_finite_is_not_used(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", TRAJECTORIES, {}).path
    settings = finetune_params(batch_tokens=512, checkpoint_minutes=0.0)

    def train(name: str, stop_at: int | None = None) -> None:
        def progress(step: int, steps: int, loss: float) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        options: dict[str, Any] = {"settings": settings, "epochs": 4, "seed": 0, "work_dir": tmp_path / "work"}
        finetune(small_models["llama"], data, tmp_path / name, progress=progress, **options)

    with pytest.raises(KeyboardInterrupt):
        train("killed", stop_at=3)
    (state,) = (tmp_path / "work" / "checkpoints").glob("*/state.safetensors")
    tensors = load_file(state)
    weights = next(name for name in tensors if name.startswith("weight/"))
    tensors[weights].flatten()[0] = float("nan")
    save_file(tensors, state)
    train("again")
    shutil.rmtree(tmp_path / "work")
    train("whole")
    assert model_digest(tmp_path / "again") == model_digest(tmp_path / "whole")


@pytest.fixture
def longrope_model(small_models: dict[str, Path], tmp_path: Path) -> Path:
    """A Phi-3 whose positions change for the whole pass as soon as one row is longer than 48 tokens."""
    from transformers import Phi3Config, Phi3ForCausalLM

    tokenizer = load_tokenizer(small_models["llama"])
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [3.0, 5.0, 7.0, 9.0], "original_max_position_embeddings": 48}
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        original_max_position_embeddings=48,
        rope_parameters={"rope_theta": 10000.0, **rope},
        pad_token_id=0,
        **shape,
    )
    Phi3ForCausalLM(config).save_pretrained(tmp_path / "phi")
    tokenizer.save_pretrained(tmp_path / "phi")
    return tmp_path / "phi"


def test_rows_of_a_longrope_model_do_not_depend_on_longer_ones(longrope_model: Path) -> None:
    engine = TransformersEngine(longrope_model, num_slots=2, context_length=200)
    assert engine.context_length == max_context_length(engine.model.config) == 48
    row, longer = [5, 6, 7] * 5, [8, 9] * 24
    expected = load_model(longrope_model)(torch.tensor([row])).logits[0, -1]
    torch.testing.assert_close(engine.append_tokens([0, 1], [row, longer])[0], expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="does not fit the context of 48"):
        engine.append_tokens([1], [[8]])


def test_training_leaves_out_what_a_longrope_model_cannot_read(longrope_model: Path, counting: str, tmp_path: Path) -> None:
    settings = finetune_params(max_tokens=512)
    lengths = [len(load_chat_tokenizer(longrope_model).tokenize_trajectory(row).token_ids) for row in TRAJECTORIES]
    assert min(lengths) > 48
    (longrope_model / "config.json").write_text(
        json.dumps(json.loads((longrope_model / "config.json").read_text()) | {"max_position_embeddings": max(lengths)})
    )
    with pytest.raises(ValueError, match="longer than 48 tokens"):
        finetune(longrope_model, TRAJECTORIES, tmp_path / "out", settings=settings, epochs=1, seed=0)
