"""Chat templates, turn by turn: the text that a tokenizer's template writes around the messages of a conversation.

Invariant: the template is rendered only with texts of this module. Messages are put between the pieces that it wrote, so nothing in a
message can change them. `contract.py` compares the result with the template's own rendering of whole conversations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agentevol.chat.clock import OTHER_DATE, freeze_clock, has_clock
from agentevol.data.function_calling import call_text

FORMAT_VERSION = 1
"""Part of the key of results that depend on more than the plain form of a template (`ChatTokenizer.format_key`)."""
FALLBACK_TEMPLATE = (
    "{% for message in messages %}{{ '\n### ' + message['role'] + '\n' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n### assistant\n' }}{% endif %}"
)
"""For tokenizers without a template. It marks roles with ordinary text, because such a tokenizer has no special tokens for them."""

_PAD = "\n  "  # around a message, to find out whether the template strips it
_STRIP_METHODS = {(False, False): "", (True, True): ".strip()", (True, False): ".lstrip()", (False, True): ".rstrip()"}
"""By whether white space goes at the start and at the end of a message: the call in a template."""


@dataclass(frozen=True, slots=True)
class ToolPieces:
    """The texts around the result of a function call: after the call and before the result, and after it up to the next answer."""

    before_result: str
    after_result: str


class ChatTemplateError(ValueError):
    """The tokenizer's chat template cannot be used turn by turn."""


class ChatTemplate:
    """The chat template of a tokenizer. A tokenizer without one is given FALLBACK_TEMPLATE, with a BOS token if the tokenizer adds one.

    A conversation is `prompt_start` user `prompt_end` answer `answer_suffix` user `observation_end` answer ...
    `answer_space`: the spaces that the template writes between the mark of the assistant's turn and an answer. The policy generates them.
    `answer_suffix`: the text after an answer and before the next user message, e.g. `<|im_end|>`, a newline and the user's header.
    `kwargs`: further variables of the template. `is_plain`: the template opens an answer with its generation prompt, and has its own BOS
    token or needs none. `writes_date`: the template writes today's date, which is frozen here.
    Raises ChatTemplateError if the template fails, or drops or rewrites messages.
    """

    def __init__(self, tokenizer: Any, kwargs: Mapping[str, Any] | None = None) -> None:
        self._tokenizer, self.kwargs = tokenizer, dict(kwargs or {})
        needs_bos = not tokenizer.chat_template and _adds_bos(tokenizer)
        if not tokenizer.chat_template:
            tokenizer.chat_template = ("{{ bos_token }}" if needs_bos else "") + FALLBACK_TEMPLATE
        self.source: str = tokenizer.get_chat_template()
        self.frozen_source = freeze_clock(self.source)
        self._starts_with_tools: dict[str, str] = {}
        self._user_strip = self._answer_strip = (False, False)
        first, second, third = (self._pieces(users) for users in (1, 2, 3))
        self.prompt_start = first[0]
        self.prompt_end, space = _before_answer(first[1], third[1])
        self.answer_suffix = second[2]
        self.observation_end, self.answer_space = _before_answer(second[3], third[3])
        if space != self.answer_space:
            self.prompt_end += space
            self.observation_end += self.answer_space
            self.answer_space = ""
        self.is_plain = not (needs_bos or self.answer_space or self.prompt_end != first[1] or self.observation_end != second[3])
        self._user_strip = self._find_stripping("user")
        self._answer_strip = self._find_stripping("assistant")
        probe = [{"role": "user", "content": "."}]
        self.writes_date = has_clock(self.source) and self.render(probe) != self.render(probe, freeze_clock(self.source, OTHER_DATE))

    def render_prompt(self, content: str) -> str:
        """The first user message with all that precedes the first answer."""
        return self.prompt_start + self.strip_user(content) + self.prompt_end

    @cached_property
    def tool_pieces(self) -> ToolPieces | None:
        """How the template writes function calls; None if it knows no functions, or writes calls in another form than this project."""
        function = {"name": "zQfQz", "description": ".", "parameters": {"type": "object", "properties": {}}}
        call = {"type": "function", "function": {"name": "zQfQz", "arguments": {"a": "b"}}}
        conversation: list[dict[str, Any]] = [
            {"role": "user", "content": "zQ0Qz"},
            {"role": "assistant", "content": "zQ1Qz", "tool_calls": [call]},
            {"role": "tool", "name": "zQfQz", "content": "zQ2Qz"},
        ]
        try:
            text = self.render(conversation, tools=[{"type": "function", "function": function}])
        except ChatTemplateError:
            return None
        start, user, text = text.partition("zQ0Qz")
        before_answer, answer, text = text.partition("zQ1Qz\n" + call_text("zQfQz", {"a": "b"}))
        before_result, result, after_result = text.partition("zQ2Qz")
        if not (user and answer and result) or "zQfQz" not in start or before_answer.strip() != self.prompt_end.strip():
            return None
        return ToolPieces(before_result, after_result)

    def prompt_start_with(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """`prompt_start` of a conversation that offers these functions. Raises ChatTemplateError."""
        key = json.dumps(tools)
        if key not in self._starts_with_tools:
            self._starts_with_tools[key] = self.render([{"role": "user", "content": "zQ0Qz"}], tools=tools).partition("zQ0Qz")[0]
        return self._starts_with_tools[key]

    def strip_user(self, content: str) -> str:
        return _strip(content, self._user_strip)

    def strip_answer(self, content: str) -> str:
        return _strip(content, self._answer_strip)

    @property
    def user_strip_method(self) -> str:
        """The call that strips a user message in a template, "" if nothing is stripped."""
        return _STRIP_METHODS[self._user_strip]

    @property
    def answer_strip_method(self) -> str:
        return _STRIP_METHODS[self._answer_strip]

    def render_turn_by_turn(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The messages (user, assistant, user, ..., user) between the template's pieces, up to the start of the next answer."""
        text = self.render_prompt(messages[0]["content"])
        for answer, observation in zip(messages[1::2], messages[2::2], strict=True):
            text += self.answer_space + self.strip_answer(answer["content"]) + self.answer_suffix
            text += self.strip_user(observation["content"]) + self.observation_end
        return text

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        source: str | None = None,
        *,
        kwargs: Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """The template's own rendering of the whole conversation with a generation prompt; `source`, `kwargs`: instead of its own."""
        try:
            rendered = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                chat_template=source or self.frozen_source,
                tokenize=False,
                add_generation_prompt=True,
                **({} if tools is None else {"tools": [dict(tool) for tool in tools]}),
                **(self.kwargs if kwargs is None else kwargs),
            )
        except Exception as error:  # named boundary: a template is a program, and it can raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ChatTemplateError(f"the chat template fails ({reason}); give the tokenizer another template") from None
        return str(rendered)

    def _pieces(self, users: int, pad: Mapping[str, str] | None = None) -> list[str]:
        """What the template writes around the messages of a conversation with so many user messages, each a mark in `pad`ding."""
        contents = [f"zQ{index}Qz" for index in range(2 * users - 1)]
        roles = ["assistant" if index % 2 else "user" for index in range(len(contents))]
        padding = [(pad or {}).get(role, "") for role in roles]
        text = self.render(
            [{"role": role, "content": before + content + before} for role, content, before in zip(roles, contents, padding, strict=True)]
        )
        pieces = []
        for content, role in zip(contents, roles, strict=True):
            before, mark, text = text.partition(content)
            if not mark or content in text:
                kind = "an assistant" if role == "assistant" else "a user"
                raise ChatTemplateError(
                    f"the chat template does not keep the text of {kind} message unchanged; give the tokenizer another template"
                )
            pieces.append(before)
        return [*pieces, text]

    def _find_stripping(self, role: str) -> tuple[bool, bool]:
        """Whether the template strips white space at the start and at the end of messages of this role."""
        plain, padded = self._pieces(2), self._pieces(2, {role: _PAD})
        index = 1 if role == "assistant" else 0
        return padded[index] == plain[index], padded[index + 1] == plain[index + 1]


def _before_answer(generation_prompt: str, history: str) -> tuple[str, str]:
    """The text before an answer, and the spaces that the policy generates itself.

    `generation_prompt`: what the template writes before the next answer. `history`: what it writes before an earlier one. A template
    without a generation prompt (Llama 2's) opens the turn only in the history, and gpt-oss chooses the channel there.
    """
    if generation_prompt == history or not history.startswith(generation_prompt):
        return generation_prompt, ""
    rest = history.removeprefix(generation_prompt)
    header = rest.rstrip(" ") if rest.strip() else ""
    return generation_prompt + header, rest.removeprefix(header)


def _strip(text: str, sides: tuple[bool, bool]) -> str:
    text = text.lstrip() if sides[0] else text
    return text.rstrip() if sides[1] else text


def _adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer begins every text with its BOS token."""
    bos = tokenizer.bos_token_id
    return bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]
