"""Invented names: words that no world uses, so that what is learnt about them is how to read and copy, not what they are."""

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
_NOUNS = (
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
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def word(rng: random.Random) -> str:
    syllables = rng.choice((1, 2, 2, 3))
    return "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) + rng.choice(_ENDS) for _ in range(syllables))


def item(rng: random.Random) -> str:
    """An item's name of one to three words: invented ones, sometimes with an everyday adjective or noun."""
    parts = [word(rng)]
    if rng.random() < 0.5:
        parts.insert(0, rng.choice(_ADJECTIVES))
    if rng.random() < 0.5:
        parts.append(rng.choice(_NOUNS))
    elif rng.random() < 0.2:
        parts.append(word(rng))
    return " ".join(parts)


def items(rng: random.Random, count: int) -> list[str]:
    """Different names, some sharing a word with another so that only the whole name tells them apart."""
    found: dict[str, None] = {}
    while len(found) < count:
        name = item(rng)
        if found and rng.random() < 0.4:
            other = rng.choice(list(found)).split()
            name = " ".join([other[0], rng.choice(_NOUNS)]) if rng.random() < 0.5 else " ".join([word(rng), other[-1]])
        found[name] = None
    return list(found)


def letters(rng: random.Random, length: int = 5) -> str:
    """A five-letter string in the rhythm of a word, letters apart: `b o r e k`."""
    vowels, rest = "aeiou", "bcdfghklmnprstvwy"
    start = rng.random() < 0.7
    spelt = [rng.choice(rest if (index % 2 == 0) == start else vowels) for index in range(length)]
    if rng.random() < 0.4:
        spelt[rng.randrange(length)] = rng.choice(LETTERS)
    return " ".join(spelt)
