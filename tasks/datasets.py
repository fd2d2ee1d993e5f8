"""Tasks on trajectories: summarize and filter explored ones, merge them with the expert set, add further ones to an expert set, and write
an expert set in another action format.

Invariant: rows are selected, and their episodes never changed; the facts count every row that was dropped, by reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from agentevol.data.dataset import has_logprobs, read_instruction_list, recorded_measures, stream_dataset, write_dataset
from agentevol.data.trajectory import Trajectory
from agentevol.settings.agent import ActionFormat
from agentevol.settings.filter import DEFAULT_FILTER, FilterParams
from agentevol.settings.types import Merge
from envs.registry import is_registered
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task

_MAX_EXAMPLES = 3
"""Of rows that cannot be converted: as many are named."""


@cached_task("trajectories", version="1")
def filter_by_reward(
    out: Path, *, explored: Artifact, cap: int | None, env_versions: dict[str, int], settings: FilterParams = DEFAULT_FILTER
) -> TaskOutput:
    """The episodes that `settings` keep, at most `cap` per instruction. Facts: dropped episodes by reason, and the coverage by difficulty.

    `env_versions`: the versions of the environments, whose success rule decides. Only the key needs them.
    """
    from agentevol.data import filtering

    reward_filter = filtering.RewardFilter(cap, settings)
    if reward_filter.needs_ranking:
        reward_filter.rank(stream_dataset(explored.folder))
    kept = reward_filter.keep(stream_dataset(explored.folder))
    lineage = {"parents": [explored.digest], "cap": cap}
    measures, with_logprobs = recorded_measures(explored.folder), has_logprobs(explored.folder)
    dataset = write_dataset(out / "dataset", kept, lineage, measures=measures, with_logprobs=with_logprobs)
    return TaskOutput(dataset.digest, "dataset", dataset.counts, asdict(reward_filter.report()))


@cached_task("trajectories", version="1")
def convert_answers(out: Path, *, data: Artifact, action_format: ActionFormat, env_versions: dict[str, int], functions: str) -> TaskOutput:
    """The expert set `data` with its answers in another format; its episodes stay the same. Raises NotConvertible.

    `env_versions`, `functions`: the versions of the environments and the digest of their functions. Only the key needs them.
    """
    from agentevol.data import action_format as formats

    converted = (formats.convert(trajectory, action_format) for trajectory in stream_dataset(data.folder))
    dataset = write_dataset(out / "dataset", converted, {"parents": [data.digest], "action_format": action_format})
    return TaskOutput(dataset.digest, "dataset", dataset.counts)


def has_other_format(data: Artifact, action_format: ActionFormat) -> bool:
    """Whether a trajectory of an environment has its answers in another format than this."""
    from agentevol.data.action_format import format_of

    rows = stream_dataset(data.folder)
    return any(is_registered(row.env) and format_of(row.messages) != action_format for row in rows)


@cached_task("trajectories", version="1")
def convert_extra(out: Path, *, data: Artifact, action_format: ActionFormat, env_versions: dict[str, int], functions: str) -> TaskOutput:
    """A set of `data.extra` with its answers in another format. What cannot be converted is left out; rows of no environment stay.

    Facts: the rows that were converted, and those left out: how many, and the first of them with the reason.
    `env_versions`, `functions`: as in `convert_answers`.
    """
    from agentevol.data import action_format as formats

    counts = Counter({"converted": 0, "left_out": 0})
    examples: dict[str, str] = {}

    def rows() -> Iterator[Trajectory]:
        for row in stream_dataset(data.folder):
            if not is_registered(row.env):
                yield row
                continue
            try:
                converted = formats.convert(row, action_format)
            except formats.NotConvertible as error:
                counts["left_out"] += 1
                if len(examples) < _MAX_EXAMPLES:
                    examples.setdefault(row.item_id, str(error))
            else:
                counts["converted"] += converted is not row
                yield converted

    lineage = {"parents": [data.digest], "action_format": action_format}
    dataset = write_dataset(out / "dataset", rows(), lineage, measures=recorded_measures(data.folder))
    return TaskOutput(dataset.digest, "dataset", dataset.counts, {**counts, "examples": examples})


@cached_task("trajectories", version="1")
def merge(out: Path, *, initial: Artifact, explored: list[Artifact], how: Merge, deduplicate: bool = True) -> TaskOutput:
    """The training set of an iteration: the expert set and the explored sets (one per iteration, oldest first), without duplicates
    unless `deduplicate` is false."""
    from agentevol.data import merging

    merger = merging.Merger(how, deduplicate)
    merged = merger.merge(stream_dataset(initial.folder), [stream_dataset(dataset.folder) for dataset in explored])
    parents = [initial.digest, *(dataset.digest for dataset in explored)]
    measures = recorded_measures(*(dataset.folder for dataset in (initial, *explored)))
    dataset = write_dataset(out / "dataset", merged, {"parents": parents, "merge": how}, measures=measures)
    return TaskOutput(dataset.digest, "dataset", dataset.counts, asdict(merger.report()))


@cached_task("trajectories", version="1")
def add_extra(out: Path, *, initial: Artifact, extra: list[Artifact]) -> TaskOutput:
    """An expert set and the sets of `data.extra`, in this order, without duplicates.

    The extra ones are tokenized again: their token ids may come from the tokenizer of another model.
    """
    from agentevol.data import merging

    def text(data: Artifact) -> Iterator[Trajectory]:
        return (replace(row, token_ids=None, loss_mask=None) for row in stream_dataset(data.folder))

    merger = merging.Merger("cumulative")
    merged = merger.merge(stream_dataset(initial.folder), [text(data) for data in extra])
    parents = [initial.digest, *(data.digest for data in extra)]
    measures = recorded_measures(*(data.folder for data in (initial, *extra)))
    dataset = write_dataset(out / "dataset", merged, {"parents": parents}, measures=measures)
    return TaskOutput(dataset.digest, "dataset", dataset.counts, asdict(merger.report()))


@cached_task("summary", version="1")
def summarize_exploration(out: Path, *, explored: Artifact, instructions: Artifact, expert: Artifact) -> TaskOutput:
    """Facts: per environment and difficulty the episodes, the coverage, and the successes on instructions that `expert` has not.

    `instructions`: the explore split. `expert`: AgentTraj.
    """
    from agentevol.data import exploration

    expert_ids = {row.item_id for row in stream_dataset(expert.folder)}
    groups = exploration.summarize_exploration(stream_dataset(explored.folder), read_instruction_list(instructions.folder), expert_ids)
    facts = {"groups": [asdict(group) for group in groups]}
    (out / "summary.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return TaskOutput(facts=facts)
