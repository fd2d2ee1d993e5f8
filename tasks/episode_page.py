"""An HTML page to read the episodes of a run, or of any dataset of trajectories.

Invariant: the page of a run is made from its lineage (run.json) and the store; nothing there is changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from agentevol.data.artifact_folder import IncompleteFolder
from agentevol.data.dataset import read_dataset
from agentevol.report.viewer.page import EpisodeGroup, write_page
from envs.base import UnknownItem
from envs.registry import environment_class, is_registered
from tasks import paths

PAGES = Path("runs") / "views"
LINEAGE = "run.json"
PHASES = {"played": "AgentEval", "explored": "exploring"}


class NoEpisodesFound(ValueError):
    """The given folders hold no episodes; the message names them and what is accepted."""


def write_episode_page(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of one or more runs or datasets; returns the file. Raises NoEpisodesFound, IncompleteFolder."""
    sets = [episodes for folder in folders for episodes in _episode_sets(folder, with_name=len(folders) > 1)]
    title = "Episodes of " + ", ".join(_name(folder) for folder in folders)
    file = out or PAGES / f"{'+'.join(_name(folder) for folder in folders)}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        return write_page(file, sets, title, _goals(sets))
    except ValueError:
        raise NoEpisodesFound(f"{', '.join(map(str, folders))}: no episodes found") from None


def _episode_sets(folder: Path, with_name: bool) -> list[EpisodeGroup]:
    prefix = f"{_name(folder)}: " if with_name else ""
    if (folder / LINEAGE).is_file():
        lineage = json.loads((folder / LINEAGE).read_text(encoding="utf-8"))
        return [
            EpisodeGroup(prefix + label, phase, read_dataset(paths.resolve(artifacts[name]["path"])))
            for name, phase in PHASES.items()
            for label, artifacts in lineage.items()
            if name in artifacts
        ]
    try:
        rows = read_dataset(folder)
    except IncompleteFolder as error:
        raise NoEpisodesFound(f"{folder}: neither a run's folder (such as runs/latest) nor a dataset of trajectories: {error}") from None
    groups = dict.fromkeys((row.split, row.policy) for row in rows)
    return [
        EpisodeGroup(f"{prefix}{policy}", split, [row for row in rows if (row.split, row.policy) == (split, policy)])
        for split, policy in groups
    ]


def _goals(groups: Sequence[EpisodeGroup]) -> dict[str, str]:
    """What each instruction asks for, by item id, where its environment is registered on this machine."""
    goals = {}
    for item, env in {episode.item_id: episode.env for group in groups for episode in group.episodes if is_registered(episode.env)}.items():
        with suppress(UnknownItem):  # of another version of the environment
            goals[item] = re.sub(r" \[[^]]*\]$", "", environment_class(env).instruction(item).text)  # without the digest that BabyAI adds
    return goals


def _name(folder: Path) -> str:
    return folder.resolve().name
