"""WebShop: find a product that meets a wish, choose its options, buy it.

Invariant: an episode follows from its goal and the shop; nothing is shared between episodes but the products and their index.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from envs.base import Expert, ExpertStuck, Instruction, InvalidAction, Sizes, Step, TextEnv, UnknownItem, stable_order
from envs.webshop.catalogue import read_goals, read_products
from envs.webshop.goals import Goal, Parts, from_webshop, judge, query_of, wish
from envs.webshop.shop import BUY, NEXT, Shop, Visit, own_shop

FILE = Path(__file__).with_name("wishes.json")
_ITEM_ID = re.compile(r"webshop_(0|[1-9][0-9]{0,8})")
_ACTION = re.compile(r"(search|click)\[(.*)\]", re.DOTALL)
_LONGEST = 300


class WebShop(TextEnv):
    """Shopping after WebShop (arXiv 2207.01206), as AgentGym serves it.

    Observation: the page as text, parts separated by [SEP]. Actions: `search[words]` on the search page; `click[what]` for anything that
    the page shows: a product's number, an option's value, `Next >`, `< Prev`, `Back to Search`, `Description`, `Features`, `Reviews`,
    `Buy Now`. Reward: given on buying, which ends the episode: kind * (attributes + options + price that fit) / how many were asked for;
    `info["reward_parts"]` has the parts. Success: reward 1. At most 10 rounds. Instructions: 6,910 wishes over 1,000 generated products
    of 20 kinds, 200 of them eval; difficulty is the number of things asked for. `WebShop(products=10_000)` is a larger shop, `WebShop(
    folder=path)` reads WebShop's own product and goal files.

    Where it differs from AgentGym's, and why:
    - Products and wishes are generated: WebShop's product files are not in its repository.
    - All episodes of a process share one index; there, every session builds a whole server of its own and is never freed.
    - Two titles are compared by their words of four letters and more; there, by the nouns that a tagger finds.
    - The instruction stands on the search page only, titles are cut, so that an episode stays short.
    - What cannot be clicked is told; there, nothing happens. The list of what can be clicked, which the prompt promises there and the
      observation lacks, is in `available_actions`.
    """

    name: ClassVar[str] = "webshop"
    task_types: ClassVar[tuple[str, ...]] = ("webshop",)
    sizes: ClassVar[Sizes] = Sizes(instructions=6910, eval=200, agent_traj=1000, agent_traj_l=3930)
    max_rounds: ClassVar[int] = 10
    prompt: ClassVar[str] = (
        "Buy the product that the instruction describes, with the options it names. Actions:\n"
        "search[words] (on the search page)\n"
        "click[what] (a product's number, an option, Next >, < Prev, Back to Search, Description, Features, Buy Now)\n"
        "Answer with one thought and one action each turn:\n"
        "Thought: ...\n"
        "Action: ..."
    )

    def __init__(self, products: int = 1000, folder: Path | None = None, render_mode: str | None = None) -> None:
        """`products`: of the generated shop; `folder`: WebShop's own `data`, whose goals are then `webshop_0`, `webshop_1`, …"""
        super().__init__(render_mode)
        self._goals: tuple[Goal, ...] | None = None
        if folder is None:
            self.shop = own_shop(products)
        else:
            self.shop = Shop(read_products(folder))
            entries = read_goals(folder)
            self._goals = tuple(from_webshop(self.shop.products[asin], entry) for asin, entry in entries if asin in self.shop.products)
        self.parts: Parts | None = None

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    def begin(self, item_id: str) -> str:
        goals = self._goals if self._goals is not None else wishes()
        found = _ITEM_ID.fullmatch(item_id)
        if found is None or int(found[1]) >= len(goals):
            raise UnknownItem(f"webshop has no instruction {item_id!r}; there are webshop_0 to webshop_{len(goals) - 1}")
        self.goal, self.parts = goals[int(found[1])], None
        self.visit = Visit(self.shop, self.goal.text)
        return _ascii(self.visit.text())

    def act(self, action: str) -> tuple[str, float, bool]:
        found = _ACTION.fullmatch(action.strip())
        if found is None:
            return "That is no action: search[words] or click[what].", 0.0, False
        what = found[2].strip()[:_LONGEST]
        if found[1] == "search":
            if not self.visit.can_search():
                return "There is no search field on this page; click[Back to Search] leads to it.", 0.0, False
            self.visit.search(what)
        elif not self.visit.click(what):
            return f"There is nothing of that name to click. There are: {_ascii(', '.join(self.visit.clickable())) or 'none'}", 0.0, False
        if self.visit.bought is None:
            return _ascii(self.visit.text()), 0.0, False
        self.parts = judge(self.goal, self.shop.products[self.goal.asin], self.visit.bought, self.visit.chosen)
        return "You have bought it.", self.parts.reward, True

    def step(self, action: str) -> Step:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.parts is not None:
            info["reward_parts"] = {name: getattr(self.parts, name) for name in ("kind", "attributes", "options", "price")}
        return observation, reward, terminated, truncated, info

    def expert(self) -> Expert:
        return Shopper(self.goal, self.shop.products[self.goal.asin].kind)

    def available_actions(self) -> list[str]:
        if self.visit.can_search():
            return [f"search[{self.shop.products[self.goal.asin].kind}]"]
        return [f"click[{what}]" for what in map(_ascii, self.visit.clickable())]

    @classmethod
    def parse_action(cls, text: str) -> str:
        """The base class's; product names may have any printable character."""
        action = super().parse_action(text)
        if not _ACTION.fullmatch(action):
            raise InvalidAction("Give exactly one action, in the form:\nThought: ...\nAction: search[words] or click[what]")
        return action


class Shopper:
    """Searches with the words of the wish, pages to the product that was wished for, chooses what was named, buys."""

    def __init__(self, goal: Goal, kind: str) -> None:
        self._goal, self._query = goal, query_of(goal, kind)
        self._left = list(goal.options.items())
        self._found = False

    def act(self, observation: str) -> tuple[str, str]:
        if observation.startswith("WebShop"):
            return "I search for what is asked, in its own words.", f"search[{self._query}]"
        if not self._found:
            if self._goal.asin in observation.split(" [SEP] "):
                self._found = True
                return f"{self._goal.asin} has what is asked for.", f"click[{self._goal.asin}]"
            if NEXT not in observation:
                raise ExpertStuck("the product is not among the results")
            return "None of these fits, I turn the page.", f"click[{NEXT}]"
        if self._left:
            name, value = self._left.pop(0)
            return f"The {name} must be {value}.", f"click[{value}]"
        return "All that was asked for is chosen.", f"click[{BUY}]"


def _ascii(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text)


@lru_cache(maxsize=None)
def wishes() -> tuple[Goal, ...]:
    """The goals of the instructions, in the order of their numbers (see choose.py)."""
    shop = own_shop(1000)
    return tuple(wish(shop.products[asin], number) for asin, number in json.loads(FILE.read_text(encoding="ascii")))


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    everything = [
        Instruction(f"webshop_{number}", "webshop", "webshop", f"{len(goal.attributes) + len(goal.options) + 1} wishes", goal.text)
        for number, goal in enumerate(wishes())
    ]
    ordered = sorted(stable_order(everything, "webshop eval"), key=lambda item: item.difficulty)
    count = WebShop.sizes.eval
    chosen = {ordered[(2 * step + 1) * len(ordered) // (2 * count)].item_id for step in range(count)}
    training = tuple(item for item in everything if item.item_id not in chosen)
    return training, tuple(item for item in everything if item.item_id in chosen)
