"""Shopping goals: what an instruction asks for. Generated for a product, or read from WebShop's own files.

Invariant: a product and a number give the same goal on every machine.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from envs.webshop.products import Product
from envs.webshop.search import generated_shop

GOALS_FILE = Path(__file__).with_name("goals.json")
_INSTRUCTION_TEMPLATES = (
    "I am looking for {attributes} {kind}{options}, and price lower than {price} dollars",
    "Find me {attributes} {kind}{options} for less than {price} dollars",
    "I need {attributes} {kind}{options}, price below {price} dollars",
    "I would like to buy {attributes} {kind}{options}; it must cost less than {price} dollars",
)


@dataclass(frozen=True, slots=True)
class Goal:
    """What to buy. `text`: the instruction; `asin`: the target product; `options`: value by name; `price`: the limit in dollars."""

    text: str
    asin: str
    attributes: tuple[str, ...]
    options: Mapping[str, str]
    price: float


def generate_goal(product: Product, number: int) -> Goal:
    """The goal of this number for a product: some of its attributes, a value of each option, a limit above its price."""
    rng = random.Random(f"wish {product.asin} {number}")
    attributes = tuple(rng.sample(product.attributes, min(len(product.attributes), rng.randrange(1, 4))))
    options = {name: rng.choice(values) for name, values in product.options.items()}
    return goal_for_purchase(product, attributes, options, rng)


def goal_for_purchase(product: Product, attributes: tuple[str, ...], options: Mapping[str, str], rng: random.Random) -> Goal:
    """The goal to buy a product for these attributes, with these options, below a random limit above its price."""
    limits = [10 * step for step in range(1, 60) if 10 * step > product.price][:4]
    limit = float(rng.choice(limits))
    option_text = "".join(f", {name} {value}" for name, value in options.items())
    template = rng.choice(_INSTRUCTION_TEMPLATES)
    text = template.format(attributes=" ".join(attributes), kind=product.kind, options=option_text, price=f"{limit:.2f}")
    return Goal(text, product.asin, attributes, options, limit)


def parse_goal(product: Product, entry: Mapping[str, Any]) -> Goal:
    """A goal of WebShop's items_human_ins.json."""
    limit_match = re.search(r"lower than ([0-9.]+)", str(entry.get("instruction", "")))
    values = [str(value).lower() for value in entry.get("instruction_options", ())]
    options = {name: value for value in values for name, choices in product.options.items() if value in choices}
    limit = float(limit_match[1]) if limit_match else float(entry.get("price_upper", 1e6))
    return Goal(str(entry["instruction"]), product.asin, tuple(entry.get("instruction_attributes", ())), options, limit)


def search_query(goal: Goal, kind: str) -> str:
    """The query with which the expert searches for the goal's product."""
    return " ".join([*goal.attributes, kind])


@lru_cache(maxsize=None)
def shipped_goals() -> tuple[Goal, ...]:
    """The goals of the instructions, in the order of their numbers (goals.json, written by generate.py)."""
    shop = generated_shop(1000)
    return tuple(generate_goal(shop.products[asin], number) for asin, number in json.loads(GOALS_FILE.read_text(encoding="ascii")))
