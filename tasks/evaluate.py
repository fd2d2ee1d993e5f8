"""The score of a policy's episodes on AgentEval.

Invariant: success is judged by the environment's one rule, an episode that a fault ended is counted as an error and scored in nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from agentevol.data.dataset import read_dataset
from agentevol.evaluation import scores as scoring
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task


@cached_task("scores", version="1")
def score(out: Path, *, episodes: Artifact) -> TaskOutput:
    """Success and reward with their 95 % intervals, per environment and overall; the facts hold them by name."""
    scores = {name: found.to_dict() for name, found in scoring.score(read_dataset(episodes.folder)).items()}
    (out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    return TaskOutput(facts=scores)
