"""The scripted expert of WebShop: it searches, pages to the target product, chooses the options and buys."""

from __future__ import annotations

from envs.base import ExpertStuck
from envs.webshop.goals import Goal, search_query
from envs.webshop.pages import BUY, NEXT


class WebShopExpert:
    """Knows the goal's product. Raises ExpertStuck if the search results do not contain it."""

    def __init__(self, goal: Goal, kind: str) -> None:
        self._goal, self._query = goal, search_query(goal, kind)
        self._remaining_options = list(goal.options.items())
        self._opened = False

    def act(self, observation: str) -> tuple[str, str]:
        if observation.startswith("WebShop"):
            return "I search for what is asked, in its own words.", f"search[{self._query}]"
        if not self._opened:
            if self._goal.asin in observation.split(" [SEP] "):
                self._opened = True
                return f"{self._goal.asin} has what is asked for.", f"click[{self._goal.asin}]"
            if NEXT not in observation:
                raise ExpertStuck("the product is not among the results")
            return "None of these fits, I turn the page.", f"click[{NEXT}]"
        if self._remaining_options:
            name, value = self._remaining_options.pop(0)
            return f"The {name} must be {value}.", f"click[{value}]"
        return "All that was asked for is chosen.", f"click[{BUY}]"
