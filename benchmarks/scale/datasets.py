"""How time and memory grow with the size of a dataset: `python -m benchmarks.scale [--sizes 1000 10000 100000] [--json FILE]`.

Explored episodes and a quarter as many expert episodes go through the steps of the pipeline: filter, merge, gate, tokenise, write, hash.
Each step is the body of its task, in a process of its own that is forked after all imports. Goals: ten times the rows take at most eleven
times as long; no step needs more than 2 GiB. The rows are expert episodes of four environments with changed thoughts, failures, errors and
duplicates.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from agentevol.data.dataset import open_dataset, recorded_measures, stream_dataset, write_dataset, write_instructions
from agentevol.data.trajectory import Message, Trajectory
from benchmarks.results import machine, record
from envs.registry import environment_class

ENVIRONMENTS = ("babyai", "maze", "textcraft", "wordle")
BASE = Path(__file__).parents[2] / "models" / "base"
EPISODES = 100  # expert episodes per environment, from which all rows are made
KINDS = ("success",) * 6 + ("failure", "failure", "error", "duplicate")
GOAL_RATIO, GOAL_MIB = 11.0, 2048


def expert_episodes(per_environment: int = EPISODES) -> list[Trajectory]:
    """Expert episodes, with the token ids that the episodes of a policy have."""
    from agentevol.chat.tokenize import ChatTokenizer
    from agentevol.data.experts import play_expert
    from agentevol.models import load_tokenizer

    chat = ChatTokenizer(load_tokenizer(BASE))
    instructions = [(env, item) for env in ENVIRONMENTS for item in environment_class(env).instructions("train_large")[:per_environment]]
    episodes = [play_expert(env, item) for env, item in instructions]
    for episode in episodes:
        encoded = chat.tokenize_conversation(episode.messages)
        episode.token_ids, episode.loss_mask, episode.tokens = encoded.token_ids, encoded.loss_mask, len(encoded.token_ids)
    return episodes


def explored_rows(episodes: list[Trajectory], rows: int) -> Iterator[Trajectory]:
    """`rows` explored episodes, of every kind of KINDS."""
    for number in range(rows):
        episode, kind = episodes[number % len(episodes)], KINDS[number // len(episodes) % len(KINDS)]
        sample = number // len(episodes)
        thought = sample - 5 if kind == "duplicate" else sample  # a duplicate has the texts of an earlier sample
        messages = with_thoughts(episode.messages, thought)
        row = replace(episode, policy="agentevol", split="explore", iteration=1, sample=sample, messages=messages)
        if kind == "failure":
            row = replace(row, reward=0.0, success=False, status="truncated", error="the same answer 3 times")
        yield replace(row, status="error", error="the engine went away", reward=0.0, success=False) if kind == "error" else row


def expert_rows(episodes: list[Trajectory], rows: int) -> Iterator[Trajectory]:
    """`rows` successful expert episodes without token ids."""
    for number in range(rows):
        episode, sample = episodes[number % len(episodes)], number // len(episodes)
        messages = with_thoughts(episode.messages, -1 - sample)
        yield replace(episode, sample=sample, token_ids=None, loss_mask=None, tokens=0, messages=messages)


def with_thoughts(messages: list[Message], number: int) -> list[Message]:
    """The messages with `number` in every thought, so that they differ from those with another number."""
    return [replace(m, content=m.content.replace("Thought:", f"Thought: ({number})")) if m.role == "assistant" else m for m in messages]


def steps(folder: Path) -> dict[str, Callable[[], Any]]:
    """The steps by name; each writes the input of the next one."""
    from agentevol.data import artifact_folder, trajectory
    from agentevol.settings.gate import GateParams
    from agentevol.training.tokenized_dataset import tokenize_dataset
    from tasks import datasets
    from tasks.artifact import Artifact
    from tasks.gate import validate

    def data(name: str, kind: str = "trajectories") -> Artifact:
        dataset = open_dataset(folder / name)
        return Artifact(kind=kind, path=str(folder / name), digest=dataset.digest, counts=dataset.counts)

    def out(name: str) -> Path:
        (folder / name).mkdir(exist_ok=True)
        return folder / name

    def gate() -> None:
        validate.body(
            out("gate"), data=data("merge/dataset"), evaluation=data("eval", "instructions"), limit=GateParams(), expert=False,
            tokenizer=Artifact(kind="model", path=str(BASE), digest=""), environments=[], coverage_sets=None, env_versions={},
        )  # fmt: skip

    merged = folder / "merge" / "dataset"
    return {
        "filter": lambda: datasets.filter_by_reward.body(out("filter"), explored=data("explored"), cap=None, env_versions={}),
        "merge": lambda: datasets.merge.body(out("merge"), initial=data("expert"), explored=[data("filter/dataset")], how="initial"),
        "gate": gate,
        "tokenise": lambda: tokenize_dataset(merged, BASE, out("tokens")),
        "write": lambda: write_dataset(folder / "written", stream_dataset(merged), {}, measures=recorded_measures(merged)),
        "hash": lambda: (artifact_folder.is_complete(merged), trajectory.content_digest(stream_dataset(merged))),
    }


def measure(folder: Path, step: str) -> dict[str, float]:
    """Run one step: its wall-clock seconds, its processor seconds, and the peak memory of the process."""
    run = steps(folder)[step]
    wall_start, cpu_start = time.perf_counter(), time.process_time()
    run()
    times = {"seconds": time.perf_counter() - wall_start, "cpu": time.process_time() - cpu_start}
    return {**times, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def write_inputs(folder: Path, sizes: list[int]) -> None:
    """Write the explored rows, the expert rows and the AgentEval instructions of each size."""
    episodes = expert_episodes()
    for size in sizes:
        of_size = folder / str(size)
        write_dataset(of_size / "explored", explored_rows(episodes, size), {})
        write_dataset(of_size / "expert", expert_rows(episodes, size // 4), {})
        write_instructions(of_size / "eval", {"eval": [i for env in ENVIRONMENTS for i in environment_class(env).instructions("eval")]})


def in_own_process(call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of the call in a process of its own. Raises SystemExit if the process fails."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(call(*arguments)))
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(f"{call.__name__}{arguments} ended with code {child.exitcode}; its message is above")
    return receiver.recv()


def table(sizes: list[int], measured: dict[int, dict[str, dict[str, float]]]) -> list[str]:
    header = [part for size in sizes for part in ([f"{size:,} rows"] if size == sizes[0] else [f"{size:,}", "times"])]
    lines = [f"| step | {' | '.join(header)} | MiB at {sizes[-1]:,} |", "|---" * (len(header) + 2) + "|"]
    for step in measured[sizes[0]]:
        cells = [f"{measured[sizes[0]][step]['cpu']:.2f} s"]
        for smaller, size in pairwise(sizes):
            cells += [f"{measured[size][step]['cpu']:.2f} s", f"{measured[size][step]['cpu'] / measured[smaller][step]['cpu']:.1f}"]
        lines.append(f"| {step} | {' | '.join(cells)} | {measured[sizes[-1]][step]['mib']:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    import great_expectations.expectations  # noqa: F401
    import transformers  # noqa: F401

    steps(Path())  # imports the modules of the steps
    measured: dict[int, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        in_own_process(write_inputs, Path(folder), arguments.sizes)
        for size in arguments.sizes:
            names = ("filter", "merge", "gate", "tokenise", "write", "hash")
            measured[size] = {name: in_own_process(measure, Path(folder) / str(size), name) for name in names}
    print(f"{machine()}; processor seconds, because other processes may run\n")
    print("\n".join(table(arguments.sizes, measured)))
    peak = max(step["mib"] for step in measured[arguments.sizes[-1]].values())
    ratios = {
        f"{step}, linear time over time at {arguments.sizes[-1]:,}": linear(arguments.sizes, measured, step)
        for step in measured[arguments.sizes[0]]
    }
    print(
        f"\npeak memory {peak:.0f} MiB (goal {GOAL_MIB}); least linear: {10 / min(ratios.values()):.1f} times per 10 (goal {GOAL_RATIO:g})"
    )
    record(arguments.json, "scale", ratios, {"steps": measured, "mib": peak})


def linear(sizes: list[int], measured: dict[int, dict[str, dict[str, float]]], step: str) -> float:
    """The ratio of the rows of the last two sizes, divided by the ratio of their times: 1 if time is linear, less if it grows faster."""
    smaller, last = sizes[-2:]
    return last / smaller / (measured[last][step]["cpu"] / measured[smaller][step]["cpu"])


if __name__ == "__main__":
    main()
