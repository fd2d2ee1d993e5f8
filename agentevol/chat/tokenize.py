"""Conversations as token ids and back, turn by turn, with the tokenizer's own chat template.

Invariant: a conversation is tokenized turn by turn (prompt, answer, observation, answer ...), never as a whole. Training therefore sees
the token ids that the policy sampled, and an expert's conversation gets the same token boundaries as one that a policy generates.
No text of a message becomes a control token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agentevol.chat.control_tokens import ControlTokens
from agentevol.chat.template import FORMAT_VERSION, ChatTemplate, ChatTemplateError, ToolPieces
from agentevol.data.action_format import tools_of
from agentevol.data.artifact_folder import digest_json
from agentevol.data.function_calling import has_call, tools_text
from agentevol.data.trajectory import Message, Trajectory


@dataclass(slots=True)
class TokenizedExample:
    """A conversation as token ids. `loss_mask` (same length) is true for the tokens that the policy generated and is trained on."""

    token_ids: Sequence[int]
    loss_mask: Sequence[int]


class ChatTokenizer:
    """Tokenizes conversations turn by turn.

    `end_token_id`, `end_text`: the token that ends an answer, the first control token that the template writes after it; where there is
    none (`template_writes_end` is false), the tokenizer's eos token. `closing_space`: the white space that the template writes before it;
    `after_end`: its text after it. `closing_ids` end an answer that was cut. `stop_token_ids`: the tokens at which an engine stops
    generating. `eos_token_ids`: those that the model's generation configuration names. Raises ChatTemplateError if the tokenizer's
    template cannot be used turn by turn.
    """

    def __init__(
        self,
        tokenizer: Any,
        template_kwargs: Mapping[str, Any] | None = None,
        eos_token_ids: Iterable[int] = (),
        keeps_template: Callable[[ChatTokenizer], bool] = lambda _: True,
    ) -> None:
        """`keeps_template`: whether policies are saved with this template; the template of the turns alone knows no functions."""
        self.tokenizer, self._keeps_template = tokenizer, keeps_template
        self.template = template = ChatTemplate(tokenizer, template_kwargs)
        self._controls = ControlTokens(
            tokenizer, (template.prompt_start, template.prompt_end, template.answer_suffix, template.observation_end)
        )
        eos = tokenizer.eos_token_id
        end = self._controls.first(template.answer_suffix)
        if end is not None and eos is not None and end[0] == tokenizer.bos_token != tokenizer.eos_token:
            end = None  # it begins the next turn, as in templates that write BOS before each of them
        if end is not None and not template.answer_suffix[: end.start()].strip():
            self.end_text = end[0]
            self.closing_space = template.answer_suffix[: end.start()]
            self.after_end = template.answer_suffix[end.end() :]
        elif eos is not None:
            self.end_text, self.closing_space, self.after_end = str(tokenizer.eos_token), "", template.answer_suffix
        else:
            raise ChatTemplateError("the chat template writes nothing after an answer and the tokenizer has no eos token: set one of them")
        self.template_writes_end = self.after_end != template.answer_suffix
        self.end_token_id: int = int(tokenizer.convert_tokens_to_ids(self.end_text))
        named = {int(token) for token in eos_token_ids if 0 <= int(token) < len(tokenizer)}
        self.stop_token_ids: frozenset[int] = frozenset({self.end_token_id} | named | ({int(eos)} if eos is not None else set()))
        self._context_ids = self._controls.tokenize(template.prompt_end, "", "")
        self.closing_ids = [*self._context_tokens("x", self.closing_space)[len(self._context_tokens("x", "")) :], self.end_token_id]

    @cached_property
    def _tool_pieces(self) -> ToolPieces | None:
        """As `ChatTemplate.tool_pieces`; None also where a call does not end like any other answer, or policies get another template."""
        pieces = self.template.tool_pieces
        if pieces is None or not pieces.before_result.startswith(self.closing_space + self.end_text) or not self._keeps_template(self):
            return None
        return pieces

    @property
    def writes_tools(self) -> bool:
        """Whether the template itself writes functions, calls and results; otherwise they are plain text of the messages."""
        return self._tool_pieces is not None

    @property
    def control_token_ids(self) -> frozenset[int]:
        """The tokens that no text of a message can become."""
        return frozenset(self._controls.ids)

    def tokenize_prompt(self, content: str, tools: Sequence[Mapping[str, Any]] | None = None) -> list[int]:
        """The first user message, up to the first token of the first answer.

        `tools`: the functions that the policy may call. They go where the template writes them; before the message as text, if it knows
        none.
        """
        template = self.template
        start = template.prompt_start
        if tools is not None and self._tool_pieces is not None:
            start = template.prompt_start_with(tools)
        elif tools is not None:
            content = tools_text(tools) + content
        return self._controls.tokenize(start, template.strip_user(content), template.prompt_end)

    def tokenize_observation(self, content: str, *, answers_call: bool = False) -> list[int]:
        """A later user message: the tokens after the end token of one answer and before the first token of the next.

        `answers_call`: the message is the result of a function call, for which a template may have another form.
        """
        template = self.template
        if answers_call and self._tool_pieces is not None:
            before = self._tool_pieces.before_result.removeprefix(self.closing_space)
            return self._controls.tokenize(before, content, self._tool_pieces.after_result)[1:]
        before = self.end_text + self.after_end
        return self._controls.tokenize(before, template.strip_user(content), template.observation_end)[1:]

    def tokenize_answer(self, content: str) -> list[int]:
        """An answer as a policy would generate it, with its end token."""
        return [*self._context_tokens(self.template.strip_answer(content), self.closing_space), self.end_token_id]

    def missing_end(self, token_ids: Sequence[int]) -> list[int]:
        """The tokens to append to a sampled answer, so that the template's next turn can follow."""
        if token_ids and token_ids[-1] in self.stop_token_ids:
            return [] if token_ids[-1] == self.end_token_id else [self.end_token_id]
        return list(self.closing_ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of an answer, without the token that ended it and without special tokens, stripped of white space at both ends."""
        ids = list(token_ids)
        if ids and ids[-1] in self.stop_token_ids:
            ids.pop()  # some tokenizers have an end token that they do not mark as special
        # Some tokenizers would remove spaces before punctuation, and the environment would get another text than the policy wrote.
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text).strip()

    def tokenize_conversation(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None) -> TokenizedExample:
        """A conversation whose roles alternate, beginning with the user. An observation after the last answer is left out.

        `tools`: the functions that the policy may call, None where it writes its actions as text.
        """
        token_ids: list[int] = []
        loss_mask: list[bool] = []
        last_answer = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=-1)
        for index, message in enumerate(messages[: last_answer + 1]):
            if message.role == "assistant":
                turn = self.tokenize_answer(message.content)
            else:
                answers_call = tools is not None and index > 0 and has_call(messages[index - 1].content)
                turn = (
                    self.tokenize_prompt(message.content, tools)
                    if index == 0
                    else self.tokenize_observation(message.content, answers_call=answers_call)
                )
            token_ids += turn
            loss_mask += [message.role == "assistant" and bool(message.loss)] * len(turn)
        return TokenizedExample(token_ids, loss_mask)

    def tokenize_trajectory(self, trajectory: Trajectory) -> TokenizedExample:
        """The token ids that the engine recorded; where there are none, the messages tokenized turn by turn."""
        if trajectory.token_ids is not None and trajectory.loss_mask is not None:
            return TokenizedExample(list(trajectory.token_ids), list(trajectory.loss_mask))
        return self.tokenize_conversation(trajectory.messages, tools_of(trajectory))

    def format_key(self) -> str | None:
        """Names what the token ids depend on besides the tokenizer's files; None for a template in the plain form.

        The plain form: no variables, no date, the end token directly after the answer, and no stop token besides it and the eos token.
        """
        template = self.template
        eos = {self.tokenizer.eos_token_id} - {None}
        is_plain = template.is_plain and not (template.kwargs or template.writes_date or self.closing_space)
        if is_plain and self.template_writes_end and self.stop_token_ids == {self.end_token_id, *eos}:
            return None
        pieces = [template.prompt_start, template.prompt_end, template.answer_space, template.answer_suffix, template.observation_end]
        return digest_json([FORMAT_VERSION, pieces, sorted(self.stop_token_ids), self.end_token_id])[:16]

    def _context_tokens(self, content: str, closing: str) -> list[int]:
        """The tokens of an answer after the mark of the assistant's turn. Some tokenizers begin a text with a space of their own."""
        template = self.template
        answer = template.answer_space + content + closing
        ids = self._controls.tokenize(template.prompt_end, answer, "", is_answer=True)
        if ids[: len(self._context_ids)] == self._context_ids:
            return ids[len(self._context_ids) :]
        return self._controls.tokenize("", answer, "", is_answer=True)
