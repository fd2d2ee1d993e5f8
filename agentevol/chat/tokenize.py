"""Conversations as token ids and back, turn by turn, with the tokenizer's own chat template.

Invariant: a conversation is tokenized turn by turn (prompt, answer, observation, answer ...), never as a whole. Training therefore sees
the token ids that the policy sampled, and an expert's conversation gets the same token boundaries as one that a policy generates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentevol.chat.template import ChatTemplate, ChatTemplateError
from agentevol.data.trajectory import Message, Trajectory


@dataclass(slots=True)
class TokenizedExample:
    """A conversation as token ids. `loss_mask` (same length) is true for the tokens that the policy generated and is trained on."""

    token_ids: Sequence[int]
    loss_mask: Sequence[int]


class ChatTokenizer:
    """Tokenizes conversations turn by turn.

    `end_token_id`: the token that ends an answer. `stop_token_ids`: the tokens at which an engine stops generating.
    Raises ChatTemplateError if the tokenizer's template cannot be used turn by turn.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.template = ChatTemplate(tokenizer)
        suffix = self._tokenize(self.template.answer_suffix)
        eos = tokenizer.eos_token_id
        if not suffix and eos is None:
            raise ChatTemplateError("the chat template writes nothing after an answer and the tokenizer has no eos token: set one of them")
        self.end_token_id: int = suffix[0] if suffix else int(eos)
        self.stop_token_ids: frozenset[int] = frozenset({self.end_token_id} | ({int(eos)} if eos is not None else set()))
        self._template_writes_end_token = bool(suffix)

    def tokenize_prompt(self, content: str) -> list[int]:
        """The first user message, up to the first token of the first answer."""
        return self._tokenize(self.template.render_prompt(content))

    def tokenize_observation(self, content: str) -> list[int]:
        """A later user message: the tokens after the end token of one answer and before the first token of the next."""
        token_ids = self._tokenize(self.template.render_observation(content))
        return token_ids[1:] if self._template_writes_end_token else token_ids

    def tokenize_answer(self, content: str) -> list[int]:
        """An answer as a policy would generate it, with its end token."""
        return [*self._tokenize(content), self.end_token_id]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of an answer, without the end token and other special tokens, stripped of white space at both ends."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True)).strip()

    def tokenize_conversation(self, messages: Sequence[Message]) -> TokenizedExample:
        """A conversation whose roles alternate, beginning with the user. An observation after the last answer is left out."""
        token_ids: list[int] = []
        loss_mask: list[bool] = []
        last_answer = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
        for index, message in enumerate(messages[: last_answer + 1]):
            if message.role == "assistant":
                turn = self.tokenize_answer(message.content)
            else:
                turn = self.tokenize_prompt(message.content) if index == 0 else self.tokenize_observation(message.content)
            token_ids += turn
            loss_mask += [message.role == "assistant" and bool(message.loss)] * len(turn)
        return TokenizedExample(token_ids, loss_mask)

    def tokenize_trajectory(self, trajectory: Trajectory) -> TokenizedExample:
        """The token ids that the engine recorded; where there are none, the messages tokenized turn by turn."""
        if trajectory.token_ids is not None and trajectory.loss_mask is not None:
            return TokenizedExample(list(trajectory.token_ids), list(trajectory.loss_mask))
        return self.tokenize_conversation(trajectory.messages)

    def _tokenize(self, text: str) -> list[int]:
        return [int(token) for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]]
