"""Tasks in the shop."""

from __future__ import annotations

import random

from envs.webarena.checks import At, Holds, Said
from envs.webarena.sites.seed import CATEGORIES, MY_NAME, REVIEW_TITLES
from envs.webarena.sites.shop import SITE, SORTS
from envs.webarena.sites.store import Store
from envs.webarena.tasks.task import CHANGE, NAVIGATE, SEEK, Move, Stop, Task, Template, Type, button, link, one, radio

_SORTED = {"name": "name", "price-low": "price, lowest first", "price-high": "price, highest first"}


def _find(name: str) -> tuple[Move, ...]:
    return Type("Search the shop", name, enter=True), link(name)


def price(store: Store, draw: random.Random) -> Task:
    name, cost = one(store, draw, "select name, price from products")
    answer = f"${cost:.2f}"
    return Task(SITE.kind, SEEK, f"What does the {name} cost? Answer like $12.34", (Said((answer,)),), (*_find(str(name)), Stop(answer)))


def category(store: Store, draw: random.Random) -> Task:
    name, kind = one(store, draw, "select name, category from products")
    intent = f"In which category is the {name}?"
    return Task(SITE.kind, SEEK, intent, (Said((str(kind),)),), (*_find(str(name)), Stop(str(kind))))


def reviews(store: Store, draw: random.Random) -> Task:
    number, name = one(store, draw, "select id, name from products")
    stars = draw.choice((1, 2, 4, 5))
    word, sign = ("at most", "<=") if stars < 3 else ("at least", ">=")
    ((count,),) = store.rows(f"select count(*) from reviews where product = ? and stars {sign} ?", (int(number or 0), stars))
    intent = f"How many reviews of the {name} give {word} {stars} stars? Answer with a number"
    return Task(SITE.kind, SEEK, intent, (Said((str(count),)),), (*_find(str(name)), Stop(str(count))))


def total(store: Store, draw: random.Random) -> Task:
    (number,) = one(store, draw, "select id from orders where customer = 1")
    ((amount,),) = store.rows("select sum(quantity * price) from order_lines where purchase = ?", (int(number or 0),))
    answer = f"${amount:.2f}"
    moves = (link("My Orders"), link(f"Order {number}"), Stop(answer))
    return Task(SITE.kind, SEEK, f"What is the total of my order {number}? Answer like $12.34", (Said((answer,)),), moves)


def status(store: Store, draw: random.Random) -> Task:
    number, state = one(store, draw, "select id, status from orders where customer = 1")
    return Task(SITE.kind, SEEK, f"What is the status of my order {number}?", (Said((str(state),)),), (link("My Orders"), Stop(str(state))))


def sort(store: Store, draw: random.Random) -> Task:
    kind, key = draw.choice(sorted(CATEGORIES)), draw.choice(sorted(SORTS))
    moves = (link(kind), link(f"Sort by {_SORTED[key]}"), Stop())
    intent = f"Show the products of the category {kind} sorted by {_SORTED[key]}"
    return Task(SITE.kind, NAVIGATE, intent, (At((f"{SITE.url}/category/{kind}?sort={key}",)),), moves)


def extreme(store: Store, draw: random.Random) -> Task:
    kind, key = draw.choice(sorted(CATEGORIES)), draw.choice(("price-low", "price-high"))
    ((number, name),) = store.rows(f"select id, name from products where category = ? order by {SORTS[key]} limit 1", (kind,))
    word = "cheapest" if key == "price-low" else "most expensive"
    moves = (link(kind), link(f"Sort by {_SORTED[key]}"), link(str(name)), Stop())
    return Task(SITE.kind, NAVIGATE, f"Open the page of the {word} product in {kind}", (At((f"{SITE.url}/product/{number}",)),), moves)


def cart(store: Store, draw: random.Random) -> Task:
    number, name = one(store, draw, "select id, name from products")
    count = draw.randrange(1, 9)
    check = Holds("select count(*) from cart where product = ? and quantity = ?", (int(number or 0), count))
    only = Holds("select count(*) from cart", ())
    moves = (*_find(str(name)), Type("Quantity", str(count)), button("Add to Cart"), Stop())
    return Task(SITE.kind, CHANGE, f"Add {count} of the {name} to my cart", (check, only), moves)


def wish(store: Store, draw: random.Random) -> Task:
    number, name = one(store, draw, "select id, name from products")
    check = Holds("select count(*) from wishes where product = ?", (int(number or 0),))
    moves = (*_find(str(name)), button("Add to Wish List"), Stop())
    return Task(SITE.kind, CHANGE, f"Put the {name} on my wish list", (check, Holds("select count(*) from wishes", ())), moves)


def review(store: Store, draw: random.Random) -> Task:
    number, name = one(store, draw, "select id, name from products")
    stars, title = draw.randrange(1, 6), draw.choice(REVIEW_TITLES)
    check = Holds(
        "select count(*) from reviews where product = ? and author = ? and stars = ? and title = ?",
        (int(number or 0), MY_NAME, stars, title),
    )
    moves = (*_find(str(name)), radio(str(stars)), Type("Review title", title), button("Submit Review"), Stop())
    return Task(SITE.kind, CHANGE, f"Review the {name} with {stars} stars and the title: {title}", (check,), moves)


TEMPLATES: tuple[Template, ...] = (price, cart, sort, reviews, wish, extreme, total, review, status, category)
