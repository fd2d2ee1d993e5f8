"""WebShop with more products: `python -m benchmarks.shop [--products 1000 10000]`: making it, searching, and the expert's step times.

The same 200 wishes of AgentEval in every shop (the first products are the same); the ratio is what ten times the products cost a search.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from benchmarks.results import record
from envs.base import ExpertStuck
from envs.webshop import WebShop

WISHES = 200


def measure(products: int) -> dict[str, float]:
    began = time.perf_counter()
    world = WebShop(products=products)
    made = time.perf_counter() - began
    searches, others, wins = [], [], 0
    for instruction in WebShop.instructions("eval")[:WISHES]:
        observation, info = world.reset(options={"item_id": instruction.item_id})
        expert = world.expert()
        while not world.done:
            try:
                _, action = expert.act(observation)
            except ExpertStuck:  # what it looks for is not on the first page of so many
                break
            began = time.perf_counter()
            observation, _, _, _, info = world.step(action)
            (searches if action.startswith("search") else others).append(1e3 * (time.perf_counter() - began))
        wins += bool(world.done and info["success"])
    return {"made, s": made, "search, ms": statistics.median(searches), "other steps, ms": statistics.median(others), "expert wins": wins}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--json", type=Path, help="a file for the results, for benchmarks.check")
    asked = parser.parse_args()
    found = {products: measure(products) for products in asked.products}
    for products, figures in found.items():
        print(f"{products} products: " + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
    small, large = min(found), max(found)
    ratio = found[small]["search, ms"] / found[large]["search, ms"]
    record(asked.json, "shop", {f"a search among {small} over one among {large}": ratio}, {str(size): shop for size, shop in found.items()})


if __name__ == "__main__":
    main()
