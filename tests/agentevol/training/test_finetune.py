"""Fine-tuning: what is learnt from, how it is weighed, what is left out, and that it can be done again to the bit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from agentevol.chat.tokenize import ChatTokenizer, TokenizedExample
from agentevol.models import load_model, load_tokenizer, model_digest
from agentevol.rollout.rollout import roll_out
from agentevol.training.finetune import NoTrainingData, finetune, weighed
from agentevol.training.optimizer import IGNORE_INDEX, Optimizer
from agentevol.training.packing import PackedBatch, enable_packed_attention
from agentevol.training.padding import Batch, batches, weighted_nll
from agentevol.training.schedule import Schedule
from agentevol.training.tokenized_dataset import tokenize_dataset
from tests.agentevol.counting import Counting, play_counting
from tests.agentevol.rollout.test_rollout import Settings as RolloutParams


@dataclass
class Settings:
    learning_rate: float = 3e-3
    batch_tokens: int = 1024
    warmup: float = 0.1
    weight_decay: float = 0.0
    clip: float = 1.0
    precision: str = "float32"
    max_tokens: int = 512
    min_lr_ratio: float = 0.1
    micro_tokens: int | None = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    checkpoint_minutes: float | None = None


EASY = [play_counting(number, [str(number + 1)]) for number in range(4, 12, 2)]
HARD = [play_counting(number, [str(number + 1), str(number + 2)]) for number in range(3, 12, 2)]


@pytest.mark.parametrize("family", ["llama", "qwen"])
def test_cloning_teaches_the_experts_answers(family: str, small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    report = finetune(small_models[family], EASY + HARD, tmp_path, settings=Settings(), epochs=200, seed=0)
    assert report["loss"][-1][1] < 0.05 * report["loss"][0][1]
    again = roll_out(tmp_path, [Counting.instruction(one.item_id) for one in EASY + HARD], settings=RolloutParams(max_new_tokens=40))
    assert sum(one.success for one in again) >= 7


def test_same_seed_same_weights_other_seed_other_weights(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        finetune(small_models["llama"], EASY + HARD, tmp_path / name, settings=Settings(batch_tokens=256), epochs=2, seed=seed)
        digests.append(model_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]
    assert load_model(tmp_path / "a").config.vocab_size == load_model(small_models["llama"]).config.vocab_size


def test_so_many_updates_whatever_there_is_to_learn(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    how = {"settings": Settings(batch_tokens=256), "seed": 0}
    few, many = (finetune(small_models["llama"], data, tmp_path / str(len(data)), updates=7, **how) for data in (EASY, EASY + HARD))
    assert few["steps"] == many["steps"] == 7
    assert few["tokens"] > 2 * sum(len(row.token_ids) for row in tokenize_dataset(EASY, small_models["llama"]).encoded)  # again and again
    assert many["tokens"] > few["tokens"] / 2
    for wrong in ({}, {"epochs": 1, "updates": 7}):
        with pytest.raises(ValueError, match="allowed: one of them"):
            finetune(small_models["llama"], EASY, tmp_path / "none", **how, **wrong)


def test_rewards_weigh_and_failures_teach_nothing(small_models: dict[str, Path], counting: str) -> None:
    half, failed = replace(EASY[0], reward=0.5), play_counting(4, ["9"] * 4)
    rows, _ = weighed(tokenize_dataset([EASY[0], half, failed], small_models["llama"]), 512, "reward_weighted")
    assert [weight for _, weight in rows] == [1.0, 0.5]
    plain, _ = weighed(tokenize_dataset([EASY[0], half], small_models["llama"]), 512, "threshold")
    assert [weight for _, weight in plain] == [1.0, 1.0]


def test_the_loss_is_the_papers_weighted_likelihood() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 7)
    ids = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1]])
    labels = torch.tensor([[IGNORE_INDEX, IGNORE_INDEX, 3, 4], [IGNORE_INDEX, 3, IGNORE_INDEX, IGNORE_INDEX]])
    log = torch.log_softmax(logits, dim=-1)
    by_hand = -(1.0 * (log[0, 1, 3] + log[0, 2, 4]) + 0.25 * log[1, 0, 3])
    batch = Batch(ids, labels, torch.tensor([1.0, 0.25]))
    assert float(weighted_nll(logits[:, :-1][batch.learnt], batch)) == pytest.approx(float(by_hand), rel=1e-6)


@pytest.mark.parametrize("family", ["llama", "qwen", "gpt2"])
def test_the_loss_is_that_of_the_whole_output_layer(family: str, small_models: dict[str, Path], counting: str) -> None:
    """What skips the output layer changes nothing of the loss."""
    model = load_model(small_models[family])
    rows, _ = weighed(tokenize_dataset([EASY[0], replace(HARD[0], reward=0.5)], small_models[family]), 512, "reward_weighted")
    batch = next(batches(rows, tokens=4096, epochs=1, seed=0, pad=0))
    with torch.no_grad():
        log = torch.log_softmax(model(input_ids=batch.ids).logits.float(), dim=-1)
    of_each = -log[:, :-1].gather(2, batch.ids[:, 1:, None])[..., 0] * batch.weights[:, None]
    optimizer = Optimizer(model, precision="float32", weight_decay=0.0, clip=1.0)
    assert optimizer.loss_of(batch) == pytest.approx(float(of_each[batch.learnt].sum() / batch.trained_tokens), rel=1e-5)


def test_too_long_is_left_out_whole_and_named(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    longest = max(len(ChatTokenizer(load_tokenizer(small_models["llama"])).tokenize_conversation(one.messages).token_ids) for one in EASY)
    report = finetune(small_models["llama"], EASY + HARD, tmp_path, settings=Settings(max_tokens=longest), epochs=1, seed=0)
    assert report["too_long"] == [one.item_id for one in HARD]
    assert report["sequences"] == len(EASY)
    with pytest.raises(NoTrainingData, match="longer than 10 tokens"):
        finetune(small_models["llama"], EASY, tmp_path, settings=Settings(max_tokens=10), epochs=1, seed=0)


def test_every_row_once_an_epoch_and_batches_within_the_budget() -> None:
    rows = [(TokenizedExample(list(range(2, 2 + length)), [True] * length), 1.0) for length in range(10, 400, 7)]
    plan = list(batches(rows, tokens=1024, epochs=2.5, seed=0, pad=0))
    assert all(batch.ids.numel() <= 1024 for batch in plan)
    assert sum(len(batch.ids) for batch in plan) == 2 * len(rows) + round(0.5 * len(rows))
    real = sum(int((batch.labels != IGNORE_INDEX).sum()) for batch in plan)
    assert real / sum(batch.ids.numel() for batch in plan) > 0.75


def test_the_schedule_rises_then_falls() -> None:
    schedule = Schedule(peak=1.0, steps=100, warmup=0.1, min_ratio=0.1)
    rates = [schedule.at(step) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[0] == pytest.approx(0.1)
    assert 0.1 <= rates[-1] < 0.12


@pytest.mark.parametrize("family", ["llama", "qwen", "gpt2"])
def test_packed_loss_and_gradient_are_those_of_plain_rows(family: str, small_models: dict[str, Path]) -> None:
    torch.manual_seed(0)
    rows = [
        (TokenizedExample(torch.randint(2, 200, (size,)).tolist(), [i % 3 > 0 for i in range(size)]), w)
        for size, w in ((40, 1.0), (7, 0.25), (90, 0.5))
    ]
    plain, packed = load_model(small_models[family]), load_model(small_models[family])
    (batch,) = batches(rows, tokens=10_000, epochs=1, seed=0, pad=0)
    expected = weighted_nll(plain(input_ids=batch.ids, use_cache=False).logits[:, :-1][batch.learnt], batch)
    assert enable_packed_attention(packed)
    line = PackedBatch.of(rows)
    loss = line.nll(packed, torch.device("cpu"))
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    expected.backward()
    loss.backward()
    for one, other in zip(plain.parameters(), packed.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5)


def test_what_the_model_has_no_places_for_is_too_long(small_models: dict[str, Path], counting: str, tmp_path: Path) -> None:
    lengths = sorted(len(encoded.token_ids) for encoded in tokenize_dataset(EASY + HARD, small_models["gpt2"]).encoded)
    places, fit = lengths[0], lengths.count(lengths[0])
    assert fit < len(lengths)
    model = load_model(small_models["gpt2"])
    model.config.n_positions = places
    model.transformer.wpe = torch.nn.Embedding.from_pretrained(model.transformer.wpe.weight[:places].detach().clone())
    model.save_pretrained(tmp_path / "short")
    load_tokenizer(small_models["gpt2"]).save_pretrained(tmp_path / "short")
    report = finetune(tmp_path / "short", EASY + HARD, tmp_path / "out", settings=Settings(), epochs=1, seed=0)
    assert (report["max_tokens"], report["sequences"], len(report["too_long"])) == (places, fit, len(lengths) - fit)
