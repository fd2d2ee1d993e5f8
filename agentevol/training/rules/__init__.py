"""The learning rules, one per file. agentevol/settings/rules.py lists them: a new rule is a file with a class, and a line there."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from agentevol.settings.rules import RULES
from agentevol.training.rules.learning_rule import LearningRule, LossTerm, TermBatch

__all__ = ["LearningRule", "LossTerm", "TermBatch", "load_rule", "rule_class"]


def rule_class(name: str) -> type[LearningRule]:
    """The class of the rule of that name. Raises KeyError where RULES has none."""
    module, _, class_name = RULES[name].partition(":")
    found: type[LearningRule] = getattr(import_module(module), class_name)
    return found


def load_rule(name: str, options: Mapping[str, Any] | None = None) -> LearningRule:
    """The rule of that name; `options`: the arguments of its class."""
    return rule_class(name)(**(options or {}))
