"""How many processes a rollout uses: several share a CPU; with several GPUs each process has one of them and an engine of its own.

Invariant: the plan depends on the settings, the GPUs and the number of episodes alone. Imports nothing that takes long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from agentevol.settings.engines import EngineParams
from agentevol.settings.rollout import RolloutParams

_MIN_EPISODES_PER_PROCESS = 8  # a process is not worth its start for fewer
_PARALLEL_OPTIONS = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


class UnsupportedEngines(ValueError):
    """`rollout.num_engines` does not fit the engine or the machine."""


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """`count` processes with an engine each. `gpus`: the GPU of each; empty: they see what this process sees, and one runs in it."""

    count: int
    gpus: tuple[str, ...] = ()


def plan_processes(settings: RolloutParams, engine: EngineParams | None, gpus: Sequence[str], num_episodes: int) -> ProcessPlan:
    """The processes for a rollout. `engine`: None means `transformers`. `gpus`: those of this machine. Raises UnsupportedEngines."""
    check_num_engines(settings, engine, gpus)
    most = max(1, min(settings.concurrency, num_episodes // _MIN_EPISODES_PER_PROCESS))
    kind = engine.kind if engine else "transformers"
    if kind == "openai" or (kind == "vllm" and not gpus):
        return ProcessPlan(1)
    if not gpus:
        return ProcessPlan(min(settings.num_workers, most))
    num_engines = settings.num_engines or (len(gpus) if _gpus_per_engine(engine) == 1 else 1)
    if num_engines == 1:
        return ProcessPlan(1)
    count = min(num_engines, most)
    return ProcessPlan(count, tuple(gpus[:count]))


def slots_per_engine(settings: RolloutParams, engine: EngineParams | None, gpus: Sequence[str], plan: ProcessPlan) -> int:
    """The episodes that each engine of the plan plays at the same time.

    An engine of vLLM stays in its process, and is built for a number of slots. On several GPUs that number is therefore the same for every
    number of episodes: a rollout of few, which uses fewer GPUs, would otherwise start new engines.
    """
    count = plan.count
    if plan.gpus and engine is not None and engine.kind == "vllm":
        count = settings.num_engines or len(gpus)
    return -(-settings.concurrency // count)


def check_num_engines(settings: RolloutParams, engine: EngineParams | None, gpus: Sequence[str]) -> None:
    """Raises UnsupportedEngines, in one line, if a number of engines is set that cannot be."""
    number = settings.num_engines
    if number is None:
        return
    if engine is not None and engine.kind == "openai":
        raise UnsupportedEngines(f"rollout.num_engines {number} cannot be used with engine.kind openai: the server decides; set it to null")
    if number > 1 and _gpus_per_engine(engine) > 1:
        raise UnsupportedEngines(
            f"rollout.num_engines {number} cannot be used with engine.options that spread one engine over GPUs"
            f" ({', '.join(_PARALLEL_OPTIONS)}); set it to 1, or remove them"
        )
    if number > max(1, len(gpus)):
        remedy = "on a CPU rollout.num_workers processes share the episodes; set it to null" if not gpus else f"allowed: 1 to {len(gpus)}"
        raise UnsupportedEngines(f"rollout.num_engines {number}: each engine needs a GPU, and this process sees {len(gpus)}; {remedy}")


def _gpus_per_engine(engine: EngineParams | None) -> int:
    return 1 if engine is None else prod(int(engine.options.get(name) or 1) for name in _PARALLEL_OPTIONS)
