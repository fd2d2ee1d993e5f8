"""Wordle: find the hidden word of a given list in six guesses, from the marks of each guess.

The rules are LMRL-Gym's (arXiv 2311.18232), with repeated letters counted as in the original game. Invariant: an item id fixes the list
and the hidden word, drawn from wordle_words.txt; changing that file changes every instruction.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import ClassVar

from envs.base import Expert, ExpertStuck, Instruction, Sizes, TextEnv, UnknownItem, split_off_eval
from envs.functions import Function, function

LETTERS = 5
GUESSES = 6
LIST_SIZES = (10, 20, 40)

_ITEM_ID = re.compile(r"wordle_(0|[1-9][0-9]{0,17})")


class Wordle(TextEnv):
    """Guess a word of the list; each letter is marked g (right place), y (elsewhere in the word) or b (not in the word, or not again).

    Item id: `wordle_{seed}`, where every seed of 1 to 18 digits is valid; seed % 3 decides whether the list has 10, 20 or 40 words (the
    difficulty). The list is in the order drawn, and the hidden word is any of its words. The 980 instructions are the first 980 seeds that
    the expert wins. Observation: the list, then the marks of each guess, letter by letter: `s b, h y, i g, r b, e b`. Reward: 1 for the
    hidden word. The episode ends with it or with the sixth guess. A word that is not in the list uses up a guess; text that is not
    a five-letter word only costs a round. Progress: the letters of the hidden word that the marks have revealed. Other `words` (at least
    40, of five letters a-z, also invented ones) define another vocabulary, with the same ids.

    Differences from LMRL-Gym as AgentGym serves it: a hidden word that stays the same (AgentGym: a new consistent word is drawn at every
    guess) and a list for each instruction (AgentGym: one list of 40 in every prompt, so that all instructions have the same text); a letter
    is marked y only as often as the word has it; a word may also be written without spaces; the reward is 0 or 1 (AgentGym: -1 per guess).
    """

    name: ClassVar[str] = "wordle"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("wordle",)
    sizes: ClassVar[Sizes] = Sizes(instructions=980, eval=25, agent_traj=500, agent_traj_l=955)
    max_rounds: ClassVar[int] = 8
    functions: ClassVar[tuple[Function, ...]] = (function("Guess a word; its letters have spaces between them.", "{word}", name="guess"),)
    prompt: ClassVar[str] = (
        "Find the hidden word. It is one of the words you are given, and you have six guesses. Each letter of a guess gets a mark: "
        "g = right letter in the right place, y = in the word but in another place, b = not in the word.\n"
        "Write words with spaces between the letters. Answer in this form:\nThought: ...\nAction: s h i r e"
    )

    def __init__(self, words: Sequence[str] | None = None, render_mode: str | None = None) -> None:
        """Raises ValueError if `words` are fewer than 40, not all different, or not of five letters a-z."""
        super().__init__(render_mode)
        self._vocabulary = common_words() if words is None else _validated(tuple(words))
        self.words: tuple[str, ...] = ()
        self.hidden = ""
        self.guesses: list[tuple[str, str]] = []
        """The (word, marks) of every guess so far that was in the list."""
        self._guesses_used = 0

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    @classmethod
    def instruction(cls, item_id: str) -> Instruction:
        """The instruction of any seed, also of one outside the 980. Raises UnknownItem."""
        words, _ = _draw_words(_seed(item_id), common_words())
        return Instruction(item_id, cls.name, "wordle", f"{len(words)} words", _list_text(words))

    def begin(self, item_id: str) -> str:
        self.words, self.hidden = _draw_words(_seed(item_id), self._vocabulary)
        self.guesses, self._guesses_used = [], 0
        return _list_text(self.words)

    def act(self, action: str) -> tuple[str, float, bool]:
        word = "".join(action.lower().split())
        if not (len(word) == LETTERS and word.isascii() and word.isalpha()):
            return f"That is not a word of {LETTERS} letters. Write it like this: s h i r e", 0.0, False
        self._guesses_used += 1
        if word in self.words:
            word_marks = marks(word, self.hidden)
            self.guesses.append((word, word_marks))
            answer = ", ".join(f"{letter} {mark}" for letter, mark in zip(word, word_marks, strict=True))
        else:
            answer = "Not in the list."
        if word == self.hidden:
            return f"{answer}. You have found the word.", 1.0, True
        if self._guesses_used == GUESSES:
            return f"{answer.rstrip('.')}. No guesses are left. The word was {' '.join(self.hidden)}.", 0.0, True
        return answer, 0.0, False

    def expert(self) -> Expert:
        return _FirstConsistentExpert(self)

    def measure_progress(self) -> float:
        """The letters of the hidden word that the marks give, of six parts: the sixth is the word itself.

        A letter whose place is known counts 1, one that is only known to occur 1/2.
        """
        placed = {place for _, word_marks in self.guesses for place, mark in enumerate(word_marks) if mark == "g"}
        known = Counter[str]()
        for word, word_marks in self.guesses:
            known |= Counter(letter for letter, mark in zip(word, word_marks, strict=True) if mark != "b")
        elsewhere = known - Counter(self.hidden[place] for place in placed)
        return (len(placed) + elsewhere.total() / 2) / (LETTERS + 1)

    def available_actions(self) -> list[str] | None:
        """Every word of the list, also those that the marks rule out."""
        return [" ".join(word) for word in self.words]


class _FirstConsistentExpert:
    """Guesses the first word of the list that is consistent with all marks, a rule that a small model can imitate from its context."""

    def __init__(self, env: Wordle) -> None:
        self._env = env

    def act(self, observation: str) -> tuple[str, str]:
        guesses = self._env.guesses
        word = next((word for word in self._env.words if is_consistent(word, guesses)), None)
        if word is None or (guesses and guesses[-1][0] == self._env.hidden):
            raise ExpertStuck("wordle: the word is found; reset() to another instruction")
        spaced = " ".join(word)
        return f"{describe_marks(guesses)} The word can be {spaced} .", spaced


def marks(guess: str, hidden: str) -> str:
    """One of g, y, b for each letter of `guess`; from left to right, a letter gets g or y at most as often as `hidden` has it."""
    unmatched = Counter(expected for expected, letter in zip(hidden, guess, strict=True) if expected != letter)
    result = []
    for letter, expected in zip(guess, hidden, strict=True):
        if letter == expected:
            result.append("g")
        elif unmatched[letter] > 0:
            unmatched[letter] -= 1
            result.append("y")
        else:
            result.append("b")
    return "".join(result)


def is_consistent(word: str, guesses: Sequence[tuple[str, str]]) -> bool:
    """Whether every (guess, marks) pair agrees with `word` as the hidden word."""
    return all(marks(guess, word) == guess_marks for guess, guess_marks in guesses)


def describe_marks(guesses: Sequence[tuple[str, str]]) -> str:
    """What the marks tell about the hidden word: `pattern _ _ i _ _ , has h , not s r e .`; empty parts are left out."""
    if not guesses:
        return "nothing known."
    pattern = ["_"] * LETTERS
    present: list[str] = []
    absent: list[str] = []
    for guess, guess_marks in guesses:
        for position, (letter, mark) in enumerate(zip(guess, guess_marks, strict=True)):
            if mark == "g":
                pattern[position] = letter
            elif mark == "y":
                present.append(letter)
            else:
                absent.append(letter)
    has = [letter for letter in dict.fromkeys(present) if letter not in pattern]
    lacks = [letter for letter in dict.fromkeys(absent) if letter not in pattern and letter not in present]
    parts = [f"pattern {' '.join(pattern)}"]
    parts += [f"has {' '.join(has)}"] if has else []
    parts += [f"not {' '.join(lacks)}"] if lacks else []
    return " , ".join(parts) + " ."


@lru_cache(maxsize=1)
def common_words() -> tuple[str, ...]:
    """The words of wordle_words.txt, in its order."""
    return _validated(tuple(resources.files("envs").joinpath("wordle_words.txt").read_text("ascii").split()))


def _validated(words: tuple[str, ...]) -> tuple[str, ...]:
    invalid = [word for word in words if not re.fullmatch(f"[a-z]{{{LETTERS}}}", word)]
    different = len(set(words))
    if invalid or different < len(words) or different < max(LIST_SIZES):
        raise ValueError(
            f"Wordle needs {max(LIST_SIZES)} or more different words of {LETTERS} letters a-z; given: {len(words)}, "
            f"{different} of them different, not of this form: {invalid[:5]}"
        )
    return words


def _seed(item_id: str) -> int:
    match = _ITEM_ID.fullmatch(item_id) if isinstance(item_id, str) else None
    if match is None:
        raise UnknownItem(f"wordle has no instruction {item_id!r}; an id is wordle_N with N from 0 to {10**18 - 1}, without leading zeros")
    return int(match[1])


def _draw_words(seed: int, vocabulary: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The (list, hidden word) of a seed. It calls only random(), whose sequence Python keeps in all versions, unlike that of sample()."""
    draw = random.Random(seed).random
    pool = list(vocabulary)
    size = LIST_SIZES[seed % len(LIST_SIZES)]
    for index in range(size):
        swap = index + int(draw() * (len(pool) - index))
        pool[index], pool[swap] = pool[swap], pool[index]
    return tuple(pool[:size]), pool[int(draw() * size)]


def _list_text(words: Sequence[str]) -> str:
    return "Words: " + ", ".join(" ".join(word) for word in words)


def _expert_wins(seed: int) -> bool:
    words, hidden = _draw_words(seed, common_words())
    guesses: list[tuple[str, str]] = []
    for _ in range(GUESSES):
        word = next(word for word in words if is_consistent(word, guesses))
        if word == hidden:
            return True
        guesses.append((word, marks(word, hidden)))
    return False


@lru_cache(maxsize=1)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    """The first seeds that the expert wins."""
    seeds: list[int] = []
    seed = 0
    while len(seeds) < Wordle.sizes.instructions:
        if _expert_wins(seed):
            seeds.append(seed)
        seed += 1
    items = [Wordle.instruction(f"wordle_{seed}") for seed in seeds]
    return split_off_eval(items, Wordle.sizes.eval, salt="eval", key=lambda item: int(item.difficulty.split()[0]), middle=False)
