"""Episodes as one HTML file that loads nothing: filters, the turns of an episode, and two policies side by side on the same instruction.

Invariant: the texts of episodes are untrusted. They are stored as compressed JSON in base64 and shown as text, never as markup; the
content security policy of the page allows its own script and nothing else.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentevol.data.trajectory import Message, Trajectory

_FOLDER = Path(__file__).parent
OUTCOMES = ("success", "failure", "truncated", "error")


@dataclass(frozen=True, slots=True)
class EpisodeGroup:
    """Episodes of one policy or iteration (`label`) in one phase, such as "AgentEval" or "exploring"."""

    label: str
    phase: str
    episodes: Sequence[Trajectory]


def write_page(path: Path, groups: Sequence[EpisodeGroup], title: str, goals: Mapping[str, str] | None = None) -> Path:
    """Write the page; returns `path`. `goals`: what to achieve, by item id. Raises ValueError if there is no episode to show."""
    if not any(group.episodes for group in groups):
        raise ValueError("there are no episodes to show")
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data = gzip.compress(json.dumps(_data(groups, goals or {}), ensure_ascii=False, separators=(",", ":")).encode(), mtime=0)
    parts = {
        "TITLE": html.escape(title),
        "STYLE": (_FOLDER / "page.css").read_text(encoding="utf-8"),
        "SCRIPT_HASH": f"'sha256-{script_hash}'",
        "SCRIPT": script,
        "DATA": base64.b64encode(data).decode(),
    }
    template = (_FOLDER / "page.html").read_text(encoding="utf-8")
    page = re.sub(r"@([A-Z_]+)@", lambda match: parts[match[1]], template)  # one pass: the inserted texts are not searched
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path


def outcome(episode: Trajectory) -> str:
    """The outcome in one word. "truncated" is a failure at a limit: of rounds, of the context length, or of repeated answers (`ending`)."""
    if episode.status == "error":
        return "error"
    if episode.success:
        return "success"
    return "truncated" if episode.status == "truncated" else "failure"


def ending(episode: Trajectory) -> tuple[str, str]:
    """Why an episode was truncated or ended with an error: in one word (of a truncation), and in words. Empty for the others."""
    if episode.status == "error":
        return "", episode.error or "the cause is not recorded"
    if episode.status != "truncated" or episode.success:
        return "", ""
    reason = episode.error or f"the limit of {episode.rounds} round{'' if episode.rounds == 1 else 's'} was reached"
    return episode.truncated_by or "rounds", reason


def _data(groups: Sequence[EpisodeGroup], goals: Mapping[str, str]) -> dict[str, Any]:
    """The data of the page. Every text is stored once, because prompts and answers repeat; page.js names the values of an episode."""
    texts: dict[str, int] = {}
    environments: dict[str, int] = {}
    episodes = []
    for number, group in enumerate(groups):
        for episode in group.episodes:
            episodes.append(
                [
                    number,
                    environments.setdefault(episode.env, len(environments)),
                    episode.item_id,
                    episode.task_type,
                    episode.policy,
                    episode.sample,
                    OUTCOMES.index(outcome(episode)),
                    episode.reward,
                    episode.progress,
                    episode.rounds,
                    episode.tokens,
                    *ending(episode),
                    "".join(_role(message) for message in episode.messages),
                    [texts.setdefault(message.content, len(texts)) for message in episode.messages],
                ]
            )
    return {
        "groups": [{"label": group.label, "phase": group.phase} for group in groups],
        "environments": list(environments),
        "outcomes": list(OUTCOMES),
        "texts": list(texts),
        "goals": {
            item: goals[item] for item in dict.fromkeys(episode.item_id for group in groups for episode in group.episodes) if item in goals
        },
        "episodes": episodes,
    }


def _role(message: Message) -> str:
    """One letter: u for the user (the environment), a for an answer of the policy, g for a given answer, which is not trained on."""
    return "u" if message.role == "user" else "g" if message.loss is False else "a"
