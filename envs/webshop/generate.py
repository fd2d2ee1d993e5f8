"""Makes wishes.json, the (product, number) of every wish that ships: `python -m envs.webshop.choose`.

Products take turns. A wish is kept when nothing else is worded like it and its product is on the first three pages that its words find.
"""

from __future__ import annotations

import json

from envs.webshop.environment import FILE, WebShop
from envs.webshop.goals import query_of, wish
from envs.webshop.shop import PER_PAGE, own_shop

_PAGES = 3


def choose(count: int = WebShop.sizes.instructions) -> list[tuple[str, int]]:
    shop = own_shop(1000)
    found: list[tuple[str, int]] = []
    said: set[str] = set()
    number = 0
    while len(found) < count:
        for product in shop.products.values():
            goal = wish(product, number)
            if goal.text not in said and product.asin in shop.search(query_of(goal, product.kind))[: _PAGES * PER_PAGE]:
                said.add(goal.text)
                found.append((product.asin, number))
        number += 1
    return found[:count]


if __name__ == "__main__":
    FILE.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in choose()) + "\n]\n", encoding="ascii")
    print(f"{FILE}: {WebShop.sizes.instructions} wishes")
