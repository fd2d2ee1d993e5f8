"""Large sets through the steps of the pipeline: `python -m benchmarks.scale [--sizes 1000 10000 100000] [--json FILE]`.

Explored episodes, and a quarter as many of the expert's, are filtered, merged, let through the gate, tokenised, written and hashed.
Each step is the task's own body in a process of its own, forked from one in which everything is imported. Goals: ten times the rows take at
most eleven times as long; no step needs more than 2 GiB. The episodes are the experts' of four worlds, with other thoughts, failures and
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

from agentevol.data.dataset import open_dataset, stream_dataset, write_dataset, write_instructions
from agentevol.data.trajectory import Message, Trajectory
from benchmarks.results import machine, record
from envs.registry import environment_class

WORLDS = ("babyai", "maze", "textcraft", "wordle")
BASE = Path(__file__).parents[1] / "models" / "base"
EPISODES = 100  # per world, that all others are made from
KINDS = ("won",) * 6 + ("lost", "lost", "fault", "again")
GOAL_RATIO, GOAL_MIB = 11.0, 2048


def episodes() -> list[Trajectory]:
    """The experts' episodes, with the token ids that a policy's would have."""
    from agentevol.chat.tokenize import ChatTokenizer
    from agentevol.data.experts import play_expert
    from agentevol.models import load_tokenizer

    chat = ChatTokenizer(load_tokenizer(BASE))
    played = [play_expert(world, item) for world in WORLDS for item in environment_class(world).instructions("train_large")[:EPISODES]]
    for episode in played:
        encoded = chat.tokenize_conversation(episode.messages)
        episode.token_ids, episode.loss_mask, episode.tokens = encoded.token_ids, encoded.loss_mask, len(encoded.token_ids)
    return played


def explored(given: list[Trajectory], rows: int) -> Iterator[Trajectory]:
    for number in range(rows):
        episode, kind = given[number % len(given)], KINDS[number // len(given) % len(KINDS)]
        sample = number // len(given)
        said = sample - 5 if kind == "again" else sample  # word for word what an earlier sample said
        row = replace(episode, policy="agentevol", split="explore", iteration=1, sample=sample, messages=retold(episode.messages, said))
        if kind == "lost":
            row = replace(row, reward=0.0, success=False, status="truncated", error="the same answer 3 times")
        yield replace(row, status="error", error="the engine went away", reward=0.0, success=False) if kind == "fault" else row


def taught(given: list[Trajectory], rows: int) -> Iterator[Trajectory]:
    for number in range(rows):
        episode, again = given[number % len(given)], number // len(given)
        yield replace(episode, sample=again, token_ids=None, loss_mask=None, tokens=0, messages=retold(episode.messages, -1 - again))


def retold(messages: list[Message], number: int) -> list[Message]:
    return [replace(m, content=m.content.replace("Thought:", f"Thought: ({number})")) if m.role == "assistant" else m for m in messages]


def steps(folder: Path) -> dict[str, Callable[[], Any]]:
    """Each leaves what the next one reads."""
    from agentevol.data import artifact_folder, trajectory
    from agentevol.settings.schema import GateParams
    from agentevol.training import tokenized_dataset as tokens
    from tasks import datasets
    from tasks.artifact import Artifact

    def data(name: str, kind: str = "trajectories") -> Artifact:
        about = open_dataset(folder / name)
        return Artifact(kind=kind, path=str(folder / name), digest=about.digest, counts=about.counts)

    def out(name: str) -> Path:
        (folder / name).mkdir(exist_ok=True)
        return folder / name

    def gate() -> None:
        datasets.validate.body(
            out("gate"), data=data("merge/dataset"), evaluation=data("eval", "instructions"), limit=GateParams(), expert=False,
            tokenizer=Artifact(kind="model", path=str(BASE), digest=""), environments=[], covering=None, env_versions={},
        )  # fmt: skip

    merged = folder / "merge" / "dataset"
    return {
        "filter": lambda: datasets.filter_by_reward.body(out("filter"), explored=data("explored"), cap=None, env_versions={}),
        "merge": lambda: datasets.merge.body(out("merge"), initial=data("taught"), explored=[data("filter/dataset")], how="initial"),
        "gate": gate,
        "tokenise": lambda: tokens.tokenize_dataset(merged, BASE, out("tokens")),
        "write": lambda: write_dataset(folder / "written", stream_dataset(merged), {}),
        "hash": lambda: (artifact_folder.is_complete(merged), trajectory.content_digest(stream_dataset(merged))),
    }


def measure(folder: Path, step: str) -> dict[str, float]:
    """One step: its seconds, those of the processor, and the most memory the process ever had."""
    work = steps(folder)[step]
    began, spent = time.perf_counter(), time.process_time()
    work()
    found = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - spent}
    return {**found, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def make(folder: Path, sizes: list[int]) -> None:
    given = episodes()
    for size in sizes:
        place = folder / str(size)
        write_dataset(place / "explored", explored(given, size), {})
        write_dataset(place / "taught", taught(given, size // 4), {})
        write_instructions(place / "eval", {"eval": [i for world in WORLDS for i in environment_class(world).instructions("eval")]})


def alone(call: Callable[..., Any], *given: Any) -> Any:
    """The call in a process of its own."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=lambda: there.send(call(*given)))
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(f"{call.__name__}{given} ended with code {child.exitcode}; its message is above")
    return here.recv()


def table(sizes: list[int], found: dict[int, dict[str, dict[str, float]]]) -> list[str]:
    heads = [part for size in sizes for part in ([f"{size:,} rows"] if size == sizes[0] else [f"{size:,}", "times"])]
    lines = [f"| step | {' | '.join(heads)} | MiB at {sizes[-1]:,} |", "|---" * (len(heads) + 2) + "|"]
    for step in found[sizes[0]]:
        cells = [f"{found[sizes[0]][step]['cpu']:.2f} s"]
        for before, size in pairwise(sizes):
            cells += [f"{found[size][step]['cpu']:.2f} s", f"{found[size][step]['cpu'] / found[before][step]['cpu']:.1f}"]
        lines.append(f"| {step} | {' | '.join(cells)} | {found[sizes[-1]][step]['mib']:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    import great_expectations.expectations  # noqa: F401
    import transformers  # noqa: F401

    steps(Path())  # imports the rest
    found: dict[int, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        alone(make, Path(place), asked.sizes)
        for size in asked.sizes:
            names = ("filter", "merge", "gate", "tokenise", "write", "hash")
            found[size] = {name: alone(measure, Path(place) / str(size), name) for name in names}
    print(f"{machine()}; processor seconds, since others may be at work\n")
    print("\n".join(table(asked.sizes, found)))
    worst = max(one["mib"] for one in found[asked.sizes[-1]].values())
    ratios = {f"{step}, linear time over time at {asked.sizes[-1]:,}": linear(asked.sizes, found, step) for step in found[asked.sizes[0]]}
    print(
        f"\nmost memory {worst:.0f} MiB (goal {GOAL_MIB}); least linear: {10 / min(ratios.values()):.1f} times per 10 (goal {GOAL_RATIO:g})"
    )
    record(asked.json, "scale", ratios, {"steps": found, "mib": worst})


def linear(sizes: list[int], found: dict[int, dict[str, dict[str, float]]], step: str) -> float:
    """Of the last two sizes: how much more there was to do, over how much longer it took."""
    before, last = sizes[-2:]
    return last / before / (found[last][step]["cpu"] / found[before][step]["cpu"])


if __name__ == "__main__":
    main()
