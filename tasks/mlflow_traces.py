"""Episodes as MLflow traces, so that they can be read as conversations beside the run's figures.

Invariant: a sample of what is on disk already is replayed, nothing is traced live: a trace can neither slow an episode down nor be lost
with it. The same episodes are chosen every time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import SpanType

from agentevol.data.trajectory import Trajectory


def sampled(episodes: Sequence[Trajectory], count: int) -> list[Trajectory]:
    """About `count` episodes: environments in turn, successes and failures in turn, by a fixed order."""
    groups: dict[tuple[str, bool], list[Trajectory]] = {}
    for episode in sorted(episodes, key=lambda row: hashlib.sha256(f"{row.item_id}:{row.sample}".encode()).digest()):
        groups.setdefault((episode.env, episode.success), []).append(episode)
    chosen: list[Trajectory] = []
    while groups and len(chosen) < count:
        for name in sorted(groups):
            chosen.append(groups[name].pop(0))
            if not groups[name]:
                del groups[name]
    return chosen[:count]


def replay(episodes: Sequence[Trajectory], *, run_id: str, experiment_id: str, session: str) -> None:
    """Write the episodes as traces of a run: one span each, with a span per answer that holds what was said until then."""
    mlflow.set_experiment(experiment_id=experiment_id)
    now = time.time_ns()
    for number, episode in enumerate(episodes):
        _replay(episode, now + number, run_id, session)
    mlflow.flush_trace_async_logging()


def forget(client: MlflowClient, experiment_id: str, session: str) -> None:
    """Delete the traces of a session, whole or half-written."""
    found = client.search_traces(
        locations=[experiment_id], filter_string=f"metadata.`mlflow.trace.session` = '{session}'", max_results=500, include_spans=False
    )
    if found:
        client.delete_traces(experiment_id, trace_ids=[trace.info.trace_id for trace in found])


def _replay(episode: Trajectory, start: int, run_id: str, session: str) -> None:
    talk = [{"role": message.role, "content": message.content} for message in episode.messages]
    answers = [index for index, message in enumerate(talk) if message["role"] == "assistant"]
    step = int(episode.seconds * 1e9) // max(1, len(answers)) or 1
    outcome: dict[str, Any] = {"success": episode.success, "reward": episode.reward, "rounds": episode.rounds, "status": episode.status}
    root = mlflow.start_span_no_context(
        episode.item_id,
        span_type=SpanType.AGENT,
        inputs={"messages": talk[:1]},
        attributes={**outcome, "policy": episode.policy, "sample": episode.sample},
        start_time_ns=start,
        metadata={"mlflow.sourceRun": run_id, "mlflow.trace.session": session},
        tags={"env": episode.env, "policy": episode.policy, "split": episode.split, "success": str(episode.success).lower()},
    )
    for number, index in enumerate(answers):
        span = mlflow.start_span_no_context(
            f"round {number + 1}",
            span_type=SpanType.CHAT_MODEL,
            parent_span=root,
            inputs={"messages": talk[max(0, index - 1) : index]},
            start_time_ns=start + number * step,
        )
        span.end(outputs={"choices": [{"message": talk[index]}]}, end_time_ns=start + (number + 1) * step)
    root.end(outputs={"messages": talk[1:], **outcome}, end_time_ns=start + max(1, len(answers)) * step)
