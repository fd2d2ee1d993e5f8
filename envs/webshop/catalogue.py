"""Products: generated from a seed, or read from WebShop's own files where a user has them.

Invariant: the first n products are the same in every catalogue of n or more.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_WORDS = Path(__file__).with_name("words.txt")
_BRANDS = "Alvora,Benthic,Cindra,Dovetail,Everly,Fenwick,Gladstone,Harrow,Isolde,Juno,Kestrel,Lumen,Moxley,Nordal,Orrin,Pavo".split(",")
_LINES = "Classic,Plus,Pro,Essential,Studio,Daily,Prime,Select,Original,Nova".split(",")
_PRICES = {"beauty": (4, 40), "electronics": (7, 160), "fashion": (9, 140), "food": (4, 35), "home": (9, 190)}


class BadFiles(ValueError):
    """WebShop's files cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Product:
    """`category`: from the widest to the narrowest; `options`: name to values; `kind`: what one would search for it by."""

    asin: str
    title: str
    kind: str
    category: tuple[str, ...]
    attributes: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    price: float
    description: str
    features: tuple[str, ...]


@lru_cache(maxsize=4)
def generated(count: int = 1000) -> tuple[Product, ...]:
    """The shop's own products: kinds take turns, so that every kind has near twins that differ in a word or an option."""
    lines = [line for line in _WORDS.read_text(encoding="ascii").splitlines() if not line.startswith("#")]
    return tuple(_product(lines[number % len(lines)], number) for number in range(count))


def _product(line: str, number: int) -> Product:
    draw = random.Random(f"product {number}")
    category, branch, kind, attributes, options = line.split(" / ")
    has = draw.sample(attributes.split("|"), draw.randrange(2, 5))
    choices = {}
    for option in options.split("; "):
        name, _, values = option.partition(": ")
        offered = values.split("|")
        kept = draw.sample(offered, max(2, len(offered) - draw.randrange(3)))
        choices[name] = tuple(value for value in offered if value in kept)
    brand, series = draw.choice(_BRANDS), draw.choice(_LINES)
    low, high = _PRICES[category]
    return Product(
        asin=f"B{draw.randrange(10_000):04}{number:05}",
        title=f"{brand} {series} {kind}, {', '.join(has[:2])}",
        kind=kind,
        category=(category, branch, kind),
        attributes=tuple(has),
        options=choices,
        price=draw.randrange(low * 100, high * 100) / 100,
        description=f"The {series} {kind} by {brand}. It is {', '.join(has)}.",
        features=tuple(f"This {kind} is {one}." for one in has),
    )


def read_products(folder: Path) -> tuple[Product, ...]:
    """The products of WebShop's items_shuffle*.json and items_ins_v2*.json. Raises BadFiles."""
    items, attributes = _load(folder, "items_shuffle*.json"), _load(folder, "items_ins_v2*.json")
    try:
        return tuple(_from_webshop(item, attributes.get(item["asin"], {})) for item in items)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadFiles(f"{folder}: a product has no {error}; expected WebShop's form (asin, name, category, query, pricing ...)") from None


def read_goals(folder: Path) -> tuple[tuple[str, dict[str, Any]], ...]:
    """(asin, goal) of every instruction in WebShop's items_human_ins.json. Raises BadFiles."""
    goals = _load(folder, "items_human_ins*.json")
    if not isinstance(goals, dict):
        raise BadFiles(f"{folder}: items_human_ins.json must be goals by asin")
    return tuple((asin, goal) for asin, entries in goals.items() for goal in entries)


def _load(folder: Path, pattern: str) -> Any:
    found = sorted(Path(folder).glob(pattern))
    if not found:
        raise BadFiles(f"{folder} has no {pattern}; give the folder `data` of WebShop")
    try:
        return json.loads(found[0].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFiles(f"{found[0]} cannot be read: {error}") from None


def _from_webshop(item: Mapping[str, Any], known: Mapping[str, Any]) -> Product:
    prices = [float(price.replace(",", "")) for price in re.findall(r"\$([0-9][0-9,]*\.?[0-9]*)", str(item.get("pricing") or ""))]
    options = item.get("customization_options") or {}
    return Product(
        asin=item["asin"],
        title=str(item["name"]),
        kind=str(item.get("query", "")),
        category=tuple(part.strip() for part in re.split("[›>]", str(item.get("product_category", "")))),
        attributes=tuple(known.get("attributes", ())),
        options={name: tuple(str(value["value"]).lower() for value in values) for name, values in options.items() if values},
        price=prices[0] if prices else 100.0,
        description=str(item.get("full_description") or ""),
        features=tuple(_strings(item.get("small_description"))),
    )


def _strings(value: Any) -> Iterable[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)] if value else []
