"""Tokenizing text so that nothing in a message becomes a control token, such as a mark that opens or ends a turn.

Invariant: only the template's pieces around a message contribute control tokens; what a message holds is ordinary text. Where a message
holds no control token, the token ids are those of the tokenizer itself.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Any

_THOUGHT_MARKS = ("<think>", "</think>")
"""Tokens that a policy writes into its answers itself."""


class ControlTokens:
    """The control tokens of a tokenizer: its special tokens, and those added tokens that the template writes around messages.

    `template_texts`: the texts that the template writes around messages.
    """

    def __init__(self, tokenizer: Any, template_texts: Iterable[str]) -> None:
        self._tokenizer = tokenizer
        written = "\n".join(template_texts)
        self._allowed: dict[tuple[str, bool], int] = {}
        # Only the unknown token can come from a character of no alphabet.
        unknown = set(self._ids_of("\ue000")) - {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
        special = {int(token) for token in tokenizer.all_special_ids} - unknown
        self.ids: dict[int, str] = {}
        for token_id, token in tokenizer.added_tokens_decoder.items():
            if token_id in unknown or not token.content.strip():
                continue
            if token.special or token_id in special or token.content in written:
                self.ids[int(token_id)] = token.content
        for token_id in special:
            self.ids.setdefault(int(token_id), tokenizer.convert_ids_to_tokens(int(token_id)))
        self._pattern = _any_of(self.ids.values())
        self._in_answers = frozenset(token_id for token_id, text in self.ids.items() if text not in _THOUGHT_MARKS)

    def first(self, text: str) -> re.Match[str] | None:
        """The first control token in a text of the template."""
        return self._pattern.search(text)

    def tokenize(self, before: str, message: str, after: str, *, is_answer: bool = False) -> list[int]:
        """The token ids of `before` + `message` + `after`, of which the first and the last are texts of the template.

        `is_answer`: the message is an answer, in which the marks of thoughts are allowed.
        """
        ids = self._ids_of(before + message + after)
        controls = self._in_answers if is_answer else self.ids.keys()
        if self._count(ids, controls) == self._allowed_in(before, is_answer) + self._allowed_in(after, is_answer):
            return ids
        first, *middle, last = self._split(message, controls, is_answer)
        return [*self._ids_of(before + first), *(token for part in middle for token in self._ids_of(part)), *self._ids_of(last + after)]

    def _split(self, message: str, controls: Container[int], is_answer: bool) -> list[str]:
        """The message in parts, cut within every control token; in single characters if it holds none by name."""
        parts, rest = [], message
        while match := self._pattern.search(rest):
            cut = match.end() if is_answer and match[0] in _THOUGHT_MARKS else match.start() + 1
            parts.append(rest[:cut])
            rest = rest[cut:]
        parts.append(rest)
        remaining = sum(self._count(self._ids_of(part), controls) for part in parts)
        if remaining and sum(self._count(self._ids_of(character), controls) for character in message) < remaining:
            parts = list(message)
        return parts if len(parts) > 1 else [*parts, ""]

    def _allowed_in(self, text: str, is_answer: bool) -> int:
        """The number of control tokens in a text of the template."""
        key = text, is_answer
        if key not in self._allowed:
            self._allowed[key] = self._count(self._ids_of(text), self._in_answers if is_answer else self.ids.keys())
        return self._allowed[key]

    def _ids_of(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    @staticmethod
    def _count(ids: Iterable[int], controls: Container[int]) -> int:
        return sum(token in controls for token in ids)


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of the texts, the longest first; it matches nothing if there are none."""
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)) or r"(?!)")
