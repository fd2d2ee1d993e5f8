"""A complete project at the smallest size: a toy environment, a language model with random weights, parameters. For the tests of the flows.

`python -m tests.flows.tiny <command>` is the product's command line with the toy environment registered; KILL_AT makes it kill itself.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import yaml

from envs import registry
from envs.base import Instruction, Sizes, TextEnv

PARAMS = {
    "seed": 0,
    "environments": ["pushing"],
    "model": {"base": "models/base", "num_threads": 1},
    "rollout": {"concurrency": 8, "num_workers": 1, "max_new_tokens": 32, "context_length": 512, "chunk_size": 8},
    "explore": {"temperature": 0.3},  # so that something succeeds
    "evolve": {"iterations": 2},
    "evaluate": {"bc_large": False, "zero_shot": False},
    "finetune": {"epochs": 30, "learning_rate": 0.003, "batch_tokens": 512, "precision": "float32", "max_tokens": 512},
    "gate": {"max_tokens": 512},
}


class Pushing(TextEnv):
    """Push until no box is left: a policy that has learnt one word succeeds."""

    name = "pushing"
    version = 1
    task_types = ("push",)
    sizes = Sizes(instructions=26, eval=6, agent_traj=8, agent_traj_l=12)
    max_rounds = 4
    prompt = "Push."

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        items = [Instruction(f"pushing_{i}", "pushing", "push", f"{1 + i % 2}", f"Room {i}, {1 + i % 2} left.") for i in range(26)]
        return tuple(items[6:]), tuple(items[:6])

    def begin(self, item_id: str) -> str:
        self.left = self.boxes = int(self.instruction(item_id).difficulty)
        return self.instruction(item_id).text

    def act(self, action: str) -> tuple[str, float, bool]:
        self.left -= action == "push"
        return f"{self.left} left.", float(self.left == 0), self.left == 0

    def measure_progress(self) -> float:
        return 1 - self.left / self.boxes

    def available_actions(self) -> list[str]:
        return ["push", "wait"]

    def expert(self) -> PushingExpert:
        return PushingExpert()


class PushingExpert:
    def act(self, observation: str) -> tuple[str, str]:
        return "go", "push"


def register() -> None:
    registry.ENVIRONMENTS.clear()
    registry.ENVIRONMENTS["pushing"] = "tests.flows.tiny:Pushing"


def make_project(folder: Path, **changes: Any) -> Path:
    """A project folder with parameters and a base model; `changes` replace sections' keys, e.g. evolve={"samples": 2}."""
    params = {name: {**section, **changes.pop(name, {})} if isinstance(section, dict) else section for name, section in PARAMS.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params | changes))
    make_model(folder / "models" / "base")
    return folder


def make_model(folder: Path) -> None:
    """A byte-level Llama of some 70,000 random weights, the same every time."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '[' + m['role'][0] + ']' + m['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[a]' }}{% endif %}"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(place: str) -> None:
    """Arrange for a kill -9: while exploring, while fine-tuning, or between two tasks of iteration 2."""
    import contextlib

    import tasks.learn
    import tasks.rollout
    from tasks.cached_task import CachedTask

    def killing_bar(text: str, after: int) -> Any:
        @contextlib.contextmanager
        def progress_bar(title: str) -> Any:
            yield lambda done, *_: die() if text in title and done >= after else None

        return progress_bar

    if place == "exploring":
        tasks.rollout.progress_bar = killing_bar("exploring with bc-base, 9-16", 2)
    elif place == "fine-tuning":
        tasks.learn.progress_bar = killing_bar("fine-tuning iteration-1", 3)
    elif place == "between":
        call = CachedTask.__call__
        CachedTask.__call__ = lambda self, **kwargs: die() if kwargs.get("label") == "iteration-2" else call(self, **kwargs)  # type: ignore[method-assign]


def main() -> None:
    """The command line of this process's arguments."""
    from flows.cli import command
    from flows.cli import main as cli

    register()
    if os.environ.get("KILL_AT"):
        load_flow = command.load_flow
        command.load_flow = lambda name: (kill_at(os.environ["KILL_AT"]), load_flow(name))[1]
    cli.main()


if __name__ == "__main__":
    main()
