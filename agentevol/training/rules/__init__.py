"""The learning rules, one per file. agentevol/settings/rules.py lists them: a new rule is a file with a class, and a line there."""

from __future__ import annotations

from importlib import import_module

from agentevol.settings.rules import RULES
from agentevol.training.rules.learning_rule import LearningRule, LossTerm

__all__ = ["LearningRule", "LossTerm", "load_rule"]


def load_rule(name: str) -> LearningRule:
    """The rule of that name. Raises KeyError where RULES has none."""
    module, _, class_name = RULES[name].partition(":")
    rule: LearningRule = getattr(import_module(module), class_name)()
    return rule
