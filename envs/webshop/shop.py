"""The shop: search, and the pages as text.

Invariant: a page follows from where one is; what can be clicked is what the page shows.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from envs.webshop.catalogue import Product, generated

PER_PAGE, MOST_RESULTS = 10, 50
BACK, NEXT, PREVIOUS, BUY = "Back to Search", "Next >", "< Prev", "Buy Now"
SUB_PAGES = ("Description", "Features", "Reviews")
_LONGEST_TITLE, _LONGEST_TEXT = 90, 800


class Shop:
    """Products and their index; shared by all episodes and never changed."""

    def __init__(self, products: Sequence[Product]) -> None:
        self.products = {product.asin: product for product in products}
        self._lock = threading.Lock()  # one connection serves all threads
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        self._index.execute("CREATE VIRTUAL TABLE product USING fts5(asin UNINDEXED, title, text)")
        self._index.executemany(
            "INSERT INTO product VALUES (?, ?, ?)",
            (
                (
                    one.asin,
                    one.title,
                    " ".join([*one.features, one.description, *(value for values in one.options.values() for value in values)]),
                )
                for one in products
            ),
        )

    def search(self, keywords: str) -> list[str]:
        """The asins that match any of the words, the best first (BM25; the title counts twice), at most fifty."""
        words = list(dict.fromkeys(re.findall(r"[a-z0-9]+", keywords.lower())))[:40]
        if not words:
            return []
        query = " OR ".join(f'"{word}"' for word in words)
        asked = "SELECT asin FROM product WHERE product MATCH ? ORDER BY bm25(product, 0, 2.0, 1.0), asin LIMIT ?"
        with self._lock:
            return [row[0] for row in self._index.execute(asked, (query, MOST_RESULTS)).fetchall()]


@lru_cache(maxsize=2)
def own_shop(count: int) -> Shop:
    return Shop(generated(count))


@dataclass(slots=True)
class Visit:
    """Where somebody is: `page` is search, results, item or the name of a sub-page."""

    shop: Shop
    instruction: str
    page: str = "search"
    results: list[str] = field(default_factory=list)
    number: int = 1
    asin: str = ""
    chosen: dict[str, str] = field(default_factory=dict)
    bought: Product | None = None

    @property
    def product(self) -> Product:
        return self.shop.products[self.asin]

    def can_search(self) -> bool:
        return self.page == "search"

    def clickable(self) -> list[str]:
        """What can be clicked, as the page shows it."""
        if self.page == "results":
            pages = -(-len(self.results) // PER_PAGE)
            turn = ([NEXT] if self.number < pages else []) + ([PREVIOUS] if self.number > 1 else [])
            return [BACK, *turn, *self._shown()]
        if self.page == "item":
            return [BACK, PREVIOUS, *(value for values in self.product.options.values() for value in values), *SUB_PAGES, BUY]
        return [BACK, PREVIOUS] if self.page in SUB_PAGES else []

    def search(self, keywords: str) -> None:
        self.results, self.page, self.number = self.shop.search(keywords), "results", 1

    def click(self, what: str) -> bool:
        """Whether there was such a thing to click (letter case does not matter)."""
        value = next((one for one in self.clickable() if one.lower() == what.lower()), None)
        if value is None:
            return False
        if value == BACK:
            self.page = "search"
        elif value == BUY:
            self.bought = self.product
        elif value == NEXT:
            self.number += 1
        elif value == PREVIOUS:
            self._previous()
        elif value in SUB_PAGES:
            self.page = value
        elif self.page == "results":
            self.asin, self.page, self.chosen = value, "item", {}
        else:
            name = next(name for name, values in self.product.options.items() if value in values)
            self.chosen[name] = value
        return True

    def text(self) -> str:
        """The page, its parts separated by [SEP]."""
        parts = ["Instruction:", self.instruction]
        if self.page == "search":
            return " [SEP] ".join(["WebShop", *parts, "Search"])
        if self.page == "results":
            parts = [f"Page {self.number} (Total results: {len(self.results)})", *self.clickable()[: -len(self._shown()) or None]]
            for asin in self._shown():
                product = self.shop.products[asin]
                parts += [asin, product.title[:_LONGEST_TITLE], f"${product.price:.2f}"]
            return " [SEP] ".join(parts)
        product = self.product
        if self.page in SUB_PAGES:
            told = {"Description": product.description, "Features": " ".join(product.features), "Reviews": "There are no reviews."}
            return " [SEP] ".join([BACK, PREVIOUS, told[self.page][:_LONGEST_TEXT] or "Nothing is said."])
        options = [part for name, values in product.options.items() for part in (name, *self._marked(name, values))]
        title = product.title[: 2 * _LONGEST_TITLE]
        return " [SEP] ".join([BACK, PREVIOUS, *options, title, f"Price: ${product.price:.2f}", "Rating: N.A.", *SUB_PAGES, BUY])

    def _shown(self) -> list[str]:
        return self.results[(self.number - 1) * PER_PAGE : self.number * PER_PAGE]

    def _marked(self, name: str, values: Sequence[str]) -> list[str]:
        return [f"{value} (chosen)" if self.chosen.get(name) == value else value for value in values]

    def _previous(self) -> None:
        if self.page == "results":
            self.number -= 1
        else:
            self.page = "item" if self.page in SUB_PAGES else "results"
