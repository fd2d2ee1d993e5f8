"""The forms in which an answer may give its action, by environment. The tests try every form with an action of every environment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from docs.generate.markdown import block, table
from envs.base import TextEnv
from envs.registry import ENVIRONMENTS, environment_class

Kind = Literal["one line", "tool call", "SQL", "WebArena"]
KINDS: tuple[Kind, ...] = ("one line", "tool call", "SQL", "WebArena")


@dataclass(frozen=True, slots=True)
class Form:
    """An answer with {action} and {other} in place of two actions. `refused`: the kinds of environments that explain it to the policy."""

    name: str
    answer: str
    refused: tuple[Kind, ...] = ()

    def text(self, action: str, other: str) -> str:
        return self.answer.replace("{action}", action).replace("{other}", other)


FORMS = (
    Form("as the prompts say", "Thought: I go on.\nAction: {action}"),
    Form("on the next line", "Thought:\nI go on.\n\nAction:\n{action}"),
    Form("after an empty line", "Thought: I go on.\nAction:\n\n{action}"),
    Form("in the middle of a line", "I go on. Action: {action}"),
    Form("without a thought", "Action: {action}"),
    Form("bold, colon inside", "**Thought:** I go on.\n**Action:** {action}"),
    Form("bold, colon outside", "**Thought**: I go on.\n**Action**: {action}"),
    Form("bold line", "**Action: {action}**"),
    Form("bold action", "Thought: I go on.\nAction: **{action}**"),
    Form("bold in one line", "**Thought**: I go on. **Action**: {action}"),
    Form("backticks", "Thought: I go on.\nAction: `{action}`"),
    Form("backticks and a full stop", "Thought: I go on.\nAction: `{action}`."),
    Form("fence in the line", "Thought: I go on.\nAction: ```{action}```"),
    Form("fence", "Thought: I go on.\nAction:\n```\n{action}\n```"),
    Form("fence with a language", "Thought: I go on.\nAction: ```text\n{action}\n```"),
    Form("whole answer in a fence", "```\nThought: I go on.\nAction: {action}\n```"),
    Form("fence without Action", "I go on.\n```\n{action}\n```"),
    Form("lower case", "thought: I go on.\naction: {action}"),
    Form("upper case", "THOUGHT: I go on.\nACTION: {action}"),
    Form("full-width colon", "Thought\uff1aI go on.\nAction\uff1a{action}"),
    Form("numbered rounds", "Thought 1: I go on.\nAction 1: {action}"),
    Form("list", "- Thought: I go on.\n- Action: {action}"),
    Form("numbered list", "1. **Thought**: I go on.\n2. **Action**: {action}"),
    Form("list mark before the action", "Thought: I go on.\nAction:\n- {action}"),
    Form("quotation", "> Thought: I go on.\n> Action: {action}"),
    Form("heading", "## Thought\nI go on.\n## Action\n{action}"),
    Form("Windows line ends", "Thought: I go on.\r\nAction: {action}\r\n"),
    Form(
        "invented later rounds: the first action",
        "Thought: I go on.\nAction: {action}\nObservation: It works.\nThought: Next.\nAction: {other}\nObservation: Done.",
    ),
    Form("the same action twice", "Thought: I go on.\nAction: {action}\nAction: {action}"),
    Form(
        "action within <think> and another after it", "<think>Shall I?\nAction: {other}\nNo.</think>\nThought: I go on.\nAction: {action}"
    ),
    Form("only the end of <think>", "Shall I?\nAction: {other}\nNo.</think>\n\nThought: I go on.\nAction: {action}"),
    Form("<think> without an end", "<think>I go on.\nAction: {action}"),
    Form("two different actions", "Thought: I go on.\nAction: {action}\nAction: {other}", refused=KINDS),
    Form("no action", "Thought: I go on.", refused=KINDS),
    Form("nothing after Action", "Thought: I go on.\nAction:", refused=KINDS),
)


def kind_of(cls: type[TextEnv]) -> Kind:
    form = cls.action_form
    if form.fenced:
        return "SQL" if form.multiline else "WebArena"
    return "tool call" if form.multiline else "one line"


def page() -> str:
    by_kind = {kind: [name for name in ENVIRONMENTS if kind_of(environment_class(name)) == kind] for kind in KINDS}
    header = ["form", *(f"{kind} ({', '.join(by_kind[kind])})" for kind in KINDS)]
    rows = [(form.name, *("explained" if kind in form.refused else "accepted" for kind in KINDS)) for form in FORMS]
    examples = "\n\n".join(f"**{form.name}**\n\n{block(form.text('move up', 'move down').replace(chr(13), ''))}" for form in FORMS)
    return (
        f"{_INTRODUCTION}\n{table(header, rows)}\n\n{_RULES}\n## The forms\n\n{examples}\n\n## Functions\n\n{_FUNCTIONS}\n{_functions()}\n"
    )


def _functions() -> str:
    """Every environment's functions with their parameters, and the length of their schemas."""
    rows = []
    for name in ENVIRONMENTS:
        functions = environment_class(name).functions
        calls = [f"`{function.name}({', '.join(parameter.name for parameter in function.parameters)})`" for function in functions]
        rows.append((name, ", ".join(calls), sum(len(json.dumps(function.schema())) for function in functions)))
    return table(["environment", "functions", "characters of their JSON schemas"], rows)


_INTRODUCTION = """\
# Forms of an answer

Prompts ask for `Thought: ...` and `Action: ...`. Language models write this in many other forms. One parser (`envs.react`) reads these
forms in all environments. `tests/envs/test_react.py` tests every form in this table with an action of every environment.
"""
_RULES = """\
- If an answer has a single `Action:` and no Markdown around the action, the action is exactly the text after it: to the end of the line, or
  to the end of the answer for tool calls and SQL.
- A model that continues after its action invents the observation and further rounds. The parser takes the action before the first
  `Observation:`.
- *Explained* means: the answer costs a round and does nothing. The observation says how the answer was read and what to write, such as
  `Your answer has 2 different actions: 'look', 'go north'. Give exactly one action, in the form: ...`
- Tool calls can also be written as `Action: name` with `Action Input: {...}` on the next line, with their input in a fence, and with more
  text after it.
- SQL ends at the first complete statement whose semicolon ends a line. A fenced query can be anywhere in the answer.
- WebArena's action can also be in a fence in the middle of a sentence, as AgentGym's prompt requests.

With AgentGym's protocol (`/agentgym`), the server is as strict as AgentGym's own servers: a tool call must be at the end, after `Action:`,
on one line, with a Python dictionary as its input; a WebArena action must be in a fence.
"""
_FUNCTIONS = """\
With `agent.format: function_calling` ([guide](../how-to/action-formats.md)), an answer has one call:

```text
Thought: I go on.
<tool_call>
{"name": "move", "arguments": {"direction": "up"}}
</tool_call>
```

Also accepted:

- a call without the end mark, as a bare JSON object, in a JSON fence, or after `[TOOL_CALLS]` or `<|python_tag|>`;
- `parameters` instead of `arguments`, and `function_name` instead of `name` (AgentGym's form);
- arguments as JSON within a string, the same call twice, and `tool_calls` of a server.

Text before `</think>` is ignored. Explained to the policy: no call, two different calls, invalid JSON, an unknown function, an
unknown or missing argument, an argument of another type. `tests/agentevol/data/test_function_calling.py` tests all of these.

With `agent.format: code` the call is Python:

~~~text
Thought: I go on.
```python
move(direction="up")
```
~~~

Also accepted: positional arguments, `print(...)` or `name = ...` around the call, comments, a block that is not closed, and a line with
the call but no block. Code is parsed and never evaluated: arguments must be constants, and anything other than a call is explained
(`tests/agentevol/data/test_code_action.py`).
"""
