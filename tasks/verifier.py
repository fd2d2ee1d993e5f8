"""The verifier as a task: explored episodes with the probability of success, predicted from their text.

Invariant: no episode is judged by a model that has seen its instruction (agentevol/verifier/verifier.py).
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentevol.data.dataset import has_logprobs, read_dataset, recorded_measures, write_dataset
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.progress import progress_bar


@cached_task("trajectories", version="1")
def predict_success(
    out: Path,
    *,
    explored: Artifact,
    model: Artifact,
    max_tokens: int,
    penalty: float,
    template_kwargs: dict[str, Any] | None = None,
    chat_format: str | None = None,
) -> TaskOutput:
    """The explored episodes with their `predicted_success`. `model`: the language model whose hidden states are read, which stays as it is.

    `template_kwargs`, `chat_format`: as in tasks.learn.finetune. Facts: `quality`: the verifier's on held-out instructions, by environment;
    `seconds`.
    """
    from agentevol.verifier.features import episode_features
    from agentevol.verifier.quality import verifier_quality
    from agentevol.verifier.verifier import predict_success as predict

    start_time = time.perf_counter()
    episodes = read_dataset(explored.folder)
    with progress_bar("reading explored episodes") as progress:
        features = episode_features(episodes, model.folder, max_tokens=max_tokens, template_kwargs=template_kwargs, progress=progress)
    predictions = predict(episodes, features, penalty=penalty)
    judged = [replace(episode, predicted_success=value) for episode, value in zip(episodes, predictions, strict=True)]
    dataset = write_dataset(
        out / "dataset",
        judged,
        {"parents": [explored.digest], "verifier": model.digest},
        measures={*recorded_measures(explored.folder), "predicted_success"},
        with_logprobs=has_logprobs(explored.folder),
    )
    quality = {env: measured.to_dict() for env, measured in verifier_quality(episodes, predictions).items()}
    return TaskOutput(dataset.digest, "dataset", dataset.counts, {"quality": quality, "seconds": time.perf_counter() - start_time})
