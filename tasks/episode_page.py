"""The episodes of a run, or of any dataset of trajectories, as a page to read.

Invariant: what a run has played and explored is found by its lineage (run.json) and read from the store; nothing is changed there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from agentevol.data.artifact_folder import IncompleteFolder
from agentevol.data.dataset import read_dataset
from agentevol.report.viewer.page import EpisodeGroup, write_page
from tasks import paths

VIEWS = Path("runs") / "views"
LINEAGE = "run.json"
PHASES = {"played": "AgentEval", "explored": "exploring"}


class NothingToView(ValueError):
    """No episodes there; the message says what was given and what can be."""


def view(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of one or more runs or datasets; returns the file. Raises NothingToView, folders.IncompleteFolder."""
    sets = [one for folder in folders for one in _sets(folder, named=len(folders) > 1)]
    title = "Episodes of " + ", ".join(_name(folder) for folder in folders)
    file = out or VIEWS / f"{'+'.join(_name(folder) for folder in folders)}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        return write_page(file, sets, title)
    except ValueError:
        raise NothingToView(f"{', '.join(map(str, folders))}: there is no episode in it") from None


def _sets(folder: Path, named: bool) -> list[EpisodeGroup]:
    before = f"{_name(folder)}: " if named else ""
    if (folder / LINEAGE).is_file():
        lineage = json.loads((folder / LINEAGE).read_text(encoding="utf-8"))
        return [
            EpisodeGroup(before + label, phase, read_dataset(paths.resolve(parts[part]["path"])))
            for part, phase in PHASES.items()
            for label, parts in lineage.items()
            if part in parts
        ]
    try:
        rows = read_dataset(folder)
    except IncompleteFolder as error:
        raise NothingToView(f"{folder}: neither a run's folder (such as runs/latest) nor a dataset of trajectories: {error}") from None
    groups = dict.fromkeys((row.split, row.policy) for row in rows)
    return [
        EpisodeGroup(f"{before}{policy}", split, [row for row in rows if (row.split, row.policy) == (split, policy)])
        for split, policy in groups
    ]


def _name(folder: Path) -> str:
    return folder.resolve().name
