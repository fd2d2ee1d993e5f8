"""Hindsight: random play without a goal, and a goal chosen afterwards among what was reached by chance.

For the environments whose goals luck hardly ever reaches: TextCraft (an item that was crafted), ALFWorld (an object that was put somewhere,
cleaned, heated, cooled or looked at) and WebShop (the product that was bought).

Invariant: every action was drawn at random among the available ones. The goal is worded as the environment words its goals, and the
environment itself judges whether it is reached.
"""

from __future__ import annotations

import dataclasses
import random

from agentevol.pretraining.problems import FreeALFWorld, FreeTextCraft, FreeWebShop
from envs.alfworld.games import GOAL_TEMPLATES, LIGHT, REQUIRED_STATE, SIMPLE, TWO, Game
from envs.alfworld.simulator import kind_of
from envs.webshop.goals import goal_for_purchase
from envs.webshop.pages import BUY

_TEXTCRAFT_ACTIONS, _ALFWORLD_ACTIONS = 40, 60
_CRAFT_SHARE = 0.6
"""How often the random TextCraft player crafts when it can: most of the other actions only fill the inventory."""
_HANDLING_SHARE = 0.6
"""How often the random ALFWorld player does something with an object or a door when it can: most commands only go somewhere."""
_HANDLING = ("open ", "take ", "move ", "heat ", "cool ", "clean ", "use ")


def textcraft(rng: random.Random, env: FreeTextCraft, item_id: str) -> list[str]:
    """Play, then make an item that was crafted the goal, rather a late one than an early one. Returns the actions; none if none was."""
    env.goal_override = "nothing"
    _, info = env.reset(options={"item_id": item_id})
    actions: list[str] = []
    crafted: dict[str, int] = {}
    for _ in range(_TEXTCRAFT_ACTIONS):
        crafts = [action for action in info["available_actions"] if action.startswith("craft ")]
        actions.append(rng.choice(crafts if crafts and rng.random() < _CRAFT_SHARE else info["available_actions"]))
        *_, info = env.step(actions[-1])
        if actions[-1] in crafts:
            crafted.setdefault(next(name for name, recipe in env.listed_recipes.items() if str(recipe) == actions[-1]), len(actions))
    if not crafted:
        return []
    env.goal_override = max(rng.sample(list(crafted), min(3, len(crafted))), key=crafted.__getitem__)
    return actions[: crafted[env.goal_override]]


def alfworld(rng: random.Random, env: FreeALFWorld, item_id: str) -> list[str]:
    """Play, then make something that was reached the goal, rather a rare one. Returns the actions; none if nothing was reached."""
    start = env.free_game
    env.free_game = dataclasses.replace(start, object_kind="nothing")
    _, info = env.reset(options={"item_id": item_id})
    actions: list[str] = []
    reached: dict[str, tuple[Game, int]] = {}
    """By its text, each goal that was reached, and after how many actions."""
    for _ in range(_ALFWORLD_ACTIONS):
        handling = [action for action in info["available_actions"] if action.startswith(_HANDLING)]
        actions.append(rng.choice(handling if handling and rng.random() < _HANDLING_SHARE else info["available_actions"]))
        *_, info = env.step(actions[-1])
        for game in _games_about(rng, start, actions[-1], env.household.held):
            if game.is_won(env.household) and not game.is_won(game.new_household()):
                reached.setdefault(game.goal, (game, len(actions)))
    if not reached:
        return []
    sample = rng.sample(list(reached.values()), min(3, len(reached)))
    env.free_game, length = max(sample, key=lambda entry: (entry[0].task_type != SIMPLE, entry[1]))
    return actions[:length]


def _games_about(rng: random.Random, game: Game, action: str, held: str | None) -> list[Game]:
    """The games that the action can have won: `move mug 1 to shelf 1` may put a mug, a clean one, or a second one on a shelf."""
    verb, _, rest = action.partition(" ")
    if verb == "use" and held is not None:
        pairs = [(LIGHT, kind_of(held), kind_of(rest))]
    elif verb == "move":
        name, _, receptacle = rest.partition(" to ")
        pairs = [(task_type, kind_of(name), kind_of(receptacle)) for task_type in (TWO, *REQUIRED_STATE, SIMPLE)]
    else:
        return []
    games = []
    for task_type, kind, target in pairs:
        goal = rng.choice(GOAL_TEMPLATES[task_type]).format(o=kind, r=target)
        games.append(dataclasses.replace(game, task_type=task_type, object_kind=kind, target_kind=target, goal=goal))
    return games


def webshop(rng: random.Random, env: FreeWebShop, item_id: str) -> list[str]:
    """Search for random words, buy a random product of the results with random options, and make that purchase the goal."""
    product = rng.choice(list(env.shop.products.values()))
    words = [*rng.sample(product.attributes, min(len(product.attributes), rng.randint(1, 3))), product.kind]
    _, info = env.reset(options={"item_id": item_id})
    actions = [f"search[{' '.join(words)}]"]
    *_, info = env.step(actions[0])
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        if "click[Next >]" in info["available_actions"]:
            actions.append("click[Next >]")
            *_, info = env.step(actions[-1])
    asin = rng.choice([action for action in info["available_actions"] if action[6:-1] in env.shop.products])
    actions.append(asin)
    env.step(asin)
    bought = env.session.product
    chosen = {name: rng.choice(values) for name, values in bought.options.items()}
    actions += [f"click[{value}]" for value in chosen.values()] + [f"click[{BUY}]"]
    attributes = tuple(word for word in words[:-1] if word in bought.attributes)
    if not attributes or bought.kind != product.kind:
        return []
    env.free_goal = goal_for_purchase(bought, attributes, chosen, rng)
    return actions
