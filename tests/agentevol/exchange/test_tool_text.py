"""Conversations with tools are text and back; what cannot be read back is refused, and a policy's own text is never changed."""

from __future__ import annotations

import random
from collections.abc import Callable

from agentevol.data.formats import FormatError
from agentevol.data.trajectory import Message
from agentevol.exchange.tool_text import Conversation, ToolCall, Turn, from_text, to_text

PIECES = [
    *(
        "",
        "x",
        "\n",
        "</tool_call>",
        "<tool_call>\n",
        "<tool_response>\n",
        "\n</tool_response>",
        "<system>\n",
        "\n</system>\n\n",
        "<tools>\n",
    ),
    *("\n</tools>\n\n", '{"name": "f", "arguments": {}}', '{"a":1}', "é\u2028", "\r\n"),
]


def random_text(rng: random.Random) -> str:
    return "".join(rng.choices(PIECES, k=rng.randrange(7)))


def random_conversation(rng: random.Random, text: Callable[[random.Random], str]) -> Conversation:
    turns: list[Turn] = []
    for _ in range(rng.randrange(1, 4)):
        calls = turns[-1].calls if turns else ()
        if calls and rng.random() < 0.7:
            turns += [Turn("tool", text(rng)) for _ in calls]
        if not turns or turns[-1].role == "assistant" or rng.random() < 0.5:
            turns.append(Turn("user", text(rng)))
        new = tuple(ToolCall("f", {"x": text(rng), "n": [1, None, {"y": 0.5}]}) for _ in range(rng.randrange(3)))
        turns.append(Turn("assistant", text(rng), new, rng.random() < 0.8))
    return Conversation(turns, text(rng) or None, [{"name": text(rng)}] if rng.random() < 0.5 else [])


def test_every_conversation_that_is_not_refused_is_read_back_equal() -> None:
    kept = 0
    for seed in range(600):
        rng = random.Random(seed)
        conversation = random_conversation(rng, random_text if seed % 2 else lambda rng: rng.choice(["x", "a b", "é\n"]))
        try:
            messages = to_text(conversation)
        except FormatError:
            assert seed % 2, "texts without marks are never refused"
            continue
        kept += 1
        assert from_text(messages) == conversation
    assert kept > 320


def test_every_text_is_written_back_equal() -> None:
    """Whatever a policy wrote: an export reads calls only where it would write them in the same way."""
    for seed in range(600):
        rng = random.Random(seed)
        messages = [
            Message("assistant", random_text(rng), rng.random() < 0.5) if index % 2 else Message("user", random_text(rng))
            for index in range(rng.randrange(1, 6))
        ]
        for with_calls in (True, False):
            assert to_text(from_text(messages, with_calls=with_calls), with_calls=with_calls) == messages
