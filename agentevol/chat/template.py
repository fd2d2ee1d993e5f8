"""Chat templates, turn by turn: the text that a tokenizer's template writes around the messages of a conversation.

Invariant: a template is used only if it keeps the text of every answer unchanged; otherwise ChatTemplateError is raised.
"""

from __future__ import annotations

from typing import Any

FALLBACK_TEMPLATE = (
    "{% for message in messages %}{{ '\n### ' + message['role'] + '\n' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n### assistant\n' }}{% endif %}"
)
"""For tokenizers without a template. It marks roles with ordinary text, because such a tokenizer has no special tokens for them."""

_PLACEHOLDER = "\u2042answer\u2042"
_ANSWER = {"role": "assistant", "content": _PLACEHOLDER}


class ChatTemplateError(ValueError):
    """The tokenizer's chat template cannot be used turn by turn."""


class ChatTemplate:
    """The chat template of a tokenizer. A tokenizer without one is given FALLBACK_TEMPLATE.

    `answer_suffix`: the text that the template writes after an answer, such as `<|im_end|>` with a newline; it may be empty.
    Raises ChatTemplateError if the template drops or rewrites answers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        if not tokenizer.chat_template:
            tokenizer.chat_template = FALLBACK_TEMPLATE
        probe = [_user(".")]
        self._has_generation_prompt = self._render(probe, generation_prompt=True) != self._render(probe, generation_prompt=False)
        self.answer_suffix = self._split_at_answers([*probe, _ANSWER])[1]

    def render_prompt(self, content: str) -> str:
        """The first user message with all that precedes the first answer."""
        return self._render_before_answer([_user(content)])[0]

    def render_observation(self, content: str) -> str:
        """The text between an answer and the next one: the answer's suffix, then a user message with `content`."""
        return self._render_before_answer([_user("."), _ANSWER, _user(content)])[1]

    def _render(self, messages: list[dict[str, str]], *, generation_prompt: bool) -> str:
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation_prompt))

    def _render_before_answer(self, messages: list[dict[str, str]]) -> list[str]:
        """The text around the answers in `messages`; the last part ends where the next answer begins.

        For templates without a generation prompt (Llama-2's), render another answer and drop what follows it.
        """
        if self._has_generation_prompt:
            return self._split_at_answers(messages, generation_prompt=True)
        return self._split_at_answers([*messages, _ANSWER])[:-1]

    def _split_at_answers(self, messages: list[dict[str, str]], *, generation_prompt: bool = False) -> list[str]:
        parts = self._render(messages, generation_prompt=generation_prompt).split(_PLACEHOLDER)
        if len(parts) != 1 + messages.count(_ANSWER):
            raise ChatTemplateError(
                "the chat template does not keep the text of an assistant message unchanged; give the tokenizer another template"
            )
        return parts


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}
