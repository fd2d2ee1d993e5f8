"""Products: generated from a seed, or read from WebShop's own files.

Invariant: the first n products are the same in every catalogue of n products or more.
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

_WORDS_FILE = Path(__file__).with_name("words.txt")
_BRANDS = "Alvora,Benthic,Cindra,Dovetail,Everly,Fenwick,Gladstone,Harrow,Isolde,Juno,Kestrel,Lumen,Moxley,Nordal,Orrin,Pavo".split(",")
_SERIES = "Classic,Plus,Pro,Essential,Studio,Daily,Prime,Select,Original,Nova".split(",")
_PRICE_RANGES = {"beauty": (4, 40), "electronics": (7, 160), "fashion": (9, 140), "food": (4, 35), "home": (9, 190)}


class InvalidWebShopFiles(ValueError):
    """WebShop's files cannot be used; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class Product:
    """`kind`: the search term for it; `category`: from the widest to the narrowest; `options`: values by name; `price` in dollars."""

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
def generate_products(count: int = 1000) -> tuple[Product, ...]:
    """Products of the kinds in words.txt. The kinds take turns, so that each has near duplicates that differ in a word or an option."""
    lines = [line for line in _WORDS_FILE.read_text(encoding="ascii").splitlines() if not line.startswith("#")]
    return tuple(_generate_product(lines[number % len(lines)], number) for number in range(count))


def _generate_product(line: str, number: int) -> Product:
    rng = random.Random(f"product {number}")
    category, subcategory, kind, attribute_text, option_text = line.split(" / ")
    attributes = rng.sample(attribute_text.split("|"), rng.randrange(2, 5))
    options = {}
    for option in option_text.split("; "):
        name, _, value_text = option.partition(": ")
        values = value_text.split("|")
        sampled = rng.sample(values, max(2, len(values) - rng.randrange(3)))
        options[name] = tuple(value for value in values if value in sampled)
    brand, series = rng.choice(_BRANDS), rng.choice(_SERIES)
    low, high = _PRICE_RANGES[category]
    return Product(
        asin=f"B{rng.randrange(10_000):04}{number:05}",
        title=f"{brand} {series} {kind}, {', '.join(attributes[:2])}",
        kind=kind,
        category=(category, subcategory, kind),
        attributes=tuple(attributes),
        options=options,
        price=rng.randrange(low * 100, high * 100) / 100,
        description=f"The {series} {kind} by {brand}. It is {', '.join(attributes)}.",
        features=tuple(f"This {kind} is {attribute}." for attribute in attributes),
    )


def read_products(folder: Path) -> tuple[Product, ...]:
    """The products of WebShop's items_shuffle*.json and items_ins_v2*.json. Raises InvalidWebShopFiles."""
    items, attributes = _read_json(folder, "items_shuffle*.json"), _read_json(folder, "items_ins_v2*.json")
    try:
        return tuple(_parse_product(item, attributes.get(item["asin"], {})) for item in items)
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidWebShopFiles(
            f"{folder}: a product has no {error}; expected WebShop's fields (asin, name, category, query, pricing ...)"
        ) from None


def read_goal_entries(folder: Path) -> tuple[tuple[str, dict[str, Any]], ...]:
    """(asin, goal) of every instruction in WebShop's items_human_ins.json. Raises InvalidWebShopFiles."""
    goals = _read_json(folder, "items_human_ins*.json")
    if not isinstance(goals, dict):
        raise InvalidWebShopFiles(f"{folder}: items_human_ins.json must map each asin to its goals")
    return tuple((asin, goal) for asin, entries in goals.items() for goal in entries)


def _read_json(folder: Path, pattern: str) -> Any:
    files = sorted(Path(folder).glob(pattern))
    if not files:
        raise InvalidWebShopFiles(f"{folder} has no {pattern}; give the folder `data` of WebShop")
    try:
        return json.loads(files[0].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidWebShopFiles(f"{files[0]} cannot be read: {error}") from None


def _parse_product(item: Mapping[str, Any], annotation: Mapping[str, Any]) -> Product:
    prices = [float(price.replace(",", "")) for price in re.findall(r"\$([0-9][0-9,]*\.?[0-9]*)", str(item.get("pricing") or ""))]
    options = item.get("customization_options") or {}
    return Product(
        asin=item["asin"],
        title=str(item["name"]),
        kind=str(item.get("query", "")),
        category=tuple(part.strip() for part in re.split("[›>]", str(item.get("product_category", "")))),
        attributes=tuple(annotation.get("attributes", ())),
        options={name: tuple(str(value["value"]).lower() for value in values) for name, values in options.items() if values},
        price=prices[0] if prices else 100.0,
        description=str(item.get("full_description") or ""),
        features=tuple(_string_list(item.get("small_description"))),
    )


def _string_list(value: Any) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else [str(value)] if value else []
