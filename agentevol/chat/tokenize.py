"""Messages to token ids and back, piece by piece, through the tokenizer's own chat template.

Invariant: a conversation is tokenised in the pieces in which it came to be (opening, answer, observation, answer ...), never as a whole.
So the ids that a policy sampled are the ids it is trained on, and an expert's conversation is cut exactly as a live one would be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentevol.chat.template import PLAIN_TEMPLATE, ChatTemplateError
from agentevol.data.trajectory import Message, Trajectory

_MARK = "\u2042answer\u2042"
_ANSWER = {"role": "assistant", "content": _MARK}


@dataclass(slots=True)
class TokenizedExample:
    """Token ids of a conversation and, for each, whether the policy chose it (and so learns from it); equal lengths."""

    ids: Sequence[int]
    loss: Sequence[int]


class Chat:
    """Turn-by-turn tokenisation for one tokenizer. Raises ChatTemplateError where a template drops or rewrites what was said."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            tokenizer.chat_template = PLAIN_TEMPLATE
        asked = [{"role": "user", "content": "."}]
        self._has_generation_prompt = self._render(asked, generate=True) != self._render(asked, generate=False)
        closing = self._ids(self._written([*asked, _ANSWER])[1])
        eos = tokenizer.eos_token_id
        if not closing and eos is None:
            raise ChatTemplateError("the chat template ends an answer with nothing and the tokenizer has no eos token: set one of them")
        self.end_id: int = closing[0] if closing else int(eos)
        self.stop_ids: frozenset[int] = frozenset({self.end_id} | ({int(eos)} if eos is not None else set()))
        self._closes_with_template = bool(closing)

    def opening(self, content: str) -> list[int]:
        """The first user message, up to where the policy begins to speak."""
        return self._ids(self._before_answer([{"role": "user", "content": content}])[0])

    def observation(self, content: str) -> list[int]:
        """What stands between the end mark of an answer (not included) and the beginning of the next one."""
        ids = self._ids(self._before_answer([{"role": "user", "content": "."}, _ANSWER, {"role": "user", "content": content}])[1])
        return ids[1:] if self._closes_with_template else ids

    def answer(self, content: str) -> list[int]:
        """An answer as a policy would have produced it, with its end mark."""
        return [*self._ids(content), self.end_id]

    def text(self, ids: Sequence[int]) -> str:
        """The words of an answer: the end mark and other special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def encode(self, messages: Sequence[Message]) -> TokenizedExample:
        """A whole conversation that starts with the user and alternates; a closing observation after the last answer is left out."""
        ids: list[int] = []
        loss: list[bool] = []
        last_answer = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
        for index, message in enumerate(messages[: last_answer + 1]):
            if message.role == "assistant":
                piece = self.answer(message.content)
            else:
                piece = self.opening(message.content) if index == 0 else self.observation(message.content)
            ids += piece
            loss += [message.role == "assistant" and bool(message.loss)] * len(piece)
        return TokenizedExample(ids, loss)

    def encode_trajectory(self, trajectory: Trajectory) -> TokenizedExample:
        """The ids that were sampled where they are known, else the messages tokenised piece by piece."""
        if trajectory.token_ids is not None and trajectory.loss_mask is not None:
            return TokenizedExample(list(trajectory.token_ids), list(trajectory.loss_mask))
        return self.encode(trajectory.messages)

    def _render(self, messages: list[dict[str, str]], generate: bool) -> str:
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate))

    def _before_answer(self, messages: list[dict[str, str]]) -> list[str]:
        """What the template writes around the answers in `messages`, the last piece ending where the policy is to speak.

        Templates without a generation prompt (Llama-2's) are asked what they write before an answer instead.
        """
        return self._written(messages, generate=True) if self._has_generation_prompt else self._written([*messages, _ANSWER])[:-1]

    def _written(self, messages: list[dict[str, str]], generate: bool = False) -> list[str]:
        pieces = self._render(messages, generate).split(_MARK)
        if len(pieces) != 1 + messages.count(_ANSWER):
            raise ChatTemplateError(
                "the chat template does not keep an assistant's message as it was said; give the tokenizer another template"
            )
        return pieces

    def _ids(self, text: str) -> list[int]:
        return [int(token) for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]]


def token_count(trajectory: Trajectory, tokenizer: Any) -> int:
    """Tokens of the trajectory as the model would read it."""
    return len(trajectory.token_ids) if trajectory.token_ids is not None else len(Chat(tokenizer).encode(trajectory.messages).ids)
