"""The texts of a conversation: the first user message, and answers in the ReAct format (Yao et al., 2023)."""

from __future__ import annotations


def first_message(prompt: str, observation: str) -> str:
    """The first user message: the prompt of the environment, then the first observation."""
    return f"{prompt}\n\n{observation}"


def format_answer(thought: str, action: str) -> str:
    """A policy's answer in the ReAct format (Yao et al., 2023) of AgentGym's prompts."""
    return f"Thought: {thought}\nAction: {action}"
