"""The exploration of a run as rows of tables: the episodes and successes of each iteration, in all and by difficulty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentevol.data.exploration import ExplorationGroup

Rows = tuple[list[str], list[list[str]]]
Exploration = Mapping[str, Sequence[ExplorationGroup]]
"""By the label of the iteration; the groups of all iterations are of the same instructions."""


def exploration_rows(exploration: Exploration) -> Rows:
    """One row per iteration: its episodes, and how many of the instructions they reached."""
    rows = []
    for label, groups in exploration.items():
        episodes, instructions, sampled, covered, without, solved = (
            sum(getattr(group, name) for group in groups)
            for name in ("episodes", "instructions", "sampled", "covered", "without_expert", "covered_without_expert")
        )
        rows.append([label, str(episodes), _share(sampled, instructions), _share(covered, instructions), _share(solved, without)])
    return ["policy", "episodes", "with an episode", "with a success", "with a success, not in AgentTraj"], rows


def exploration_by_difficulty(exploration: Exploration) -> Rows:
    """One row per environment and difficulty: the episodes of each iteration, and the share of instructions with a success."""
    rows = []
    for place in dict.fromkeys((group.env, group.difficulty) for groups in exploration.values() for group in groups):
        of_place = [next(group for group in groups if (group.env, group.difficulty) == place) for groups in exploration.values()]
        cells = [f"{group.episodes}, {_percent(group.covered, group.instructions)}" for group in of_place]
        rows.append([f"{place[0]}, {place[1]}", str(of_place[0].instructions), *cells])
    return ["environment, difficulty", "instructions", *exploration], rows


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({_percent(part, whole)})" if whole else "")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"
