"""Processes that share a model (FSDP) resume from the parts that each has written, and learn from logits in chunks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.servers.ports import free_port

pytestmark = pytest.mark.slow


def _train_shards(rank: int, port: int, folder: str) -> None:
    """One of two processes that share a model: three steps, a checkpoint, three more; then the same from the checkpoint."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard

    from agentevol.training.checkpoints import Checkpoint
    from agentevol.training.schedule import LossCurve

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)

    class Sharded:
        """What a checkpoint needs of an Optimizer."""

        is_sharded, masters = True, None

        def __init__(self) -> None:
            torch.manual_seed(0)
            self.model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Linear(5, 3))
            fully_shard(self.model)
            self.adamw = torch.optim.AdamW(self.model.parameters(), lr=0.1)
            self.accelerator = SimpleNamespace(
                process_index=rank, is_main_process=rank == 0, device=torch.device("cpu"), wait_for_everyone=dist.barrier
            )

        def trained_tensors(self) -> dict[str, Any]:
            return dict(self.model.named_parameters())

        def steps(self, first: int, last: int) -> None:
            for step in range(first, last):
                self.adamw.zero_grad()
                self.model(torch.full((2, 7), float(step))).square().mean().backward()
                self.adamw.step()

        def weights(self) -> list[torch.Tensor]:
            return [parameter.full_tensor() for parameter in self.model.parameters()]

    whole: Any = Sharded()
    whole.steps(0, 3)
    Checkpoint(Path(folder) / "checkpoint", 0.0).save_if_due(3, whole, LossCurve(6))
    whole.steps(3, 6)
    resumed: Any = Sharded()
    assert Checkpoint(Path(folder) / "checkpoint", 0.0).restore(resumed, LossCurve(6)) == 3
    resumed.steps(3, 6)
    assert all(torch.equal(ours, expected) for ours, expected in zip(resumed.weights(), whole.weights(), strict=True))
    Path(folder, f"done-{rank}").touch()
    at_once, in_chunks = (_sharded_gradients(rank, in_chunks) for in_chunks in (False, True))
    torch.save([at_once, in_chunks], Path(folder, f"gradients-{rank}"))
    dist.destroy_process_group()


def _sharded_gradients(rank: int, in_chunks: bool) -> dict[str, torch.Tensor]:
    """Of two micro-batches through a model that two processes share; those of the second process are too small for chunks."""
    from torch.distributed.fsdp import fully_shard
    from transformers import LlamaConfig, LlamaForCausalLM

    from agentevol.chat.tokenize import TokenizedExample
    from agentevol.training import memory
    from agentevol.training.chunked_loss import prepare_output_layer
    from agentevol.training.padding import PaddedBatch

    def batch(length: int, seed: int) -> PaddedBatch:
        token_ids = torch.randint(300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
        return PaddedBatch.from_examples([(TokenizedExample(token_ids, [True] * length), 1.0)], 0)

    memory.CHUNK_BYTES = 4 * 300 * 16 if in_chunks else 1 << 28
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "tie_word_embeddings": True}
    model: Any = LlamaForCausalLM(LlamaConfig(vocab_size=300, **shape))
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    cpu = torch.device("cpu")
    prepare_output_layer(model, lambda: batch(2, 0).logits(model, cpu))
    for seed, length in enumerate([(70, 10), (40, 12)]):
        batch(length[rank], 2 * seed + rank).loss_sum(model, cpu).backward()
    return {name: parameter.grad.full_tensor() for name, parameter in model.named_parameters()}


@pytest.fixture(scope="module")
def shared_training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two processes that share models."""
    folder = tmp_path_factory.mktemp("shared")
    torch.multiprocessing.spawn(_train_shards, (free_port(), str(folder)), nprocs=2)
    return folder


def test_a_sharded_training_resumes_from_the_parts_of_its_processes(shared_training: Path) -> None:
    assert {"checkpoint", "done-0", "done-1"} <= {file.name for file in shared_training.iterdir()}
    assert {file.name for file in (shared_training / "checkpoint").glob("state*")} == {"state-0.safetensors", "state-1.safetensors"}


@pytest.mark.parametrize("rank", [0, 1])
def test_a_sharded_model_learns_from_logits_in_chunks(shared_training: Path, rank: int) -> None:
    at_once, in_chunks = torch.load(shared_training / f"gradients-{rank}")
    for name, gradient in at_once.items():
        assert not torch.equal(in_chunks[name], gradient) or "embed" not in name, "nothing was computed in chunks"
        torch.testing.assert_close(in_chunks[name], gradient, rtol=1e-3, atol=1e-4)
