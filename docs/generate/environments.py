"""A card for every environment, from its class: sizes, rules, prompt, an episode of the expert, differences from AgentGym."""

from __future__ import annotations

import inspect
import os

from docs.generate.markdown import block, code, labels_listed, lists_separated, table
from envs.base import TextEnv
from envs.registry import ENVIRONMENTS, VARIANTS, environment_class

OWN = tuple(sorted([*(name for name, place in ENVIRONMENTS.items() if place.startswith("envs.")), *VARIANTS]))
"""The environments of this repository and their variants, without those that other installed packages add."""
_ROUNDS_SHOWN = 12
_CANDIDATES = 8


def overview() -> str:
    """One table of all environments, with links to their cards."""
    rows = []
    for name in OWN:
        cls = environment_class(name)
        sizes = (cls.sizes.instructions, cls.sizes.eval, cls.sizes.agent_traj, cls.sizes.agent_traj_l)
        rows.append((f"[{_title(cls)}](environments/{name}.md)", code(name), len(cls.task_types), *sizes, cls.max_rounds))
    columns = ["environment", "name", "task types", "instructions", "AgentEval", "AgentTraj", "AgentTraj-L", "round limit"]
    return table(columns, rows)


def card(name: str) -> str:
    cls = environment_class(name)
    module = inspect.getmodule(cls)
    description = lists_separated(labels_listed(inspect.cleandoc(cls.__doc__ or "")))
    parts = [f"# {_title(cls)}", description, _facts(name, cls)]
    if len(cls.task_types) > 1:
        parts += ["## Task types", ", ".join(code(kind) for kind in cls.task_types)]
    parts += [
        "## Prompt",
        "The policy reads this once, before the first observation.",
        block(cls.prompt),
        "## An episode of the expert",
        _episode(name, cls),
    ]
    text = lists_separated(inspect.cleandoc(module.__doc__ or "")) if module else ""
    if text:
        parts += ["## The module", f"`{module.__name__}`: {text}" if module else ""]
    return "\n\n".join(parts) + "\n"


def _title(cls: type[TextEnv]) -> str:
    titles = {"Todo": "TODO", "Bird": "BIRD", "Maze": "MAZE", "OriginalTextCraft": "TextCraft (original)"}
    return titles.get(cls.__name__, cls.__name__)


def _facts(name: str, cls: type[TextEnv]) -> str:
    sizes = cls.sizes
    first = (cls.instructions("explore") or cls.instructions("eval"))[0]
    rows = [
        ("name in `environments`", code(name)),
        ("Gymnasium id", code(f"agentevol/{cls.__name__}-v0")),
        ("instructions in total", sizes.instructions),
        ("AgentEval", sizes.eval),
        ("AgentTraj", sizes.agent_traj),
        ("AgentTraj-L", sizes.agent_traj_l),
        ("task types", len(cls.task_types)),
        ("round limit", cls.max_rounds),
        ("reward of an episode", f"{cls.lowest_reward:g} to {cls.highest_reward:g}"),
        ("success", _success(cls)),
        ("an instruction", code(first.item_id)),
        ("requirements", _requirements(name)),
    ]
    if version := getattr(cls, "version", None):
        rows.insert(2, ("version", version))
    return table(["property", "value"], rows)


def _success(cls: type[TextEnv]) -> str:
    lowest = next((reward for reward in (1e-9, 0.5, 1.0) if cls.succeeded(reward)), None)
    return {1e-9: "a reward above 0", 0.5: "a reward of at least 0.5", 1.0: "a reward of 1"}.get(lowest or 0.0, "see the class")


def _requirements(name: str) -> str:
    needs = {
        "sciworld": "the extra `sciworld` (the package scienceworld and a Java runtime)",
        "webarena": "the extra `webarena` (Playwright) and a Chromium on the machine",
    }
    return needs.get(name, "none beyond the main installation")


def _episode(name: str, cls: type[TextEnv]) -> str:
    if os.environ.get("DOCS_QUICK"):
        return "Left out of this quick build."
    if reason := cls.missing():
        return f"Not shown in this build: {reason}."
    env = cls()
    try:
        for item in (cls.instructions("explore") or cls.instructions("eval"))[:_CANDIDATES]:
            item_id, turns, reward = _play(env, item.item_id)
            if cls.succeeded(reward) and 3 <= len(turns) <= _ROUNDS_SHOWN:
                break
    finally:
        env.close()
    shown = (
        turns if len(turns) <= _ROUNDS_SHOWN else [*turns[: _ROUNDS_SHOWN - 1], f"({len(turns) - _ROUNDS_SHOWN} more rounds)", turns[-1]]
    )
    return f"Instruction `{item_id}`, reward {reward:g}.\n\n" + block("\n\n".join(shown))


def _play(env: TextEnv, item_id: str) -> tuple[str, list[str], float]:
    observation, _ = env.reset(options={"item_id": item_id})
    turns, expert = [f"> {observation}"], env.expert()
    while not env.done:
        thought, action = expert.act(observation)
        observation = env.step(action)[0]
        turns.append(f"Thought: {thought}\nAction: {action}\n\n> {observation}")
    return item_id, turns, env.reward
