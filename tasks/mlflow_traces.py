"""Episodes as MLflow traces, so that they can be read as conversations in MLflow's pages.

Invariant: a sample of the stored episodes is logged afterwards, nothing is traced live: a trace can neither slow an episode down nor be
lost with it. The same episodes are chosen every time.
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


def sample_episodes(episodes: Sequence[Trajectory], count: int) -> list[Trajectory]:
    """About `count` episodes in a fixed order, alternating between environments and between successes and failures."""
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


def log_traces(episodes: Sequence[Trajectory], *, run_id: str, experiment_id: str, session: str) -> None:
    """Log the episodes as traces of a run: one root span each, with a child span for each answer of the policy."""
    mlflow.set_experiment(experiment_id=experiment_id)
    now = time.time_ns()
    for number, episode in enumerate(episodes):
        _log_trace(episode, now + number, run_id, session)
    mlflow.flush_trace_async_logging()


def delete_traces(client: MlflowClient, experiment_id: str, session: str) -> None:
    """Delete the traces of a session, complete or not."""
    traces = client.search_traces(
        locations=[experiment_id], filter_string=f"metadata.`mlflow.trace.session` = '{session}'", max_results=500, include_spans=False
    )
    if traces:
        client.delete_traces(experiment_id, trace_ids=[trace.info.trace_id for trace in traces])


def _log_trace(episode: Trajectory, start: int, run_id: str, session: str) -> None:
    messages = [{"role": message.role, "content": message.content} for message in episode.messages]
    answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    step = int(episode.seconds * 1e9) // max(1, len(answers)) or 1
    outcome: dict[str, Any] = {"success": episode.success, "reward": episode.reward, "rounds": episode.rounds, "status": episode.status}
    attributes: dict[str, Any] = {**outcome, "policy": episode.policy, "sample": episode.sample}
    root = mlflow.start_span_no_context(
        episode.item_id,
        span_type=SpanType.AGENT,
        inputs={"messages": messages[:1]},
        attributes=attributes,
        start_time_ns=start,
        metadata={"mlflow.sourceRun": run_id, "mlflow.trace.session": session},
        tags={"env": episode.env, "policy": episode.policy, "split": episode.split, "success": str(episode.success).lower()},
    )
    for number, index in enumerate(answers):
        span = mlflow.start_span_no_context(
            f"round {number + 1}",
            span_type=SpanType.CHAT_MODEL,
            parent_span=root,
            inputs={"messages": messages[max(0, index - 1) : index]},
            start_time_ns=start + number * step,
        )
        span.end(outputs={"choices": [{"message": messages[index]}]}, end_time_ns=start + (number + 1) * step)
    root.end(outputs={"messages": messages[1:], **outcome}, end_time_ns=start + max(1, len(answers)) * step)
