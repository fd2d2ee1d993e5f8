"""The score of a policy's episodes on AgentEval.

Invariant: success is judged by the environment's one rule, an episode that a fault ended is counted as an error and scored in nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from agentevol import scoring, storage
from tasks.artifact import Artifact
from tasks.keys import Made, stored


@stored("scores", version="1")
def score(out: Path, *, episodes: Artifact) -> Made:
    """Success and reward with their 95 % intervals, per environment and overall; the facts hold them by name."""
    scores = {name: found.to_dict() for name, found in scoring.score(storage.read_dataset(episodes.folder)).items()}
    (out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    return Made(facts=scores)
