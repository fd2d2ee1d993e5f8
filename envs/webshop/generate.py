"""Generates goals.json, the (product, number) of every goal that ships: `python -m envs.webshop.generate`.

Products take turns. A goal is kept if its text is new and its product is on the first three pages of results for its query.
"""

from __future__ import annotations

import json

from envs.webshop.environment import WebShop
from envs.webshop.goals import GOALS_FILE, generate_goal, search_query
from envs.webshop.pages import RESULTS_PER_PAGE
from envs.webshop.search import generated_shop

_PAGES = 3


def generate_goals(count: int = WebShop.sizes.instructions) -> list[tuple[str, int]]:
    """The (asin, number) of the first `count` goals."""
    shop = generated_shop(1000)
    goals: list[tuple[str, int]] = []
    texts: set[str] = set()
    number = 0
    while len(goals) < count:
        for product in shop.products.values():
            goal = generate_goal(product, number)
            if goal.text not in texts and product.asin in shop.search(search_query(goal, product.kind))[: _PAGES * RESULTS_PER_PAGE]:
                texts.add(goal.text)
                goals.append((product.asin, number))
        number += 1
    return goals[:count]


if __name__ == "__main__":
    GOALS_FILE.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in generate_goals()) + "\n]\n", encoding="ascii")
