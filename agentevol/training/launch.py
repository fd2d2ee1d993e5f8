"""Fine-tuning in this process, or in several that `accelerate launch` starts: the same call and the same result either way.

Invariant: the processes end with the one that started them, however that ends. Each of them runs `python -m agentevol.launch SPEC`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from agentevol.settings.schema import FinetuneParams

_TICK = "@step "
_EXPECTED = ("NoTrainingData", "NonFiniteLoss", "ModelNotFound", "IncompleteFolder", "PeftNotInstalled")


class LaunchFailed(RuntimeError):
    """A process that `accelerate launch` started did not end well."""


def finetune(
    base: Path,
    data: Path,
    out: Path,
    *,
    settings: FinetuneParams,
    seed: int,
    rule: str,
    work: Path,
    epochs: float | None = None,
    updates: int | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any]:
    """agentevol.training.finetune.finetune on the dataset in `data`, launched as `settings.accelerate_config` says. Raises also LaunchFailed."""  # noqa: E501
    how: dict[str, Any] = {"epochs": epochs, "updates": updates, "seed": seed, "rule": rule}
    if settings.accelerate_config is None:
        from agentevol.training import finetune as learning

        return learning.finetune(base, data, out, settings=settings, work=work, progress=progress, **how)
    config = Path(settings.accelerate_config)
    if not config.is_file():
        raise LaunchFailed(
            f"finetune.accelerate_config: there is no file {config}; make one with `accelerate config --config_file {config}`"
        )
    if settings.lora_rank and "FSDP" in config.read_text(encoding="utf-8"):
        raise LaunchFailed(f"finetune.lora_rank and FSDP ({config}) do not go together here: a model with adapters is small enough to copy")
    spec = {"base": str(base), "data": str(data), "out": str(out), "work": str(work), "how": how}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "spec.json").write_text(json.dumps({**spec, "settings": settings.model_dump(mode="json")}))
        _run(config, folder, progress)
        facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
        return facts


def _run(config: Path, folder: Path, progress: Callable[[int, int, float], None] | None) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    told = yaml.safe_load(config.read_text(encoding="utf-8"))
    environment = dict(os.environ)
    if told.get("use_cpu") and told.get("distributed_type") == "FSDP":
        raise LaunchFailed(
            f"{config}: accelerate shards on GPUs only, on processors each process would hold the whole model; use MULTI_CPU"
        )
    if told.get("use_cpu") and int(told.get("num_processes") or 1) > 1:
        # For processors alone accelerate starts several processes only by MPI; torch's launcher, which it has for GPUs, does it as well.
        environment["ACCELERATE_USE_CPU"] = "true"
        command.append("--multi_gpu")
    command += ["-m", "agentevol.training.launch"]
    with (folder / "stderr").open("w+") as errors:
        # Nothing is ever written to their standard input: it ends when this process does, and they with it.
        with subprocess.Popen(
            [*command, str(folder / "spec.json")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(_TICK) and progress is not None:
                    step, steps, loss = line.removeprefix(_TICK).split()
                    progress(int(step), int(steps), float(loss))
        if process.returncode:
            errors.seek(0)
            said = errors.read().splitlines()
            cause = next((line for line in said if any(f"{name}: " in line for name in _EXPECTED)), said[-1] if said else "nothing")
            raise LaunchFailed(f"fine-tuning under {config} ended with code {process.returncode}; it said: {cause.strip()}")


def main() -> None:
    """One of the processes."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    spec_file = Path(sys.argv[1])
    spec = json.loads(spec_file.read_text())
    from agentevol.training import finetune as learning

    first = os.environ.get("RANK", "0") == "0"
    facts = learning.finetune(
        Path(spec["base"]),
        Path(spec["data"]),
        Path(spec["out"]),
        settings=FinetuneParams.model_validate(spec["settings"]),
        work=Path(spec["work"]),
        progress=(lambda step, steps, loss: print(_TICK, step, steps, loss, flush=True)) if first else None,
        **spec["how"],
    )
    if first:
        spec_file.with_name("facts.json").write_text(json.dumps(facts))
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _end_with_starter() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
