"""Writes params.yaml from the schema: `python -m agentevol.settings.document > params.yaml`.

Invariant: the keys, defaults and comments of the committed params.yaml are those of the schema; a test compares the two. Only the limits
of the main job differ from the defaults: a file that names no limits uses all instructions.
"""

from __future__ import annotations

import textwrap
from typing import Any

import yaml
from pydantic import BaseModel

from agentevol.settings.data import DataParams, Limits
from agentevol.settings.schema import Params

MAIN_JOB = Params(data=DataParams(limits=Limits(train=80, train_large=180, explore=200)))
_HEADER = """\
# All parameters of a run. The command line, Prefect, `dvc repro` and `dvc exp run -S evolve.samples=3` read them from this file.
# You may leave out any of them. Its default then applies: the value below, except that data.limits.train, train_large and explore
# are null by default (all instructions). This file is generated: python -m agentevol.settings.document > params.yaml
"""
_COMMENT_COLUMN, _WIDTH = 34, 140


def document(params: Params = MAIN_JOB) -> str:
    """The text of params.yaml: every key with its value and its meaning as a comment."""
    lines = [_HEADER]
    for name, field in Params.model_fields.items():
        value = getattr(params, name)
        if isinstance(value, BaseModel):
            lines += ["", *_commented(f"{name}:", field.description), *_section(value, 2)]
        else:
            lines += _commented(f"{name}: {_inline(value)}", field.description)
    return "\n".join(lines) + "\n"


def _section(section: BaseModel, indent: int) -> list[str]:
    lines: list[str] = []
    fields, own = type(section).model_fields, type(section).__annotations__
    for name in sorted(fields, key=lambda name: name not in own):  # a section's own keys before those that it shares with others
        field, value = fields[name], getattr(section, name)
        if isinstance(value, BaseModel):
            lines += [*_commented(f"{' ' * indent}{name}:", field.description), *_section(value, indent + 2)]
        else:
            lines += _commented(f"{' ' * indent}{name}: {_inline(value)}", field.description)
    return lines


def _commented(entry: str, description: str | None) -> list[str]:
    """The entry with its comment, which continues on lines of its own where it is long."""
    comment = (description or "").removesuffix(".")
    first, *rest = textwrap.wrap(comment, _WIDTH - _COMMENT_COLUMN - 2, break_on_hyphens=False) or [""]
    return [f"{entry + ' ':<{_COMMENT_COLUMN}}# {first}".rstrip(), *(f"{' ' * _COMMENT_COLUMN}#   {line}" for line in rest)]


def _inline(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


if __name__ == "__main__":
    print(document(), end="")
