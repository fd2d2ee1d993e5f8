"""Thoughts for episodes whose actions are already known: they describe what is visible, and the action that follows.

Most are in the wording that the experts of the environments use, so that a policy that learns from them later need not change its manner
of writing; the rest are varied. Invariant: a thought follows from the texts so far and the actions of the episode, and it never contradicts
the state.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import envs
from envs.alfworld import ALFWorld
from envs.alfworld.simulator import kind_of
from envs.babyai import BabyAI
from envs.babyai.mission import Subgoal, parse_mission
from envs.maze import Maze
from envs.textcraft import TextCraft
from envs.textcraft.planner import Requirement, ingredient_sentence
from envs.textcraft.recipes import Amount, Recipe
from envs.webshop import WebShop
from envs.webshop.pages import BUY, NEXT
from envs.wordle import Wordle, describe_marks, is_consistent

_VARIED_SHARE = 0.2
_VARIED = ("I {action}.", "Next I {action}.", "{action} comes next.", "Let me {action}.")
_WALKS = ("turn left", "turn right", "move forward")


def thoughts(env: envs.TextEnv, actions: Sequence[str], rng: random.Random) -> Iterator[str]:
    """A thought for each action; each is asked for while `env` is in the state before that action."""
    for index, action in enumerate(actions):
        if rng.random() < _VARIED_SHARE:
            text = rng.choice(_VARIED).format(action=action)
            yield text[0].upper() + text[1:]
        elif isinstance(env, BabyAI):
            yield babyai(env, action)
        elif isinstance(env, Maze):
            row_column = f"{env.position[0]}, {env.position[1]} and the goal is at {env.goal[0]}, {env.goal[1]}"
            yield f"I am at {row_column}. The way leads {action.removeprefix('move ')}."
        elif isinstance(env, TextCraft):
            yield textcraft(env, actions[index:])
        elif isinstance(env, Wordle):
            yield wordle(env, action)
        elif isinstance(env, ALFWorld):
            yield alfworld(actions[index:])
        elif isinstance(env, WebShop):
            yield webshop(env, action)
        else:
            yield f"I {action}."


def babyai(env: BabyAI, action: str) -> str:
    """The goal, the object that the action is about or whether the goal's object is in view, and the action."""
    visible = {item.label: item for item in env.view.objects}
    label = next((label for label in visible if action.endswith(f" {label}")), None)
    subgoal = _subgoal_about(env, label)
    sentences = [f"I must {subgoal.text}."]
    if label is not None:
        act = "I go to it." if action.startswith("go to") else "I pick it up." if action.startswith("pickup") else "I open it."
        return " ".join([*sentences, f"I see {label}.", act])
    seen = next((item for item in visible.values() if subgoal.target.matches(item.object)), None)
    sentences.append(f"I see {seen.label} {seen.location_text}." if seen else f"I do not see {subgoal.target.text}.")
    return " ".join([*sentences, f"I {action}." if action in _WALKS else "I drop it." if action == "drop" else "I open it."])


def _subgoal_about(env: BabyAI, label: str | None) -> Subgoal:
    """The first part of the mission that is about the object, else the mission's first part."""
    subgoals = [subgoal for group in parse_mission(env.mission) for subgoal in group]
    about = next((item.object for item in env.view.objects if item.label == label), None)
    return next((subgoal for subgoal in subgoals if about is not None and subgoal.target.matches(about)), subgoals[0])


def textcraft(env: TextCraft, following: Sequence[str]) -> str:
    """The inventory, then from the goal down to what the next action provides. `following`: the actions from the next one on."""
    inventory = ", ".join(f"{count} {item}" for item, count in env.inventory.items()) or "nothing"
    recipes = {str(recipe): recipe for recipe in env.listed_recipes.values()}
    chain: list[tuple[Recipe, Amount | None]] = []
    """From the next action upwards: the recipe, and the ingredient of it that the step before provides."""
    provided = _output(following[0], recipes)
    if following[0] in recipes:
        chain.append((recipes[following[0]], None))
    for action in following[1:]:
        recipe = recipes.get(action)
        part = next((amount for amount in recipe.ingredients if amount[1] == provided), None) if recipe else None
        if recipe is not None and part is not None:
            chain.append((recipe, part))
            provided = recipe.output
    chain.reverse()
    sentences = [f"I have {inventory}."]
    if chain:
        sentences.append(f"Goal {chain[0][0].output}: {chain[0][0]}.")
    times = 1
    for index, (recipe, part) in enumerate(chain):
        following_recipe = chain[index + 1][0] if index + 1 < len(chain) else None
        for count, item in recipe.ingredients:
            need, have = count * times, env.inventory.get(item, 0)
            if part is None or item != part[1]:
                if have >= need:
                    sentences.append(f"{need} {item}: have {have}.")
                continue
            if following_recipe is not None:
                times = max(1, -(-(need - have) // following_recipe.count))
                sentences.append(ingredient_sentence(Requirement(item, need, min(have, need - 1), following_recipe, times)))
            else:
                sentences.append(f"{need} {item}: have {have}, get {following[0].split()[1]}.")
            break
    return " ".join(sentences)


def _output(action: str, recipes: dict[str, Recipe]) -> str:
    """The item that an action provides; nothing for `inventory`."""
    return recipes[action].output if action in recipes else action.partition(" ")[2].partition(" ")[2]


def wordle(env: Wordle, action: str) -> str:
    """What the marks tell, and the word; without "can be" where the marks rule it out."""
    word = action.replace(" ", "")
    verb = "The word can be" if is_consistent(word, env.guesses) else "I try"
    return f"{describe_marks(env.guesses)} {verb} {action} ."


def alfworld(following: Sequence[str]) -> str:
    """What the next action is for, which the one after it shows. `following`: the actions from the next one on."""
    verb, _, rest = following[0].partition(" ")
    after = next((action for action in following[1:] if not action.startswith("open ")), "")
    if verb == "go":
        receptacle = rest.removeprefix("to ")
        next_verb, _, next_rest = after.partition(" ")
        name = next_rest.partition(" from ")[0].partition(" to ")[0].partition(" with ")[0]
        if next_verb == "take":
            return f"I look for a {kind_of(name)}; the {receptacle} may have it."
        if next_verb == "move":
            return f"The {name} belongs in the {kind_of(receptacle)}."
        if next_verb in ("clean", "heat", "cool"):
            return f"To {next_verb} the {name} I need the {kind_of(receptacle)}."
        return f"The {next_rest} is at the {receptacle}." if next_verb == "use" else f"I go to the {receptacle}."
    if verb == "open":
        return f"The {rest} is closed, I open it."
    if verb == "take":
        return f"There is a {kind_of(rest.partition(' from ')[0])}, I take it."
    if verb == "move":
        return f"I put the {rest.partition(' to ')[0]} there."
    return f"Now I can {verb} it." if verb in ("clean", "heat", "cool") else f"I {following[0]}."


def webshop(env: WebShop, action: str) -> str:
    """What the click is for."""
    label = action.partition("[")[2].removesuffix("]")
    if action.startswith("search["):
        return "I search for what is asked, in its own words."
    if label in env.shop.products:
        return f"{label} has what is asked for."
    if label == BUY:
        return "All that was asked for is chosen."
    if label == NEXT:
        return "None of these fits, I turn the page."
    name = next((name for name, values in env.session.product.options.items() if label in values), None)
    return f"The {name} must be {label}." if name else f"I {action}."
