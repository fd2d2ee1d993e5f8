"""The parameters of how a policy acts. Imports nothing but pydantic."""

from __future__ import annotations

from typing import Literal

from agentevol.settings.types import Section, parameter

ActionFormat = Literal["react", "function_calling", "code"]


class AgentParams(Section):
    """How policies give their actions, experts included."""

    format: ActionFormat = parameter(
        "react",
        "The form of an answer: react (Thought: ... Action: ...), function_calling (a call of one of the environment's functions) or"
        " code (that call in Python).",
    )
