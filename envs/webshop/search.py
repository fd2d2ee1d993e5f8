"""The shop's product search: a full-text index in SQLite, ranked by BM25.

Invariant: the index never changes after it is built; all episodes of a process share it.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Sequence
from functools import lru_cache

from envs.webshop.products import Product, generate_products

MAX_RESULTS = 50


class Shop:
    """Products by asin, and their index."""

    def __init__(self, products: Sequence[Product]) -> None:
        self.products = {product.asin: product for product in products}
        self._lock = threading.Lock()  # one connection serves all threads
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        self._index.execute("CREATE VIRTUAL TABLE product USING fts5(asin UNINDEXED, title, text)")
        self._index.executemany("INSERT INTO product VALUES (?, ?, ?)", ((item.asin, item.title, _indexed_text(item)) for item in products))

    def search(self, keywords: str) -> list[str]:
        """The asins that match any of the words, best first (BM25, the title weighs twice), at most fifty."""
        words = list(dict.fromkeys(re.findall(r"[a-z0-9]+", keywords.lower())))[:40]
        if not words:
            return []
        match_expression = " OR ".join(f'"{word}"' for word in words)
        query = "SELECT asin FROM product WHERE product MATCH ? ORDER BY bm25(product, 0, 2.0, 1.0), asin LIMIT ?"
        with self._lock:
            return [row[0] for row in self._index.execute(query, (match_expression, MAX_RESULTS)).fetchall()]


@lru_cache(maxsize=2)
def generated_shop(count: int) -> Shop:
    """The shop of the first `count` generated products."""
    return Shop(generate_products(count))


def _indexed_text(product: Product) -> str:
    return " ".join([*product.features, product.description, *(value for values in product.options.values() for value in values)])
