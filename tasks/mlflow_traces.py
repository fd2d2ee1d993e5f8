"""Episodes as MLflow traces, so that they can be read as conversations in MLflow's pages.

Invariant: a sample of the stored episodes is logged afterwards, nothing is traced live: a trace can neither slow an episode down nor be
lost with it. The durations are those of the rollout. The same episodes are chosen every time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LiveSpan, SpanStatus, SpanStatusCode, SpanType

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


def log_traces(episodes: Sequence[Trajectory], *, run_id: str, experiment_id: str, session: str, model: str | None = None) -> None:
    """Log the episodes as traces of a run and of a logged model: a root span each, with a child span for each answer and each step."""
    mlflow.set_experiment(experiment_id=experiment_id)
    now = time.time_ns()
    for number, episode in enumerate(episodes):
        _log_trace(episode, now + number, run_id, session, model)
    mlflow.flush_trace_async_logging()


def delete_traces(client: MlflowClient, experiment_id: str, session: str) -> None:
    """Delete the traces of a session, complete or not."""
    traces = client.search_traces(
        locations=[experiment_id], filter_string=f"metadata.`mlflow.trace.session` = '{session}'", max_results=500, include_spans=False
    )
    if traces:
        client.delete_traces(experiment_id, trace_ids=[trace.info.trace_id for trace in traces])


def describe_outcome(episode: Trajectory) -> str:
    """How the episode ended, in words; empty for a success."""
    if episode.status == "error":
        return f"error: {episode.error}"
    if episode.success:
        return ""
    reason = f" (truncated: {episode.error or 'the limit of rounds'})" if episode.status == "truncated" else ""
    return f"failure: reward {episode.reward:g} after {episode.rounds} round{'' if episode.rounds == 1 else 's'}{reason}"


def _log_trace(episode: Trajectory, start: int, run_id: str, session: str, model: str | None) -> str:
    """Log an episode; returns the id of its trace. MLflow has no state for a failure: it is shown as "Error", with the reason."""
    messages = [{"role": message.role, "content": message.content} for message in episode.messages]
    times = _message_times(episode, start)
    outcome: dict[str, Any] = {"success": episode.success, "reward": episode.reward, "rounds": episode.rounds, "status": episode.status}
    outcome |= {} if episode.progress is None else {"progress": episode.progress}
    attributes: dict[str, Any] = {**outcome, "policy": episode.policy, "sample": episode.sample}
    metadata = {"mlflow.sourceRun": run_id, "mlflow.trace.session": session} | ({"mlflow.modelId": model} if model else {})
    root = mlflow.start_span_no_context(
        episode.item_id,
        span_type=SpanType.AGENT,
        inputs={"messages": messages[:1]},
        attributes=attributes,
        start_time_ns=start,
        metadata=metadata,
        tags={"env": episode.env, "policy": episode.policy, "split": episode.split, "success": str(episode.success).lower()},
    )
    for index in range(1, len(messages)):
        _log_message(root, messages, index, times)
    reason = describe_outcome(episode)
    status = SpanStatus(SpanStatusCode.ERROR, reason) if reason else SpanStatus(SpanStatusCode.OK)
    end = max(start + int(episode.seconds * 1e9), times[-1] if times else start)
    shown = {**outcome, **({"reason": reason} if reason else {})}  # the page of a trace shows no description of its state
    root.end(outputs={"messages": messages[1:], **shown}, status=status, end_time_ns=end)
    return str(root.trace_id)


def _log_message(root: LiveSpan, messages: list[dict[str, str]], index: int, times: list[int] | None) -> None:
    """A message after the first as a span: the generation of an answer, or the environment's step. It lasts from the message before."""
    begin, end = (times[index - 1], times[index]) if times else (root.start_time_ns, root.start_time_ns)
    is_answer, message = messages[index]["role"] == "assistant", messages[index]
    span = mlflow.start_span_no_context(
        f"round {(index + 1) // 2}" if is_answer else "environment",
        span_type=SpanType.CHAT_MODEL if is_answer else SpanType.TOOL,
        parent_span=root,
        inputs={"messages": [messages[index - 1]]} if is_answer else {"answer": messages[index - 1]["content"]},
        attributes={} if times else {"duration": "not measured"},
        start_time_ns=begin,
    )
    span.end(outputs={"choices": [{"message": message}]} if is_answer else {"observation": message["content"]}, end_time_ns=end)


def _message_times(episode: Trajectory, start: int) -> list[int] | None:
    """When each message was complete, in nanoseconds; None if nobody measured it."""
    seconds = episode.message_seconds
    if seconds is None or len(seconds) != len(episode.messages):
        return None
    return [start + int(value * 1e9) for value in seconds]
