"""What somebody wants, and how well a purchase meets it.

The reward is WebShop's (arXiv 2207.01206, section 3.2): kind times the share of attributes, options and price that fit.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rapidfuzz import fuzz

from envs.webshop.catalogue import Product

_SAME = 85  # of 100: WebShop's bound for two texts that mean the same
_ASKS = (
    "I am looking for {a} {k}{o}, and price lower than {p} dollars",
    "Find me {a} {k}{o} for less than {p} dollars",
    "I need {a} {k}{o}, price below {p} dollars",
    "I would like to buy {a} {k}{o}; it must cost less than {p} dollars",
)
_COLORS = ("black", "white", "blue", "red", "grey", "green", "yellow", "pink", "orange", "purple", "brown", "silver", "gold")


@dataclass(frozen=True, slots=True)
class Goal:
    """A wish for one product. `options`: name to value."""

    text: str
    asin: str
    attributes: tuple[str, ...]
    options: Mapping[str, str]
    price: float


@dataclass(frozen=True, slots=True)
class Parts:
    """The reward and what it is made of, each from 0 to 1."""

    reward: float
    kind: float
    attributes: float
    options: float
    price: float


def wish(product: Product, number: int) -> Goal:
    """The wish of a number for a product: some of its attributes, a value of each option, a limit above its price."""
    draw = random.Random(f"wish {product.asin} {number}")
    attributes = tuple(draw.sample(product.attributes, min(len(product.attributes), draw.randrange(1, 4))))
    options = {name: draw.choice(values) for name, values in product.options.items()}
    above = [10 * step for step in range(1, 60) if 10 * step > product.price][:4]
    limit = float(draw.choice(above))
    said = "".join(f", {name} {value}" for name, value in options.items())
    text = draw.choice(_ASKS).format(a=" ".join(attributes), k=product.kind, o=said, p=f"{limit:.2f}")
    return Goal(text, product.asin, attributes, options, limit)


def from_webshop(product: Product, entry: Mapping[str, Any]) -> Goal:
    """A goal of WebShop's items_human_ins.json."""
    found = re.search(r"lower than ([0-9.]+)", str(entry.get("instruction", "")))
    values = [str(value).lower() for value in entry.get("instruction_options", ())]
    options = {name: value for value in values for name, offered in product.options.items() if value in offered}
    limit = float(found[1]) if found else float(entry.get("price_upper", 1e6))
    return Goal(str(entry["instruction"]), product.asin, tuple(entry.get("instruction_attributes", ())), options, limit)


def judge(goal: Goal, wanted: Product, bought: Product, chosen: Mapping[str, str]) -> Parts:
    """The reward for buying a product with the options chosen."""
    kind = _kind(wanted, bought)
    attributes = sum(_has(bought, one) for one in goal.attributes)
    options = sum(any(_alike(_color(value), _color(picked)) for picked in chosen.values()) for value in goal.options.values())
    price = float(bought.price <= goal.price)
    asked = len(goal.attributes) + len(goal.options) + 1
    return Parts(
        reward=kind * (attributes + options + price) / asked,
        kind=kind,
        attributes=attributes / len(goal.attributes) if goal.attributes else 1.0,
        options=options / len(goal.options) if goal.options else 1.0,
        price=price,
    )


def _kind(wanted: Product, bought: Product) -> float:
    """WebShop's r_type: the same kind or two levels of category in common, else by the words that the titles share."""
    shared = len(set(wanted.category) & set(bought.category))
    overlap = _overlap(wanted.title, bought.title)
    if wanted.kind == bought.kind or shared >= 2 or overlap > 0.2:
        return 1.0
    return 0.0 if overlap == 0 else 0.1 if overlap < 0.1 else 0.5


def _overlap(one: str, other: str) -> float:
    """The share of the wanted title's words in the other: WebShop takes a tagger's nouns, here every word of four letters or more."""
    left, right = (set(re.findall(r"[a-z]{4,}", text.lower())) for text in (one, other))
    return len(left & right) / len(left) if left else 0.0


def _has(product: Product, attribute: str) -> bool:
    if any(_alike(attribute, one) for one in product.attributes):
        return True
    text = " ".join((product.title, product.description, *product.features)).lower()
    return attribute.lower() in text


def _alike(one: str, other: str) -> bool:
    return fuzz.token_set_ratio(one, other) > _SAME


def _color(value: str) -> str:
    """A plain colour for a fancy one, as WebShop does."""
    return next((color for color in _COLORS if color in value.split()), value)


def query_of(goal: Goal, kind: str) -> str:
    """What one would type into the search field to find what is wished for."""
    return " ".join([*goal.attributes, kind])
