"""The learning rules by name, and the type of a parameter that names one.

Invariant: a rule is one file and one line here: its name, and the class in its file. Imports nothing but pydantic; the class is imported
when it is used (agentevol/training/rules).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

RULES: dict[str, str] = {
    "reward_weighted": "agentevol.training.rules.reward_weighted:RewardWeighted",
    "threshold": "agentevol.training.rules.threshold:Threshold",
}


def check_known_rule(name: str) -> str:
    """The name. Raises ValueError where no rule has it."""
    if name not in RULES:
        raise ValueError(" or ".join(filter(None, [", ".join(list(RULES)[:-1]), list(RULES)[-1]])))
    return name


Rule = Annotated[str, AfterValidator(check_known_rule), Field(json_schema_extra={"enum": list(RULES)})]  # type: ignore[dict-item]
