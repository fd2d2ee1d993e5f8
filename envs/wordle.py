"""Wordle: find the hidden word of a printed list in six guesses, from the marks that each guess gets.

The rules are LMRL-Gym's (arXiv 2311.18232) with repeated letters counted as in the game itself. Invariant: an item id fixes the list
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

LETTERS = 5
GUESSES = 6
LIST_SIZES = (10, 20, 40)

_ITEM = re.compile(r"wordle_(0|[1-9][0-9]{0,17})")


class Wordle(TextEnv):
    """Guess a word of the list; each letter is marked g (right place), y (elsewhere in the word) or b (not in the word, or not again).

    Item id: `wordle_{seed}`, every seed of 0 to 18 digits is valid; seed % 3 says whether the list has 10, 20 or 40 words (the
    difficulty). The list comes in the order drawn, the hidden word is any of it. The 980 instructions are the first 980 seeds that the
    expert wins.
    Observation: the list, then the marks of each guess, letter by letter: `s b, h y, i g, r b, e b`. Reward: 1 for the hidden word.
    The episode ends with it or with the sixth guess. A word that is not in the list uses a guess up; text that is no five-letter word
    only costs a round. Another `words` (at least 40 of five letters a-z, invented ones too) makes another universe, with the same ids.

    Differences from LMRL-Gym as AgentGym serves it: a hidden word that stays the same (there: a new consistent word is drawn at every
    guess) and a list for each instruction (there: one list of 40 in every prompt, so that all instructions read alike); a letter is
    marked y only as often as the word has it; a word may also be written without spaces; the reward is 0 and 1 (there: -1 a guess).
    """

    name: ClassVar[str] = "wordle"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("wordle",)
    sizes: ClassVar[Sizes] = Sizes(instructions=980, eval=25, agent_traj=500, agent_traj_l=955)
    max_rounds: ClassVar[int] = 8
    prompt: ClassVar[str] = (
        "Find the hidden word. It is one of the words you are given, and you have six guesses. Each letter of a guess gets a mark: "
        "g = right letter in the right place, y = in the word but in another place, b = not in the word.\n"
        "Write words with spaces between the letters. Answer in this form:\nThought: ...\nAction: s h i r e"
    )

    def __init__(self, words: Sequence[str] | None = None, render_mode: str | None = None) -> None:
        """Raises ValueError where `words` are fewer than 40, not all different, or not five letters a-z."""
        super().__init__(render_mode)
        self._universe = common_words() if words is None else _checked(tuple(words))
        self.words: tuple[str, ...] = ()
        self.hidden = ""
        self.guesses: list[tuple[str, str]] = []
        """(word, its marks) of every guess so far that was in the list."""
        self._used = 0

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    @classmethod
    def instruction(cls, item_id: str) -> Instruction:
        """Of any seed, also one outside the 980. Raises UnknownItem."""
        words, _ = _draw(_seed(item_id), common_words())
        return Instruction(item_id, cls.name, "wordle", f"{len(words)} words", _listed(words))

    def begin(self, item_id: str) -> str:
        self.words, self.hidden = _draw(_seed(item_id), self._universe)
        self.guesses, self._used = [], 0
        return _listed(self.words)

    def act(self, action: str) -> tuple[str, float, bool]:
        word = "".join(action.lower().split())
        if not (len(word) == LETTERS and word.isascii() and word.isalpha()):
            return f"That is not a word of {LETTERS} letters. Write it like this: s h i r e", 0.0, False
        self._used += 1
        if word in self.words:
            given = marks(word, self.hidden)
            self.guesses.append((word, given))
            answer = ", ".join(f"{letter} {mark}" for letter, mark in zip(word, given, strict=True))
        else:
            answer = "Not in the list."
        if word == self.hidden:
            return f"{answer}. You have found the word.", 1.0, True
        if self._used == GUESSES:
            return f"{answer.rstrip('.')}. No guesses are left. The word was {' '.join(self.hidden)}.", 0.0, True
        return answer, 0.0, False

    def expert(self) -> Expert:
        return _FirstConsistent(self)

    def available_actions(self) -> list[str] | None:
        """Every word of the list, also those already ruled out."""
        return [" ".join(word) for word in self.words]


class _FirstConsistent:
    """Guesses the first word of the list that fits all marks so far: a rule that a small model can imitate by looking back."""

    def __init__(self, game: Wordle) -> None:
        self._game = game

    def act(self, observation: str) -> tuple[str, str]:
        guesses = self._game.guesses
        word = next((word for word in self._game.words if fits(word, guesses)), None)
        if word is None or (guesses and guesses[-1][0] == self._game.hidden):
            raise ExpertStuck("wordle: no guess is left to make, the word is found; reset() to another instruction")
        spaced = " ".join(word)
        return f"{known(guesses)} The word can be {spaced} .", spaced


def marks(guess: str, hidden: str) -> str:
    """One of g, y, b for each letter of `guess`. A letter gets no more g and y together than `hidden` has of it, left to right."""
    left = Counter(letter for letter, right in zip(hidden, guess, strict=True) if letter != right)
    given = []
    for letter, right in zip(guess, hidden, strict=True):
        if letter == right:
            given.append("g")
        elif left[letter] > 0:
            left[letter] -= 1
            given.append("y")
        else:
            given.append("b")
    return "".join(given)


def fits(word: str, guesses: Sequence[tuple[str, str]]) -> bool:
    """Whether `word` as the hidden one would have given all these (guess, marks)."""
    return all(marks(guess, word) == given for guess, given in guesses)


def known(guesses: Sequence[tuple[str, str]]) -> str:
    """What the marks say, in one fixed frame: `pattern _ _ i _ _ , has h , not s r e .`; a part with nothing in it is left out."""
    if not guesses:
        return "nothing known."
    pattern = ["_"] * LETTERS
    inside: list[str] = []
    absent: list[str] = []
    for guess, given in guesses:
        for place, (letter, mark) in enumerate(zip(guess, given, strict=True)):
            if mark == "g":
                pattern[place] = letter
            elif mark == "y":
                inside.append(letter)
            else:
                absent.append(letter)
    has = [letter for letter in dict.fromkeys(inside) if letter not in pattern]
    lacks = [letter for letter in dict.fromkeys(absent) if letter not in pattern and letter not in inside]
    parts = [f"pattern {' '.join(pattern)}"]
    parts += [f"has {' '.join(has)}"] if has else []
    parts += [f"not {' '.join(lacks)}"] if lacks else []
    return " , ".join(parts) + " ."


@lru_cache(maxsize=1)
def common_words() -> tuple[str, ...]:
    """The words of wordle_words.txt, in its order."""
    return _checked(tuple(resources.files("envs").joinpath("wordle_words.txt").read_text("ascii").split()))


def _checked(words: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [word for word in words if not re.fullmatch(f"[a-z]{{{LETTERS}}}", word)]
    different = len(set(words))
    if wrong or different < len(words) or different < max(LIST_SIZES):
        raise ValueError(
            f"Wordle needs {max(LIST_SIZES)} or more different words of {LETTERS} letters a-z; given: {len(words)}, "
            f"{different} of them different, not such words: {wrong[:5]}"
        )
    return words


def _seed(item_id: str) -> int:
    found = _ITEM.fullmatch(item_id) if isinstance(item_id, str) else None
    if found is None:
        raise UnknownItem(f"wordle has no instruction {item_id!r}; an id is wordle_N with N from 0 to {10**18 - 1}, without leading zeros")
    return int(found[1])


def _draw(seed: int, universe: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """(list, hidden word) of a seed. Only random() is called: Python promises its sequence for all versions, sample()'s it does not."""
    draw = random.Random(seed).random
    pool = list(universe)
    size = LIST_SIZES[seed % len(LIST_SIZES)]
    for index in range(size):
        other = index + int(draw() * (len(pool) - index))
        pool[index], pool[other] = pool[other], pool[index]
    return tuple(pool[:size]), pool[int(draw() * size)]


def _listed(words: Sequence[str]) -> str:
    return "Words: " + ", ".join(" ".join(word) for word in words)


def _expert_wins(seed: int) -> bool:
    words, hidden = _draw(seed, common_words())
    guesses: list[tuple[str, str]] = []
    for _ in range(GUESSES):
        word = next(word for word in words if fits(word, guesses))
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
