"""The score of a policy's episodes on AgentEval.

Invariant: the environment's own success rule decides. An episode that ended with an error is counted as an error and not scored.
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
    """Success, reward and progress with their 95 % intervals, per environment and overall; the facts hold them by environment."""
    scores = {env: result.to_dict() for env, result in scoring.score(read_dataset(episodes.folder)).items()}
    (out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    return TaskOutput(facts=scores)
