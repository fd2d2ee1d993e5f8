"""Reading exercises whose answers take several steps: what an item still needs, and which word the marks allow.

Invariant: the inventories, guesses and hidden words are drawn at random; an answer follows from the text alone, and no episode of an
environment is in an exercise. The answers use the wording of the experts' thoughts.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from agentevol.pretraining import invented_names
from agentevol.pretraining.exercises import Exercise
from agentevol.pretraining.problems import invented_recipes
from envs.textcraft.planner import describe, requirement_chain
from envs.textcraft.recipes import RecipeBook
from envs.wordle import describe_marks, is_consistent, marks


def requirements(rng: random.Random) -> Exercise:
    """What is missing for an item, given the list of commands and an inventory."""
    book = RecipeBook(invented_recipes(rng, raw=rng.randint(5, 10), crafted=rng.randint(5, 12)))
    goal = rng.choice(book.goals[len(book.goals) // 2 :])
    listed = {recipe.output: recipe for recipe in book.list_for(goal, str(rng.random()), rng.randint(3, 6))}
    amounts = [amount for recipe in book.needed(goal) for amount in recipe.ingredients]
    turns: Exercise = []
    for turn in range(rng.randint(2, 4)):
        inventory: dict[str, int] = {}
        for count, item in rng.sample(amounts, rng.randint(0, min(4, len(amounts)))):
            inventory[item] = inventory.get(item, 0) + rng.choice((count, count, count * 2, rng.randint(1, 8)))
        contents = ", ".join(f"{count} {item}" for item, count in inventory.items()) or "nothing"
        question = f"You have {contents}. What is missing for {goal}?"
        opening = "Crafting commands:\n" + "\n".join(map(str, listed.values())) + "\n\n" if turn == 0 else ""
        turns.append((opening + question, describe(requirement_chain(listed, inventory, goal), inventory)))
    return turns


def candidates(rng: random.Random) -> Exercise:
    """The first word of a list that agrees with the marks of all guesses so far; the guesses are any words of the list."""
    words = [word.replace(" ", "") for word in {invented_names.letters(rng): None for _ in range(rng.choice((10, 20, 40)))}]
    hidden = rng.choice(words)
    guesses: list[tuple[str, str]] = []
    turns: Exercise = []
    for turn in range(rng.randint(2, 5)):
        if turn == 0:
            question = "Words: " + ", ".join(" ".join(word) for word in words) + "\nWhich word can it be?"
        else:
            guess = rng.choice(words)
            guesses.append((guess, marks(guess, hidden)))
            question = f"{' '.join(guess)}\n" + ", ".join(f"{letter} {mark}" for letter, mark in zip(guess, guesses[-1][1], strict=True))
        word = next(word for word in words if is_consistent(word, guesses))
        turns.append((question, f"{describe_marks(guesses)} The word can be {' '.join(word)} ."))
    return turns


EXERCISES: dict[Callable[[random.Random], Exercise], int] = {requirements: 5, candidates: 3}
"""Every kind of exercise with its weight among these."""


def draw(rng: random.Random) -> Exercise:
    """An exercise of a random kind, by the weights."""
    return rng.choices(list(EXERCISES), weights=list(EXERCISES.values()))[0](rng)
