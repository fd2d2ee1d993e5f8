"""WebShop: find the product that an instruction describes, choose its options, buy it.

Invariant: an episode depends on its goal and the shop alone; episodes share only the products and their index.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from envs.base import ActionForm, Expert, Instruction, InvalidAction, Sizes, Step, TextEnv, UnknownItem, split_off_eval
from envs.functions import Function, function
from envs.printable import printable_line
from envs.webshop.expert import WebShopExpert
from envs.webshop.goals import Goal, parse_goal, shipped_goals
from envs.webshop.pages import ShoppingSession
from envs.webshop.products import read_goal_entries, read_products
from envs.webshop.reward import RewardParts, purchase_reward
from envs.webshop.search import Shop, generated_shop

_ITEM_ID = re.compile(r"webshop_(0|[1-9][0-9]{0,8})")
_ACTION = re.compile(r"(search|click)\[(.*)\]", re.DOTALL)
_MAX_ARGUMENT_CHARS = 300


class WebShop(TextEnv):
    """Shopping after WebShop (arXiv 2207.01206), as AgentGym serves it.

    Observation: the page as text, its parts separated by [SEP]. Actions: `search[words]` on the search page; `click[label]` for a label
    that the page shows: a product's asin, an option's value, `Next >`, `< Prev`, `Back to Search`, `Description`, `Features`, `Reviews`,
    `Buy Now`. Reward: given for the purchase, which ends the episode: type match * (matched attributes + matched options + price within
    the limit) / number of requirements; `info["reward_parts"]` has the parts. Progress: the reward of the product that is open, as if it
    were bought now; the purchase is one more requirement. Success: reward 1. At most 10 rounds. Instructions: 6,910
    goals over 1,000 generated products of 20 kinds, 200 of them eval; difficulty: the number of requirements. `WebShop(products=10_000)`
    creates a larger shop, `WebShop(folder=path)` reads WebShop's own files of products and goals.

    Differences from AgentGym's environment:
    - Products and goals are generated, because WebShop's product files are not in its repository.
    - All episodes of a process share one index; in AgentGym, every session starts a whole server that is never freed.
    - Titles are compared by their words of four letters or more; in AgentGym, by the nouns that a tagger finds.
    - Only the search page shows the instruction, and long titles are cut, so that episodes stay short.
    - A click on something else returns the list of labels; in AgentGym, nothing happens. `available_actions` lists what can be clicked; in
      AgentGym, the prompt promises such a list but the observation lacks it.
    """

    name: ClassVar[str] = "webshop"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = ("webshop",)
    sizes: ClassVar[Sizes] = Sizes(instructions=6910, eval=200, agent_traj=1000, agent_traj_l=3930)
    max_rounds: ClassVar[int] = 10
    functions: ClassVar[tuple[Function, ...]] = (
        function("Search for products, on the search page.", "search[{words}]"),
        function("Click on something that the page shows: a product's number, an option, a button.", "click[{label}]"),
    )
    action_form: ClassVar[ActionForm] = ActionForm("Action: search[words] or click[what]")
    prompt: ClassVar[str] = (
        "Buy the product that the instruction describes, with the options it names. Actions:\n"
        "search[words] (on the search page)\n"
        "click[what] (a product's number, an option, Next >, < Prev, Back to Search, Description, Features, Buy Now)\n"
        "Answer with one thought and one action each turn:\n"
        "Thought: ...\n"
        "Action: ..."
    )

    def __init__(self, products: int = 1000, folder: Path | None = None, render_mode: str | None = None) -> None:
        """`products`: size of the generated shop; `folder`: WebShop's own folder `data`, whose goals become `webshop_0`, `webshop_1`, …"""
        super().__init__(render_mode)
        self._goals: tuple[Goal, ...] | None = None
        if folder is None:
            self.shop = generated_shop(products)
        else:
            self.shop = Shop(read_products(folder))
            entries = read_goal_entries(folder)
            self._goals = tuple(parse_goal(self.shop.products[asin], entry) for asin, entry in entries if asin in self.shop.products)
        self.reward_parts: RewardParts | None = None

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    def begin(self, item_id: str) -> str:
        goals = self._goals if self._goals is not None else shipped_goals()
        match = _ITEM_ID.fullmatch(item_id)
        if match is None or int(match[1]) >= len(goals):
            raise UnknownItem(f"webshop has no instruction {item_id!r}; there are webshop_0 to webshop_{len(goals) - 1}")
        self.goal, self.reward_parts = goals[int(match[1])], None
        self.session = ShoppingSession(self.shop, self.goal.text)
        return printable_line(self.session.text())

    def act(self, action: str) -> tuple[str, float, bool]:
        match = _ACTION.fullmatch(action.strip())
        if match is None:
            return "That is no action: search[words] or click[what].", 0.0, False
        argument = match[2].strip()[:_MAX_ARGUMENT_CHARS]
        session = self.session
        if match[1] == "search":
            if not session.can_search():
                return "There is no search field on this page; click[Back to Search] leads to it.", 0.0, False
            session.search(argument)
        elif not session.click(argument):
            return (
                f"There is nothing of that name to click. There are: {printable_line(', '.join(session.clickable())) or 'none'}",
                0.0,
                False,
            )
        if session.bought is None:
            return printable_line(session.text()), 0.0, False
        self.reward_parts = purchase_reward(self.goal, self.shop.products[self.goal.asin], session.bought, session.chosen)
        return "You have bought it.", self.reward_parts.reward, True

    def step(self, action: str) -> Step:
        observation, reward, terminated, truncated, info = super().step(action)
        if self.reward_parts is not None:
            info["reward_parts"] = {name: getattr(self.reward_parts, name) for name in ("kind", "attributes", "options", "price")}
        return observation, reward, terminated, truncated, info

    def expert(self) -> Expert:
        return WebShopExpert(self.goal, self.shop.products[self.goal.asin].kind)

    def measure_progress(self) -> float:
        """The reward that buying the product on the page would give, or gave; the purchase counts as one more requirement."""
        product = self.session.product_on_page()
        if product is None:
            return 0.0
        reward = purchase_reward(self.goal, self.shop.products[self.goal.asin], product, self.session.chosen).reward
        num_requirements = len(self.goal.attributes) + len(self.goal.options) + 1
        return reward * num_requirements / (num_requirements + 1)

    def available_actions(self) -> list[str]:
        if self.session.can_search():
            return [f"search[{self.shop.products[self.goal.asin].kind}]"]
        return [f"click[{label}]" for label in map(printable_line, self.session.clickable())]

    @classmethod
    def parse_action(cls, text: str) -> str:
        """The base class's, limited to search[...] and click[...]; product names may have any printable character."""
        action = super().parse_action(text)
        if not _ACTION.fullmatch(action):
            raise InvalidAction(f"Give exactly one action, in the form:\nThought: ...\n{cls.action_form.example}")
        return action


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    everything = [
        Instruction(f"webshop_{number}", "webshop", "webshop", f"{len(goal.attributes) + len(goal.options) + 1} wishes", goal.text)
        for number, goal in enumerate(shipped_goals())
    ]
    return split_off_eval(everything, WebShop.sizes.eval, salt="webshop eval")
