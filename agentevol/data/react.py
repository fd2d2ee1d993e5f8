"""How a conversation is written: the first user message, and answers in the ReAct form (Yao et al., 2023)."""

from __future__ import annotations


def first_message(prompt: str, observation: str) -> str:
    """The first user message: what the policy is told once, then the first observation."""
    return f"{prompt}\n\n{observation}"


def format_answer(thought: str, action: str) -> str:
    """A policy's answer in the ReAct form (Yao et al., 2023) that AgentGym's prompts ask for."""
    return f"Thought: {thought}\nAction: {action}"
