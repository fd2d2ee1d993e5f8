"""The base model's tokenizer: byte-level BPE over the environments' text, single digits, and one token for each stock phrase.

An observation is mostly stock phrases ("steps in front of you and"); one token for each makes it a third as long. Any text can be encoded.

Invariant: no name, number or letter is inside a phrase, so they are tokenised the same in every place and can be copied.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import envs
from agentevol.pretraining import exercises, invented_names, random_play

USER, ASSISTANT, END, PAD = "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|assistant|>' if message['role'] == 'assistant' else '<|user|>' }}{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PHRASES = (
    "Thought: ",
    "\nAction: ",
    "\nAvailable actions: [",
    "In front of you in this room, you can see several objects:",
    " There is a",
    " steps in front of you and",
    " steps to your left.",
    " steps to your right.",
    " right in front of you",
    " steps away.",
    " The room has walls around you.",
    " You are facing a",
    " You are not carrying anything.",
    " You are carrying a",
    "Your goal: ",
    ", turn left",
    ", turn right",
    ", move forward",
    ", go to",
    ", pickup",
    ", toggle and go through",
    ", go through",
    "turn left",
    "turn right",
    "move forward",
    "I must",
    " I do not see",
    " I see",
    "The task is completed.",
    "That action is not available here.",
    "The goal is at position",
    " Your current position is at position",
    " There are walls",
    " to your left",
    " to your right",
    " above you",
    " below you",
    "I am at",
    " and the goal is at",
    " The way leads",
    " You have reached the goal.",
    "move up",
    "move down",
    "move left",
    "move right",
    "There is a wall",
    ", you did not move.",
    "Words:",
    "pattern _ _ _ _ _",
    " , has",
    " , not",
    " The word can be",
    "nothing known.",
    " You have found the word.",
    "Crafting commands:\n",
    "\ncraft",
    " using",
    "\n\nGoal: craft 1",
    "I have nothing.",
    "I have",
    "Goal",
    ": have 0,",
    ": have",
    " more: craft",
    ", get",
    " times.",
    "Crafted",
    " I turn left",
    " I turn right",
    " I move forward",
    " I go to",
    " I pick it up.",
    " I open it.",
    " I go to it.",
    "I try something.",
)


OTHER_ENVIRONMENTS = ("alfworld", "bird", "movie", "sheet", "todo", "weather", "webshop")
"""The environments outside the default parameters whose words get tokens too: those that need neither Java nor a browser."""


RANDOM_EPISODES = 1200
"""Of random play that the merges are learnt from, and as many exercises."""


def build_tokenizer(vocab_size: int, seed: int) -> Any:
    """A tokenizer of at most `vocab_size` entries, special tokens and phrases included; the same every time."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special_tokens = [PAD, END, USER, ASSISTANT]
    prompts = [line for name in sorted(envs.ENVIRONMENTS) for line in envs.environment_class(name).prompt.split("\n") if len(line) > 40]
    phrases = list(dict.fromkeys([*PHRASES, *prompts]))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r" ?\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(phrases),
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=4,
    )
    rng = random.Random(f"tokenizer:{seed}")
    text = list(training_text(rng))
    text += [f" {letter}" for letter in invented_names.LETTERS for _ in range(50)]
    # No merges are spent on the phrases.
    tokenizer.train_from_iterator(_text_between(phrases, text), trainer)
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, additional_special_tokens=[USER, ASSISTANT])
    wrapped.chat_template = TEMPLATE
    return wrapped


def training_text(rng: random.Random) -> Iterator[str]:
    """Text to learn the merges from: random play, reading exercises, the observations of training instructions."""
    for _ in range(RANDOM_EPISODES):
        yield from (message.content for message in random_play.episode(rng))
        yield from (text for turn in exercises.draw(rng) for text in turn)
    textcraft = envs.make("textcraft")
    for instruction in textcraft.instructions("explore"):
        yield textcraft.reset(options={"item_id": instruction.item_id})[0]
    for name in OTHER_ENVIRONMENTS:
        yield from _random_observations(name, rng)


def _random_observations(name: str, rng: random.Random, episodes: int = 60, steps: int = 6) -> Iterator[str]:
    """Observations and actions of a random player on training instructions; only the first observations where no actions are listed."""
    env = envs.make(name)
    for instruction in rng.sample(env.instructions("explore"), min(episodes, len(env.instructions("explore")))):
        observation, info = env.reset(options={"item_id": instruction.item_id})
        yield observation
        for _ in range(steps):
            if not info.get("available_actions"):
                break
            action = rng.choice(info["available_actions"])
            observation, _, terminated, truncated, info = env.step(action)
            yield from (action, observation)
            if terminated or truncated:
                break
    env.close()


def _text_between(phrases: list[str], texts: list[str]) -> Iterator[str]:
    """The parts of the texts between phrases."""
    phrase = re.compile("|".join(re.escape(text) for text in sorted(phrases, key=len, reverse=True)))
    for text in texts:
        yield from (part for part in phrase.split(text) if part.strip())
