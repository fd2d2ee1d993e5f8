"""Whether the openings of a run's episodes fit the context: the prompt, the functions that it offers, and the first observation.

Invariant: an opening that is an error here is one after which `Rollout` would truncate every episode of its environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.action_format import prompt, tools_of
from agentevol.data.trajectory import Trajectory
from agentevol.preflight.check import Check
from agentevol.rollout.episode import Episode
from agentevol.rollout.rollout import MIN_ANSWER_TOKENS
from agentevol.settings.agent import ActionFormat
from envs.base import Instruction
from envs.registry import environment_class, is_registered


@dataclass(frozen=True, slots=True)
class Openings:
    """The tokens of an environment's shortest and longest opening, and the instruction of the longest."""

    shortest: int
    longest: int
    item_id: str


class OpeningUnknown(RuntimeError):
    """An environment could not be reset, so the length of its openings is unknown."""


def recorded_openings(chat: ChatTokenizer, episodes: Iterable[Trajectory], action_format: ActionFormat) -> dict[str, Openings]:
    """The openings of recorded episodes, by environment. A conversation that does not begin with its environment's prompt is left out.

    Only the shortest and the longest text of each environment are tokenized.
    """
    extremes: dict[str, list[Trajectory]] = {}
    for episode in episodes:
        first = episode.messages[0].content
        if not _is_opening(episode, action_format):
            continue
        found = extremes.setdefault(episode.env, [episode, episode])
        if len(first) < len(found[0].messages[0].content):
            found[0] = episode
        if len(first) > len(found[1].messages[0].content):
            found[1] = episode
    openings = {}
    for env, found in extremes.items():
        lengths = [len(chat.tokenize_prompt(episode.messages[0].content, tools_of(episode))) for episode in found]
        openings[env] = Openings(min(lengths), max(lengths), found[lengths.index(max(lengths))].item_id)
    return openings


def played_opening(
    chat: ChatTokenizer, instruction: Instruction, action_format: ActionFormat, *, server: str | None, step_timeout: float | None
) -> Openings:
    """The opening of an instruction, from a reset of its environment. Raises OpeningUnknown with the environment's error."""
    episode = Episode(0, 0, instruction, 0, 0, np.random.default_rng(0), step_timeout, action_format=action_format)
    episode.start(server)
    try:
        if episode.status is not None:
            raise OpeningUnknown(f"{instruction.item_id}: {episode.error}")
        length = len(chat.tokenize_prompt(episode.messages[0].content, episode.tools()))
    finally:
        episode.close()
    return Openings(length, length, instruction.item_id)


def check_openings(
    openings: Mapping[str, Openings], *, context_length: int, max_new_tokens: int, model_limit: int | None, action_format: ActionFormat
) -> list[Check]:
    """An error for each environment of which no opening fits; a question where some do not, or leave no room for a full answer.

    `model_limit`: the model's own context.
    """
    context = min(context_length, model_limit or context_length)
    remedy = "raise rollout.context_length"
    if context < context_length:
        remedy = f"the model itself reads no more (rollout.context_length is {context_length}): take another model"
    remedy += " or leave the environment out" if action_format == "react" else ", leave the environment out, or set agent.format to react"
    parts = "prompt" if action_format == "react" else f"prompt, functions ({action_format})"
    checks = []
    for env, lengths in sorted(openings.items()):
        if lengths.longest + max(max_new_tokens, MIN_ANSWER_TOKENS) <= context:
            continue
        none_fits = lengths.shortest + MIN_ANSWER_TOKENS > context
        if none_fits:
            problem = "do not fit"
        elif lengths.longest + MIN_ANSWER_TOKENS > context:
            problem = "do not always fit"
        else:
            problem = f"leave {context - lengths.longest} tokens for the first answer (rollout.max_new_tokens is {max_new_tokens}) of"
        tokens = f"{lengths.shortest}" if lengths.shortest == lengths.longest else f"{lengths.shortest} to {lengths.longest}"
        detail = f"{parts} and first observation have {tokens} tokens and {problem} the context of {context} ({lengths.item_id})"
        checks.append(Check(f"opening of {env}", "error" if none_fits else "question", detail, remedy))
    return checks


def _is_opening(episode: Trajectory, action_format: ActionFormat) -> bool:
    return is_registered(episode.env) and episode.messages[0].content.startswith(prompt(environment_class(episode.env), action_format))
