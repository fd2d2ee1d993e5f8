"""Invented names: words that no environment uses, so the model can only learn to read and copy them, not what they mean.

Invariant: a name depends on the random generator alone.
"""

from __future__ import annotations

import random

_STARTS = ("b", "br", "c", "d", "dr", "f", "g", "gl", "h", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "tr", "v", "w", "z")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ee", "oa")
_ENDS = ("", "b", "d", "k", "l", "ll", "m", "n", "nd", "r", "s", "st", "t", "x")
_ADJECTIVES = (
    "red",
    "blue",
    "green",
    "grey",
    "dark",
    "polished",
    "cut",
    "smooth",
    "wooden",
    "stone",
    "iron",
    "golden",
    "light",
    "cracked",
    "white",
    "black",
)
NOUNS = (
    "planks",
    "bricks",
    "slab",
    "stairs",
    "wall",
    "door",
    "fence",
    "block",
    "dust",
    "rod",
    "bowl",
    "wool",
    "carpet",
    "banner",
    "ball",
    "key",
    "box",
    "seeds",
    "brick",
    "log",
    "button",
    "trapdoor",
    "fence gate",
    "pressure plate",
    "sign",
    "boat",
    "ingot",
    "sword",
    "helmet",
    "banner pattern",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def word(rng: random.Random) -> str:
    """A pronounceable word of one to three syllables."""
    syllables = rng.choice((1, 2, 2, 3))
    return "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) + rng.choice(_ENDS) for _ in range(syllables))


def item(rng: random.Random) -> str:
    """An item's name of one to three words: invented, sometimes with an everyday adjective or noun."""
    parts = [word(rng)]
    if rng.random() < 0.5:
        parts.insert(0, rng.choice(_ADJECTIVES))
    if rng.random() < 0.5:
        parts.append(rng.choice(NOUNS))
    elif rng.random() < 0.2:
        parts.append(word(rng))
    return " ".join(parts)


def items(rng: random.Random, count: int) -> list[str]:
    """`count` different names; some share a word with another, so only the whole name identifies them."""
    names: dict[str, None] = {}
    while len(names) < count:
        name = item(rng)
        if names and rng.random() < 0.4:
            other_words = rng.choice(list(names)).split()
            name = " ".join([other_words[0], rng.choice(NOUNS)]) if rng.random() < 0.5 else " ".join([word(rng), other_words[-1]])
        names[name] = None
    return list(names)


def letters(rng: random.Random, length: int = 5) -> str:
    """`length` letters that alternate between vowels and consonants like a word, with spaces between them: `b o r e k`."""
    vowels, consonants = "aeiou", "bcdfghklmnprstvwy"
    starts_with_consonant = rng.random() < 0.7
    word_letters = [rng.choice(consonants if (index % 2 == 0) == starts_with_consonant else vowels) for index in range(length)]
    if rng.random() < 0.4:
        word_letters[rng.randrange(length)] = rng.choice(LETTERS)
    return " ".join(word_letters)
