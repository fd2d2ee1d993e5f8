"""The reward for a purchase: WebShop's (arXiv 2207.01206, section 3.2).

Invariant: reward = type match * (matched attributes + matched options + price within the limit) / number of requirements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rapidfuzz import fuzz

from envs.webshop.goals import Goal
from envs.webshop.products import Product

_MATCH_SCORE = 85  # of 100: WebShop's threshold for two texts that mean the same
_COLORS = ("black", "white", "blue", "red", "grey", "green", "yellow", "pink", "orange", "purple", "brown", "silver", "gold")


@dataclass(frozen=True, slots=True)
class RewardParts:
    """The reward and its parts, each from 0 to 1."""

    reward: float
    kind: float
    attributes: float
    options: float
    price: float


def purchase_reward(goal: Goal, target: Product, bought: Product, chosen: Mapping[str, str]) -> RewardParts:
    """The reward for buying a product. `target`: the goal's product; `chosen`: the options chosen, value by name."""
    kind = _type_match(target, bought)
    attributes = sum(_has_attribute(bought, attribute) for attribute in goal.attributes)
    options = sum(any(_similar(_color(value), _color(picked)) for picked in chosen.values()) for value in goal.options.values())
    price = float(bought.price <= goal.price)
    num_requirements = len(goal.attributes) + len(goal.options) + 1
    return RewardParts(
        reward=kind * (attributes + options + price) / num_requirements,
        kind=kind,
        attributes=attributes / len(goal.attributes) if goal.attributes else 1.0,
        options=options / len(goal.options) if goal.options else 1.0,
        price=price,
    )


def _type_match(target: Product, bought: Product) -> float:
    """WebShop's r_type: 1 for the same kind, two shared category levels or similar titles; else by the overlap of the titles."""
    shared_levels = len(set(target.category) & set(bought.category))
    overlap = _title_overlap(target.title, bought.title)
    if target.kind == bought.kind or shared_levels >= 2 or overlap > 0.2:
        return 1.0
    return 0.0 if overlap == 0 else 0.1 if overlap < 0.1 else 0.5


def _title_overlap(target: str, title: str) -> float:
    """The share of the target title's words that occur in the other: nouns in WebShop, here words of four letters or more."""
    target_words, words = (set(re.findall(r"[a-z]{4,}", text.lower())) for text in (target, title))
    return len(target_words & words) / len(target_words) if target_words else 0.0


def _has_attribute(product: Product, attribute: str) -> bool:
    if any(_similar(attribute, product_attribute) for product_attribute in product.attributes):
        return True
    text = " ".join((product.title, product.description, *product.features)).lower()
    return attribute.lower() in text


def _similar(text1: str, text2: str) -> bool:
    return fuzz.token_set_ratio(text1, text2) > _MATCH_SCORE


def _color(value: str) -> str:
    """A basic colour for a compound one such as `navy blue`, as WebShop does."""
    return next((color for color in _COLORS if color in value.split()), value)
