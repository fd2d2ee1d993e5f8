"""Compares a server's prompts, rendered from whole conversations, with the turns that a policy is trained on.

Invariant: if they differ, `exported_template` is a template that renders the turns; a policy is saved with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentevol.chat.clock import freeze_clock
from agentevol.chat.template import ChatTemplateError
from agentevol.chat.tokenize import ChatTokenizer

_PROBE = (
    ("user", "You are in a room. Is a < b && 'c' > \"d\"? {{ x }}\n\n1. go\n2. stop"),
    ("assistant", "Thought: I look at the room.\nAction: go"),
    ("user", "A door. {% if x %} \\n <b>é ☃</b>"),
    ("assistant", "Thought: it is shut\n\nAction: open [door]"),
    ("user", "The task is completed."),
)
_KEEPS_TEMPLATE = {"date", "variables"}
_THOUGHTS = "<think>\nI look.\n</think>\n\n"
_TURN_TEMPLATE = (
    "{{%- set state = namespace(system='', opened=false) -%}}"
    "{{%- for message in messages -%}}"
    "{{%- if message['role'] == 'system' -%}}{{%- set state.system = message['content'] + '\\n\\n' -%}}"
    "{{%- elif message['role'] == 'assistant' -%}}{{{{ {answer_space} + message['content']{strip_answer} + {end} }}}}"
    "{{%- elif state.opened -%}}{{{{ {after_end} + message['content']{strip_user} + {observation_end} }}}}"
    "{{%- else -%}}{{%- set state.opened = true -%}}"
    "{{{{ {prompt_start} + state.system + message['content']{strip_user} + {prompt_end} }}}}"
    "{{%- endif -%}}{{%- endfor -%}}"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a server's prompts differ from those of training. `detail` is a clause whose subject is the template."""

    kind: Literal["header", "history", "thoughts", "end", "date", "variables"]
    detail: str


def differences(chat: ChatTokenizer) -> list[Difference]:
    """The differences between the template's rendering of whole conversations, as a server does it, and the turns."""
    template, found = chat.template, []
    plain = [{"role": role, "content": text} for role, text in _PROBE]
    thinking = [{**message, "content": _THOUGHTS + message["content"]} if message["role"] == "assistant" else message for message in plain]
    kinds = [kind for count in (1, 3, 5) if (kind := _compare(chat, plain[:count]))]
    if "history" in kinds:
        found.append(Difference("history", "writes earlier turns in another way than the last one"))
    elif kinds:
        found.append(Difference("header", "opens an answer in another way than its generation prompt does"))
    if "history" not in kinds and any(_compare(chat, thinking[:count]) == "history" for count in (1, 3, 5)):
        found.append(Difference("thoughts", "removes <think> from earlier answers"))
    if not chat.template_writes_end:
        found.append(Difference("end", f"writes no end token directly after an answer ({chat.end_text} is used)"))
    if template.writes_date:
        found.append(Difference("date", "writes today's date"))
    if template.kwargs and _without_kwargs(chat, plain) != template.render(plain):
        found.append(Difference("variables", f"is given {', '.join(sorted(template.kwargs))}"))
    return found


def keeps_template(chat: ChatTokenizer) -> bool:
    """Whether a policy is saved with the tokenizer's own template, apart from a date and variables in it."""
    return {difference.kind for difference in differences(chat)} <= _KEEPS_TEMPLATE


def exported_template(chat: ChatTokenizer) -> str | None:
    """The template to save with a policy, so that a server renders conversations as training did; None: the tokenizer's own.

    A date and variables become part of the template. Other differences need a template of the turns alone, without tools; it puts a system
    message before the first user message.
    """
    kinds = {difference.kind for difference in differences(chat)}
    if not kinds:
        return None
    template = chat.template
    if kinds <= _KEEPS_TEMPLATE:
        variables = "".join(f"{{%- set {name} = {value!a} %}}" for name, value in template.kwargs.items())
        return variables + "{{ '' }}" + freeze_clock(template.source)
    return _TURN_TEMPLATE.format(
        prompt_start=ascii(template.prompt_start),
        prompt_end=ascii(template.prompt_end),
        observation_end=ascii(template.observation_end),
        answer_space=ascii(template.answer_space),
        end=ascii(chat.closing_space + chat.end_text),
        after_end=ascii(chat.after_end),
        strip_user=template.user_strip_method,
        strip_answer=template.answer_strip_method,
    )


def _compare(chat: ChatTokenizer, messages: Sequence[dict[str, str]]) -> Literal["header", "history"] | None:
    """How the template's rendering of the whole conversation differs from the turns together."""
    whole, turns = chat.template.render(messages), chat.template.render_turn_by_turn(messages)
    if whole == turns:
        return None
    return "header" if turns.startswith(whole) else "history"


def _without_kwargs(chat: ChatTokenizer, messages: Sequence[dict[str, str]]) -> str | None:
    try:
        return chat.template.render(messages, kwargs={})
    except ChatTemplateError:
        return None
