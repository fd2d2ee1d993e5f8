"""Second lesson of the base model: reading. A text in the style of the environments, a question about it, and the answer in the text.

Every answer is found by looking up, comparing or counting, over invented names, letters and positions. What to do in an environment is
left to behavioural cloning and exploration.

Invariant: no goal, reward or expert is in an exercise; the same random generator gives the same exercises.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from agentevol.pretraining import invented_names

Exercise = list[tuple[str, str]]
"""(the user's message, the answer that is trained on) for each turn."""


def recipes(rng: random.Random) -> Exercise:
    """Which recipe makes an item, what it needs, and which recipes make its parts."""
    names = invented_names.items(rng, rng.randint(8, 18))
    recipe_of: dict[str, tuple[int, list[tuple[int, str]]]] = {}
    for index in range(rng.randint(4, min(9, len(names) - 3))):
        parts = rng.sample([name for name in names if name not in names[: index + 1]], rng.randint(1, 3) if len(names) > index + 4 else 1)
        recipe_of[names[index]] = (rng.choice((1, 1, 2, 3, 4, 6)), [(rng.choice((1, 1, 2, 3, 4, 6, 8)), part) for part in parts])
    lines = {}
    for name, (count, ingredients) in recipe_of.items():
        lines[name] = f"craft {count} {name} using {', '.join(f'{n} {part}' for n, part in ingredients)}"
    shuffled_lines = list(lines.values())
    rng.shuffle(shuffled_lines)
    turns: Exercise = []
    for turn in range(rng.randint(3, 6)):
        name = rng.choice(list(recipe_of))
        kind = rng.randrange(4)
        if kind == 0:
            question, answer = f"Which line makes {name}?", lines[name]
        elif kind == 1:
            question, answer = f"What does {name} need?", ", ".join(f"{n} {part}" for n, part in recipe_of[name][1])
        elif kind == 2:
            part = rng.choice(recipe_of[name][1])[1]
            question, answer = f"How does one come by {part}?", lines.get(part, f"no line makes {part}")
        else:
            chain = [name]
            while chain[-1] in recipe_of and len(chain) < 4:
                chain.append(recipe_of[chain[-1]][1][0][1])
            question = f"What is the first part of {name}, and of that, down to the last?"
            answer = ". ".join(f"{item}: {lines[item]}" if item in lines else f"{item}: no line" for item in chain)
        turns.append((("Crafting commands:\n" + "\n".join(shuffled_lines) + "\n\n" if turn == 0 else "") + question, answer))
    return turns


def amounts(rng: random.Random) -> Exercise:
    """How many more of an item are needed, how often a recipe must be used, and how many are left."""
    turns: Exercise = []
    for _ in range(rng.randint(3, 6)):
        name, kind = invented_names.item(rng), rng.randrange(3)
        if kind == 0:
            need, have = rng.randint(1, 12), rng.randint(0, 12)
            answer = f"{need} {name}: have {have}, {need - have} more" if have < need else f"{need} {name}: have {have}"
            turns.append((f"Needed are {need} {name}. You hold {have} {name}.", answer))
        elif kind == 1:
            each, need = rng.choice((1, 2, 3, 4, 6)), rng.randint(1, 16)
            turns.append((f"One craft gives {each} {name}. Needed are {need}. How often?", f"{-(-need // each)} times"))
        else:
            have, used = rng.randint(2, 16), rng.randint(1, 8)
            left = have - min(have, used)
            turns.append((f"You hold {have} {name} and use {min(have, used)}.", f"{left} {name} left" if left else f"no {name} left"))
    return turns


def inventory(rng: random.Random) -> Exercise:
    """What is held after items were gained, used and crafted: the state is repeated in words in every turn, in the order of gaining."""
    pool = invented_names.items(rng, 5)
    held: dict[str, int] = {}
    turns: Exercise = []
    for _ in range(rng.randint(4, 8)):
        name, count, kind = rng.choice(pool), rng.randint(1, 8), rng.random()
        if held and kind < 0.6:
            used = [(rng.choice((held[item], rng.randint(1, held[item]))), item) for item in rng.sample(list(held), min(len(held), 2))]
            used = used[: rng.randint(1, 2)]
            for number, item in used:
                held[item] -= number
            held = {item: number for item, number in held.items() if number}
            event = f"Used {', '.join(f'{number} {item}' for number, item in used)}"
            if kind < 0.4 and name not in (item for _, item in used):
                event = f"Crafted {count} {name}, u{event[1:]}"
                held[name] = held.get(name, 0) + count
        else:
            held[name] = held.get(name, 0) + count
            event = f"Got {count} {name}"
        turns.append((event, "I have " + (", ".join(f"{number} {item}" for item, number in held.items()) or "nothing") + "."))
    return turns


def spelling(rng: random.Random) -> Exercise:
    """The words with a letter, without some letters, or with letters at certain positions."""
    words = [invented_names.letters(rng) for _ in range(rng.choice((5, 10, 20, 40)))]
    turns: Exercise = []
    for turn in range(rng.randint(4, 8)):
        word, kind = rng.choice(words), rng.randrange(4)
        if kind == 0:
            shown = rng.sample(range(5), rng.randint(1, 4))
            pattern = " ".join(letter if place in shown else "_" for place, letter in enumerate(word.split()))
            matching = next(w for w in words if all(w.split()[place] == word.split()[place] for place in shown))
            question, answer = f"The first word of pattern {pattern}", matching
        elif kind == 1:
            letter = rng.choice(word.split())
            question, answer = f"The first word that has {letter}", next(w for w in words if letter in w.split())
        elif kind == 2:
            banned = rng.sample(invented_names.LETTERS, rng.randint(1, 5))
            without = next((w for w in words if not set(banned) & set(w.split())), None)
            question, answer = f"The first word with not {' '.join(banned)}", without or "there is none"
        else:
            question, answer = (
                f"The word after {word}",
                words[words.index(word) + 1] if words.index(word) + 1 < len(words) else "there is none",
            )
        turns.append(((f"Words: {', '.join(words)}\n" if turn == 0 else "") + question, answer))
    return turns


def repeating(rng: random.Random) -> Exercise:
    """Repeating words letter by letter, or several words: single letters recur so often that only several in a row identify the place."""
    words = [invented_names.letters(rng) for _ in range(rng.choice((3, 10, 20, 40)))]
    turns: Exercise = []
    for turn in range(rng.randint(3, 6)):
        word, kind = rng.choice(words), rng.randrange(4)
        if kind == 0:
            question, answer = f"Say {word} and say it again.", f"{word} . {word}"
        elif kind == 1:
            start = rng.randint(1, 3)
            begin = " ".join(word.split()[:start])
            question, answer = f"The first word that begins with {begin}", next(w for w in words if w.startswith(begin))
        elif kind == 2:
            sample = rng.sample(words, min(len(words), rng.randint(2, 4)))
            question, answer = f"Say one after the other: {', '.join(sample)}", ", ".join(sample)
        else:
            repeated = words[-1] if rng.random() < 0.5 else words[0]
            question, answer = f"The {'last' if repeated == words[-1] else 'first'} word, twice", f"{repeated} . {repeated}"
        turns.append(((f"Words: {', '.join(words)}\n" if turn == 0 else "") + question, answer))
    return turns


def letter_marks(rng: random.Random) -> Exercise:
    """What the marks of several guesses say about a hidden word (as in Wordle)."""
    hidden = invented_names.letters(rng).split()
    turns: Exercise = []
    pattern, present, absent = ["_"] * 5, [], []
    for turn in range(rng.randint(2, 4)):
        guess = invented_names.letters(rng).split()
        for place in range(5):
            if rng.random() < 0.3:
                guess[place] = rng.choice(hidden)
        marks = ["g" if g == h else "y" if g in hidden else "b" for g, h in zip(guess, hidden, strict=True)]
        for place, (letter, mark) in enumerate(zip(guess, marks, strict=True)):
            if mark == "g":
                pattern[place] = letter
            elif mark == "y" and letter not in present:
                present.append(letter)
            elif mark == "b" and letter not in absent:
                absent.append(letter)
        shown = ", ".join(f"{letter} {mark}" for letter, mark in zip(guess, marks, strict=True))
        known = f"pattern {' '.join(pattern)} , has {' '.join(present) or 'nothing'} , not {' '.join(absent) or 'nothing'}"
        turns.append((("Marks: g = right place, y = another place, b = not there.\n" if turn == 0 else "") + shown, known))
    return turns


def positions(rng: random.Random) -> Exercise:
    """The direction and distance from one position to another, and where a move leads."""
    turns: Exercise = []
    for _ in range(rng.randint(4, 8)):
        row, column = rng.randint(0, 12), rng.randint(0, 12)
        down, right = rng.randint(-4, 4), rng.randint(-4, 4)
        if rng.random() < 0.5:
            vertical = [f"{abs(down)} {'down' if down > 0 else 'up'}"] if down else []
            horizontal = [f"{abs(right)} {'right' if right > 0 else 'left'}"] if right else []
            question = f"You are at position {row}, {column}. Where is position {row + down}, {column + right}?"
            turns.append((question, " and ".join(vertical + horizontal) or "here"))
        else:
            name, (r, c) = rng.choice((("up", (-1, 0)), ("down", (1, 0)), ("left", (0, -1)), ("right", (0, 1))))
            turns.append((f"Your current position is at position {row}, {column}. You move {name}.", f"position {row + r}, {column + c}"))
    return turns


def room_views(rng: random.Random) -> Exercise:
    """A view of a room in words (as in BabyAI): whether an object is there, where it is, and which actions it allows."""
    colours, kinds = ("red", "green", "blue", "purple", "yellow", "grey"), ("ball", "box", "key", "closed door", "open door", "locked door")
    turns: Exercise = []
    for _ in range(rng.randint(2, 4)):
        locations: dict[str, str] = {}
        counts: dict[str, int] = {}
        for _ in range(rng.randint(1, 6)):
            described = f"{rng.choice(colours)} {rng.choice(kinds)}"
            counts[described] = counts.get(described, 0) + 1
            side = f"{rng.randint(1, 3)} steps to your {rng.choice(('left', 'right'))}"
            location = (
                f"right in front of you {rng.randint(1, 6)} steps away"
                if rng.random() < 0.2
                else f"{rng.randint(0, 6)} steps in front of you and {side}"
            )
            locations[f"{described} {counts[described]}"] = location
        view = "In front of you in this room, you can see several objects: " + " ".join(
            f"There is a {name} {location}." for name, location in locations.items()
        )
        described = rng.choice([*counts, f"{rng.choice(colours)} {rng.choice(kinds)}"])
        kind, name = rng.choice(kinds), rng.choice(list(locations))
        question_type = rng.randrange(4)
        if question_type == 0:
            question = f"Is there a {described}?"
            answer = f"I see {described} 1." if described in counts else f"I do not see a {described}."
        elif question_type == 1:
            question, answer = f"Where is {name}?", locations[name]
        elif question_type == 2:
            first = next((seen for seen in locations if f" {kind} " in f" {seen} "), None)
            question, answer = f"Is there a {kind}?", f"I see {first}." if first else f"I do not see a {kind}."
        else:
            actions = [f"{verb} {seen}" for seen in locations for verb in (("go to", "pickup") if "door" not in seen else ("go to",))]
            question = f"Available actions: [{', '.join(actions)}]\nWhat can be done with {name}?"
            answer = ", ".join(action for action in actions if action.endswith(f" {name}"))
        turns.append((f"{view}\n{question}", answer))
    return turns


EXERCISES: dict[Callable[[random.Random], Exercise], int] = {
    recipes: 5,
    amounts: 2,
    inventory: 5,
    spelling: 4,
    repeating: 4,
    letter_marks: 3,
    positions: 2,
    room_views: 3,
}
"""Every kind of exercise with its weight in the mixture."""


def draw(rng: random.Random) -> Exercise:
    """An exercise of a random kind, by the weights."""
    return rng.choices(list(EXERCISES), weights=list(EXERCISES.values()))[0](rng)
