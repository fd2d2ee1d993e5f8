"""The shop's pages as text, and the clicks and searches that lead from one to another.

Invariant: the page depends on the state of the session alone, and exactly what the page shows can be clicked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from envs.webshop.products import Product
from envs.webshop.search import Shop

RESULTS_PER_PAGE = 10
BACK, NEXT, PREVIOUS, BUY = "Back to Search", "Next >", "< Prev", "Buy Now"
SUB_PAGES = ("Description", "Features", "Reviews")
_MAX_TITLE_CHARS, _MAX_TEXT_CHARS = 90, 800


@dataclass(slots=True)
class ShoppingSession:
    """The state of one episode. `page`: search, results, item or the name of a sub-page; `number`: of the page of results, from 1."""

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

    def product_on_page(self) -> Product | None:
        """The product whose page or sub-page is open, or None."""
        return self.product if self.page == "item" or self.page in SUB_PAGES else None

    def can_search(self) -> bool:
        return self.page == "search"

    def clickable(self) -> list[str]:
        """The labels that can be clicked, as the page shows them."""
        if self.page == "results":
            num_pages = -(-len(self.results) // RESULTS_PER_PAGE)
            navigation = ([NEXT] if self.number < num_pages else []) + ([PREVIOUS] if self.number > 1 else [])
            return [BACK, *navigation, *self._results_on_page()]
        if self.page == "item":
            return [BACK, PREVIOUS, *(value for values in self.product.options.values() for value in values), *SUB_PAGES, BUY]
        return [BACK, PREVIOUS] if self.page in SUB_PAGES else []

    def search(self, keywords: str) -> None:
        self.results, self.page, self.number = self.shop.search(keywords), "results", 1

    def click(self, label: str) -> bool:
        """Click a label (case-insensitive). False if the page does not show it."""
        target = next((clickable for clickable in self.clickable() if clickable.lower() == label.lower()), None)
        if target is None:
            return False
        if target == BACK:
            self.page = "search"
        elif target == BUY:
            self.bought = self.product
        elif target == NEXT:
            self.number += 1
        elif target == PREVIOUS:
            self._go_to_previous()
        elif target in SUB_PAGES:
            self.page = target
        elif self.page == "results":
            self.asin, self.page, self.chosen = target, "item", {}
        else:
            name = next(name for name, values in self.product.options.items() if target in values)
            self.chosen[name] = target
        return True

    def text(self) -> str:
        """The page, its parts separated by [SEP]."""
        if self.page == "search":
            return " [SEP] ".join(["WebShop", "Instruction:", self.instruction, "Search"])
        if self.page == "results":
            asins = self._results_on_page()
            parts = [f"Page {self.number} (Total results: {len(self.results)})", *self.clickable()[: -len(asins) or None]]
            for asin in asins:
                product = self.shop.products[asin]
                parts += [asin, product.title[:_MAX_TITLE_CHARS], f"${product.price:.2f}"]
            return " [SEP] ".join(parts)
        product = self.product
        if self.page in SUB_PAGES:
            texts = {"Description": product.description, "Features": " ".join(product.features), "Reviews": "There are no reviews."}
            return " [SEP] ".join([BACK, PREVIOUS, texts[self.page][:_MAX_TEXT_CHARS] or "Nothing is said."])
        options = [part for name, values in product.options.items() for part in (name, *self._mark_chosen(name, values))]
        title = product.title[: 2 * _MAX_TITLE_CHARS]
        return " [SEP] ".join([BACK, PREVIOUS, *options, title, f"Price: ${product.price:.2f}", "Rating: N.A.", *SUB_PAGES, BUY])

    def _results_on_page(self) -> list[str]:
        return self.results[(self.number - 1) * RESULTS_PER_PAGE : self.number * RESULTS_PER_PAGE]

    def _mark_chosen(self, name: str, values: Sequence[str]) -> list[str]:
        return [f"{value} (chosen)" if self.chosen.get(name) == value else value for value in values]

    def _go_to_previous(self) -> None:
        if self.page == "results":
            self.number -= 1
        else:
            self.page = "item" if self.page in SUB_PAGES else "results"
