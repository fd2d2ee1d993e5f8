"""Fine-tuning in this process, or in several that `accelerate launch` starts: the same call and the same result either way.

Invariant: the processes end when the process that started them does, however that ends. Each of them runs
`python -m agentevol.training.launch SPEC`, where SPEC is a JSON file with the arguments of `finetune`. Where they are on several machines,
`run_processes` is called on each of these.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agentevol.gpus import free_gpu_memory
from agentevol.parent_process import end_with_parent
from agentevol.python_process import module_command, module_environment
from agentevol.settings.finetune import FinetuneParams

_PROGRESS_PREFIX = "@step "
_LAUNCHER_VARIABLES = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"),
)
_LAUNCHER_PREFIXES = ("TORCHELASTIC_", "PMI_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_")
_DISTRIBUTED_TYPES = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP")
_KNOWN_ERRORS = (
    "NoTrainingData",
    "OutOfMemory",
    "OptimizerNotInstalled",
    "NonFiniteLoss",
    "ModelNotFound",
    "IncompleteFolder",
    "ProgressUnknown",
    "PeftNotInstalled",
    "ChatTemplateError",
    "CheckpointNotShared",
)
_KILLED = "(SIGKILL)"
"""What torch's launcher says of a process that was killed."""
Progress = Callable[[int, int, float], None]


class LaunchFailed(RuntimeError):
    """`accelerate launch` could not start the training, or one of its processes failed."""

    @property
    def has_known_cause(self) -> bool:
        """Whether one of the product's own errors ended the training, which starting it again does not change."""
        return any(f"{name}: " in str(self) for name in _KNOWN_ERRORS)


class ProcessLost(LaunchFailed):
    """A process of the training was killed, most often because memory ran out."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One of `count` machines whose processes train together. `address`, `port`: where the first of them coordinates the others."""

    rank: int
    count: int
    address: str
    port: int


StartProcesses = Callable[[Path, Mapping[str, Any], Progress | None], dict[str, Any]]
"""Starts the training that a spec describes, as a file of accelerate says; returns the facts of `finetune`. Raises LaunchFailed."""


def finetune(
    base: Path,
    data: Path,
    output_dir: Path,
    *,
    settings: FinetuneParams,
    seed: int,
    rule: str,
    rule_options: Mapping[str, Any] | None = None,
    work_dir: Path,
    epochs: float | None = None,
    max_steps: int | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    objective: Mapping[str, float] | None = None,
    progress: Progress | None = None,
    start_processes: StartProcesses | None = None,
) -> dict[str, Any]:
    """agentevol.training.finetune.finetune on the dataset in `data`, launched as `settings.accelerate_config` says.

    `start_processes`: starts them on several machines; None: on this one.
    Raises LaunchFailed, and without `accelerate_config` the errors of that function.
    """
    ignore_launcher_variables()
    check_combinations(settings, on_nodes=start_processes is not None)
    options: dict[str, Any] = {"epochs": epochs, "max_steps": max_steps, "seed": seed, "rule": rule}
    options |= {"rule_options": dict(rule_options)} if rule_options else {}
    options |= {"template_kwargs": dict(template_kwargs)} if template_kwargs else {}
    options |= {"objective": dict(objective)} if objective else {}
    if settings.accelerate_config is None:
        from agentevol.training import finetune as in_process

        return in_process.finetune(base, data, output_dir, settings=settings, work_dir=work_dir, progress=progress, **options)
    free_gpu_memory()
    spec: dict[str, Any] = {"base": str(base), "data": str(data), "output_dir": str(output_dir), "work_dir": str(work_dir)}
    spec |= {"options": options, "settings": settings.model_dump(mode="json")}
    return (start_processes or run_processes)(Path(settings.accelerate_config), spec, progress)


def run_processes(config_file: Path, spec: Mapping[str, Any], progress: Progress | None, machine: Machine | None = None) -> dict[str, Any]:
    """Run the training under `accelerate launch` on this machine; returns its facts, which only the first of several machines has.

    Raises LaunchFailed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "spec.json").write_text(json.dumps(spec))
        _launch(config_file, folder, progress, machine)
        facts: dict[str, Any] = {} if machine and machine.rank else json.loads((folder / "facts.json").read_text())
        return facts


def check_combinations(settings: FinetuneParams, *, on_nodes: bool = False) -> None:
    """Raises LaunchFailed, which names the parameter, if these settings cannot work together; nothing is loaded for that.

    `on_nodes`: whether the nodes of a cluster train.
    """
    if settings.accelerate_config is None:
        return
    file = Path(settings.accelerate_config)
    if not file.is_file():
        raise LaunchFailed(f"finetune.accelerate_config: there is no file {file}; make one with `accelerate config --config_file {file}`")
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise LaunchFailed(f"finetune.accelerate_config: {file} is not a configuration of accelerate; make one with `accelerate config`")
    kind = config.get("distributed_type") or "NO"
    if kind not in _DISTRIBUTED_TYPES:
        raise LaunchFailed(f"{file}: distributed_type {kind} is not supported; allowed: {', '.join(_DISTRIBUTED_TYPES)}")
    machines, processes = int(config.get("num_machines") or 1), int(config.get("num_processes") or 1)
    if machines > 1 and not on_nodes:
        raise LaunchFailed(
            f"{file}: num_machines is {machines}; allowed: 1, or the nodes of a cluster (cluster.address, and cluster.finetune true)"
        )
    if processes % machines:
        raise LaunchFailed(f"{file}: num_processes is {processes}; allowed: a multiple of num_machines, {machines}")
    if machines > 1 and kind == "NO":
        raise LaunchFailed(f"{file}: num_machines is {machines}, but distributed_type is NO; allowed: {', '.join(_DISTRIBUTED_TYPES[1:])}")
    if kind != "FSDP":
        return
    if settings.lora_rank:
        raise LaunchFailed(f"finetune.lora_rank cannot be used with FSDP ({file}): set it to null, or use MULTI_GPU")
    if settings.optimizer != "adamw":
        raise LaunchFailed(
            f"finetune.optimizer {settings.optimizer} cannot be used with FSDP ({file}): its moments cannot be sharded; use adamw"
        )
    if config.get("use_cpu"):
        raise LaunchFailed(
            f"{file}: accelerate shards a model only on GPUs; on CPUs each process would hold the whole model; use MULTI_CPU"
        )
    if int((config.get("fsdp_config") or {}).get("fsdp_version") or 1) != 2:
        raise LaunchFailed(
            f"{file}: fsdp_config.fsdp_version must be 2, because only sharded parameters of version 2 have checkpoints here"
        )


def machines_and_processes(settings: FinetuneParams) -> tuple[int, int]:
    """The machines, and the processes of all of them, that train together."""
    if settings.accelerate_config is None:
        return 1, 1
    config = yaml.safe_load(Path(settings.accelerate_config).read_text(encoding="utf-8"))
    return int(config.get("num_machines") or 1), int(config.get("num_processes") or 1)


def num_shards(settings: FinetuneParams) -> int:
    """The processes that share one model (FSDP); 1: each has the whole model."""
    if settings.accelerate_config is None:
        return 1
    config = yaml.safe_load(Path(settings.accelerate_config).read_text(encoding="utf-8"))
    return machines_and_processes(settings)[1] if config.get("distributed_type") == "FSDP" else 1


def ignore_launcher_variables() -> None:
    """Remove the variables of torchrun, `accelerate launch` and MPI from the environment, and print a line if there were any.

    Accelerate would take this process for one of several and wait for the others for ever. The processes that `_launch` starts get
    variables of their own.
    """
    names = sorted(name for name in os.environ if name in _LAUNCHER_VARIABLES or name.startswith(_LAUNCHER_PREFIXES))
    for name in names:
        del os.environ[name]
    if names:
        remedy = "to train in several processes, set finetune.accelerate_config"
        print(f"ignored {', '.join(names)}: this process trains by itself; {remedy}", file=sys.stderr)


def _launch(config_file: Path, folder: Path, progress: Progress | None, machine: Machine | None) -> None:
    """Run the training that `folder`/spec.json describes under `accelerate launch`; its facts are then in `folder`/facts.json."""
    command = [*module_command("accelerate.commands.launch"), "--config_file", str(config_file)]
    config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    environment = module_environment()
    if config.get("use_cpu") and int(config.get("num_processes") or 1) > 1:
        # On CPUs accelerate itself starts several processes only with MPI; torch's launcher, which it uses for GPUs, works there as well.
        environment["ACCELERATE_USE_CPU"] = "true"
        command.append("--multi_gpu")
    if machine:
        command += ["--num_machines", str(machine.count), "--machine_rank", str(machine.rank), "--same_network"]
        command += ["--main_process_ip", machine.address, "--main_process_port", str(machine.port), "--rdzv_backend", "static"]
    command += ["-m", "agentevol.training.launch", str(folder / "spec.json")]
    with (folder / "stderr").open("w+") as stderr:
        # Nothing is written to their standard input: it is closed when this process ends (agentevol/parent_process.py).
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(_PROGRESS_PREFIX) and progress is not None:
                    step, steps, loss = line.removeprefix(_PROGRESS_PREFIX).split()
                    progress(int(step), int(steps), float(loss))
        if process.returncode:
            stderr.seek(0)
            lines = stderr.read().splitlines()
            known = (line for line in lines if any(f"{name}: " in line for name in _KNOWN_ERRORS))
            cause = next(known, lines[-1] if lines else "(nothing)")
            failed = LaunchFailed(f"fine-tuning under {config_file} ended with code {process.returncode}; its error: {cause.strip()}")
            if not failed.has_known_cause and any(_KILLED in line for line in lines):
                raise ProcessLost(f"fine-tuning under {config_file}: one of its processes was killed (-9), perhaps because memory ran out")
            raise failed


def main() -> None:
    """The training in one of the launched processes."""
    end_with_parent()
    spec_file = Path(sys.argv[1])
    spec = json.loads(spec_file.read_text())
    from agentevol.training import finetune as in_process

    is_main_process = os.environ.get("RANK", "0") == "0"
    facts = in_process.finetune(
        Path(spec["base"]),
        Path(spec["data"]),
        Path(spec["output_dir"]),
        settings=FinetuneParams.model_validate(spec["settings"]),
        work_dir=Path(spec["work_dir"]),
        progress=(lambda step, steps, loss: print(_PROGRESS_PREFIX, step, steps, loss, flush=True)) if is_main_process else None,
        **spec["options"],
    )
    if is_main_process:
        spec_file.with_name("facts.json").write_text(json.dumps(facts))
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
