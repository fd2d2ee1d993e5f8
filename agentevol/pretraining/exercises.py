"""Second lesson of the base model: reading. A text in the manner of the worlds, a question on it, an answer that stands in it.

There is no goal, no reward and no expert in here: every answer is found by looking up, comparing or counting, over invented names,
letters and places. What to do in a world is left to behavioural cloning and exploration.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from agentevol.pretraining import invented_names

Exercise = list[tuple[str, str]]
"""(what the user says, the answer that is learnt) for each turn."""


def recipes(rng: random.Random) -> Exercise:
    """Which line makes an item, what it needs, which of its parts is made by another line."""
    known = invented_names.items(rng, rng.randint(8, 18))
    makes: dict[str, tuple[int, list[tuple[int, str]]]] = {}
    for index in range(rng.randint(4, min(9, len(known) - 3))):
        parts = rng.sample([name for name in known if name not in known[: index + 1]], rng.randint(1, 3) if len(known) > index + 4 else 1)
        makes[known[index]] = (rng.choice((1, 1, 2, 3, 4, 6)), [(rng.choice((1, 1, 2, 3, 4, 6, 8)), part) for part in parts])
    lines = {name: f"craft {count} {name} using {', '.join(f'{n} {part}' for n, part in parts)}" for name, (count, parts) in makes.items()}
    listed = list(lines.values())
    rng.shuffle(listed)
    turns: Exercise = []
    for turn in range(rng.randint(3, 6)):
        name = rng.choice(list(makes))
        kind = rng.randrange(4)
        if kind == 0:
            question, answer = f"Which line makes {name}?", lines[name]
        elif kind == 1:
            question, answer = f"What does {name} need?", ", ".join(f"{n} {part}" for n, part in makes[name][1])
        elif kind == 2:
            part = rng.choice(makes[name][1])[1]
            question, answer = f"How does one come by {part}?", lines.get(part, f"no line makes {part}")
        else:
            chain = [name]
            while chain[-1] in makes and len(chain) < 4:
                chain.append(makes[chain[-1]][1][0][1])
            question = f"What is the first part of {name}, and of that, down to the last?"
            answer = ". ".join(f"{one}: {lines[one]}" if one in lines else f"{one}: no line" for one in chain)
        turns.append((("Crafting commands:\n" + "\n".join(listed) + "\n\n" if turn == 0 else "") + question, answer))
    return turns


def amounts(rng: random.Random) -> Exercise:
    """How many more are needed, how often a line must be used, what is left after."""
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


def holdings(rng: random.Random) -> Exercise:
    """What one has after things came and went: the state kept in words from turn to turn."""
    pool = invented_names.items(rng, 4)
    held: dict[str, int] = {}
    turns: Exercise = []
    for _ in range(rng.randint(4, 7)):
        name, count = rng.choice(pool), rng.randint(1, 8)
        if held and rng.random() < 0.35:
            name = rng.choice(list(held))
            count = rng.randint(1, held[name])
            held[name] -= count
            said = f"Used {count} {name}"
        else:
            held[name] = held.get(name, 0) + count
            said = f"Got {count} {name}"
        held = {key: value for key, value in sorted(held.items()) if value}
        turns.append((said, "I have " + (", ".join(f"{value} {key}" for key, value in held.items()) or "nothing") + "."))
    return turns


def spelling(rng: random.Random) -> Exercise:
    """Words with a letter, without a letter, with letters at their places."""
    words = [invented_names.letters(rng) for _ in range(rng.choice((5, 10, 20, 40)))]
    turns: Exercise = []
    for turn in range(rng.randint(4, 8)):
        word, kind = rng.choice(words), rng.randrange(4)
        if kind == 0:
            shown = rng.sample(range(5), rng.randint(1, 4))
            pattern = " ".join(letter if place in shown else "_" for place, letter in enumerate(word.split()))
            found = next(w for w in words if all(w.split()[place] == word.split()[place] for place in shown))
            question, answer = f"The first word of pattern {pattern}", found
        elif kind == 1:
            letter = rng.choice(word.split())
            question, answer = f"The first word that has {letter}", next(w for w in words if letter in w.split())
        elif kind == 2:
            banned = rng.sample(invented_names.LETTERS, rng.randint(1, 5))
            free = next((w for w in words if not set(banned) & set(w.split())), None)
            question, answer = f"The first word with not {' '.join(banned)}", free or "there is none"
        else:
            question, answer = (
                f"The word after {word}",
                words[words.index(word) + 1] if words.index(word) + 1 < len(words) else "there is none",
            )
        turns.append(((f"Words: {', '.join(words)}\n" if turn == 0 else "") + question, answer))
    return turns


def repeating(rng: random.Random) -> Exercise:
    """Saying again, letter by letter or item by item, what was said: single letters recur so often that several must be matched."""
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
            few = rng.sample(words, min(len(words), rng.randint(2, 4)))
            question, answer = f"Say one after the other: {', '.join(few)}", ", ".join(few)
        else:
            said = words[-1] if rng.random() < 0.5 else words[0]
            question, answer = f"The {'last' if said == words[-1] else 'first'} word, twice", f"{said} . {said}"
        turns.append(((f"Words: {', '.join(words)}\n" if turn == 0 else "") + question, answer))
    return turns


def marks(rng: random.Random) -> Exercise:
    """Two words compared letter by letter, and what a row of marks says."""
    hidden = invented_names.letters(rng).split()
    turns: Exercise = []
    pattern, has, banned = ["_"] * 5, [], []
    for turn in range(rng.randint(2, 4)):
        guess = invented_names.letters(rng).split()
        for place in range(5):
            if rng.random() < 0.3:
                guess[place] = rng.choice(hidden)
        given = ["g" if g == h else "y" if g in hidden else "b" for g, h in zip(guess, hidden, strict=True)]
        for place, (letter, mark) in enumerate(zip(guess, given, strict=True)):
            if mark == "g":
                pattern[place] = letter
            elif mark == "y" and letter not in has:
                has.append(letter)
            elif mark == "b" and letter not in banned:
                banned.append(letter)
        shown = ", ".join(f"{letter} {mark}" for letter, mark in zip(guess, given, strict=True))
        known = f"pattern {' '.join(pattern)} , has {' '.join(has) or 'nothing'} , not {' '.join(banned) or 'nothing'}"
        turns.append((("Marks: g = right place, y = another place, b = not there.\n" if turn == 0 else "") + shown, known))
    return turns


def places(rng: random.Random) -> Exercise:
    """Which way one position lies from another, and where a move leads."""
    turns: Exercise = []
    for _ in range(rng.randint(4, 8)):
        row, column = rng.randint(0, 12), rng.randint(0, 12)
        down, right = rng.randint(-4, 4), rng.randint(-4, 4)
        if rng.random() < 0.5:
            way = [f"{abs(down)} {'down' if down > 0 else 'up'}"] * (down != 0) + [f"{abs(right)} {'right' if right > 0 else 'left'}"] * (
                right != 0
            )
            turns.append(
                (f"You are at position {row}, {column}. Where is position {row + down}, {column + right}?", " and ".join(way) or "here")
            )
        else:
            name, (r, c) = rng.choice((("up", (-1, 0)), ("down", (1, 0)), ("left", (0, -1)), ("right", (0, 1))))
            turns.append((f"Your current position is at position {row}, {column}. You move {name}.", f"position {row + r}, {column + c}"))
    return turns


def things(rng: random.Random) -> Exercise:
    """A view in words: whether a thing is there, where it is, how many there are, what stands in a list."""
    colours, kinds = ("red", "green", "blue", "purple", "yellow", "grey"), ("ball", "box", "key", "closed door", "open door", "locked door")
    turns: Exercise = []
    for _ in range(rng.randint(2, 4)):
        seen: dict[str, str] = {}
        numbers: dict[str, int] = {}
        for _ in range(rng.randint(1, 6)):
            kind = f"{rng.choice(colours)} {rng.choice(kinds)}"
            numbers[kind] = numbers.get(kind, 0) + 1
            side = f"{rng.randint(1, 3)} steps to your {rng.choice(('left', 'right'))}"
            away = (
                f"right in front of you {rng.randint(1, 6)} steps away"
                if rng.random() < 0.2
                else f"{rng.randint(0, 6)} steps in front of you and {side}"
            )
            seen[f"{kind} {numbers[kind]}"] = away
        text = "In front of you in this room, you can see several objects: " + " ".join(
            f"There is a {name} {away}." for name, away in seen.items()
        )
        asked, sort, name = rng.choice([*numbers, f"{rng.choice(colours)} {rng.choice(kinds)}"]), rng.choice(kinds), rng.choice(list(seen))
        matter = rng.randrange(4)
        if matter == 0:
            question = f"Is there a {asked}?"
            answer = f"I see {asked} 1." if asked in numbers else f"I do not see a {asked}."
        elif matter == 1:
            question, answer = f"Where is {name}?", seen[name]
        elif matter == 2:
            found = next((other for other in seen if f" {sort} " in f" {other} "), None)
            question, answer = f"Is there a {sort}?", f"I see {found}." if found else f"I do not see a {sort}."
        else:
            ways = [f"{verb} {other}" for other in seen for verb in (("go to", "pickup") if "door" not in other else ("go to",))]
            question = f"Available actions: [{', '.join(ways)}]\nWhat can be done with {name}?"
            answer = ", ".join(way for way in ways if way.endswith(f" {name}"))
        turns.append((f"{text}\n{question}", answer))
    return turns


ALL: dict[Callable[[random.Random], Exercise], int] = {
    recipes: 5,
    amounts: 2,
    holdings: 3,
    spelling: 4,
    repeating: 4,
    marks: 3,
    places: 2,
    things: 3,
}
"""Every kind with its share."""


def draw(rng: random.Random) -> Exercise:
    return rng.choices(list(ALL), weights=list(ALL.values()))[0](rng)
