"""Trajectories as one HTML file that loads nothing: filtered, read turn by turn, two policies side by side on the same instruction.

Invariant: what an episode says is untrusted text. It travels as compressed JSON in base64 and reaches the page as text alone, never as
markup; the page's policy allows its own script and nothing else.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentevol.data.trajectory import Trajectory

HERE = Path(__file__).parent
OUTCOMES = ("success", "failure", "cut", "error")


@dataclass(frozen=True, slots=True)
class Played:
    """Episodes that belong together: of the policy or iteration `label`, in a phase such as "AgentEval" or "exploring"."""

    label: str
    phase: str
    episodes: Sequence[Trajectory]


def write_page(path: Path, sets: Sequence[Played], title: str) -> Path:
    """Write the page. Raises ValueError where there is no episode to show."""
    if not any(one.episodes for one in sets):
        raise ValueError("there are no episodes to show")
    script = (HERE / "page.js").read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    packed = gzip.compress(json.dumps(_data(sets), ensure_ascii=False, separators=(",", ":")).encode(), mtime=0)
    parts = {
        "TITLE": html.escape(title),
        "STYLE": (HERE / "page.css").read_text(encoding="utf-8"),
        "ALLOWED": f"'sha256-{allowed}'",
        "SCRIPT": script,
        "DATA": base64.b64encode(packed).decode(),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8")
    page = re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], template)  # in one pass: no part is looked into
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path


def outcome(episode: Trajectory) -> str:
    """In one word; "cut" is a failure that a limit ended, of rounds, of the context or of patience with a loop."""
    if episode.status == "error":
        return "error"
    if episode.success:
        return "success"
    return "cut" if episode.status == "truncated" else "failure"


def _data(sets: Sequence[Played]) -> dict[str, Any]:
    """Every text once, for prompts and answers repeat; an episode is a list of values in the order that page.js names."""
    texts: dict[str, int] = {}
    environments: dict[str, int] = {}
    episodes = []
    for number, one in enumerate(sets):
        for row in one.episodes:
            episodes.append(
                [
                    number,
                    environments.setdefault(row.env, len(environments)),
                    row.item_id,
                    row.task_type,
                    row.policy,
                    row.sample,
                    OUTCOMES.index(outcome(row)),
                    row.reward,
                    row.rounds,
                    row.tokens,
                    row.error or "",
                    "".join("u" if said.role == "user" else "g" if said.loss is False else "a" for said in row.messages),
                    [texts.setdefault(said.content, len(texts)) for said in row.messages],
                ]
            )
    return {
        "sets": [{"label": one.label, "phase": one.phase} for one in sets],
        "environments": list(environments),
        "outcomes": list(OUTCOMES),
        "texts": list(texts),
        "episodes": episodes,
    }
