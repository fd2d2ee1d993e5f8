"""Tasks in the shop's administration."""

from __future__ import annotations

import random

from envs.webarena.checks import At, Holds, Said
from envs.webarena.sites.admin import SITE
from envs.webarena.sites.seed import STATUSES
from envs.webarena.sites.store import Store
from envs.webarena.tasks.task import CHANGE, NAVIGATE, SEEK, Move, Stop, Task, Template, Type, button, link, one, radio

_SOLD = (
    "select name, sum(quantity) from order_lines join orders on purchase = orders.id join products on product = products.id "
    "where substr(day, 1, 7) = ? and status != 'canceled' group by name order by 2 desc"
)


def email(store: Store, draw: random.Random) -> Task:
    name, address = one(store, draw, "select name, email from customers where id > 1")
    intent = f"What is the email address of the customer {name}?"
    return Task(SITE.kind, SEEK, intent, (Said((str(address),)),), (link("Customers"), Stop(str(address))))


def buyer(store: Store, draw: random.Random) -> Task:
    number, name = one(store, draw, "select orders.id, name from orders join customers on customer = customers.id")
    moves = (link("Orders"), Type("Customer or order number", str(number), enter=True), Stop(str(name)))
    return Task(SITE.kind, SEEK, f"Which customer placed order {number}?", (Said((str(name),)),), moves)


def count(store: Store, draw: random.Random) -> Task:
    key, name = one(store, draw, "select id, name from customers where id > 1")
    ((orders,),) = store.rows("select count(*) from orders where customer = ?", (int(key or 0),))
    moves = (link("Orders"), Type("Customer or order number", str(name), enter=True), Stop(str(orders)))
    return Task(SITE.kind, SEEK, f"How many orders has {name} placed? Answer with a number", (Said((str(orders),)),), moves)


def best(store: Store, draw: random.Random) -> Task:
    months = [f"2022-{month:02d}" for month in range(1, 13)]
    sold = {month: store.rows(_SOLD, (month,)) for month in months}
    month = draw.choice([one for one, rows in sold.items() if len(rows) > 1 and rows[0][1] != rows[1][1]])
    units = draw.random() < 0.5
    answer = str(sold[month][0][1 if units else 0])
    asked = "How many units of the best selling product were sold" if units else "Which product sold most units"
    moves = (link("Sales report"), Type("Month (such as 2022-05)", month, enter=True), Stop(answer))
    return Task(SITE.kind, SEEK, f"{asked} in {month}?", (Said((answer,)),), moves)


def stocked(store: Store, draw: random.Random) -> Task:
    name, stock = one(store, draw, "select name, stock from products")
    moves = (link("Products"), Type("Product name", str(name), enter=True), Stop(str(stock)))
    return Task(SITE.kind, SEEK, f"How many of the {name} are in stock? Answer with a number", (Said((str(stock),)),), moves)


def order_page(store: Store, draw: random.Random) -> Task:
    (number,) = one(store, draw, "select id from orders")
    moves = (link("Orders"), Type("Customer or order number", str(number), enter=True), link(f"Order {number}"), Stop())
    return Task(SITE.kind, NAVIGATE, f"Open the page of order {number}", (At((f"{SITE.url}/orders/{number}",)),), moves)


def filtered(store: Store, draw: random.Random) -> Task:
    state = draw.choice(STATUSES)
    moves = (link("Orders"), radio(state), button("Filter"), Stop())
    return Task(SITE.kind, NAVIGATE, f"List all orders with the status {state}", (At((f"{SITE.url}/orders?status={state}",)),), moves)


def mark(store: Store, draw: random.Random) -> Task:
    number, state = one(store, draw, "select id, status from orders")
    wanted = draw.choice([one for one in STATUSES if one != state])
    check = Holds("select count(*) from orders where id = ? and status = ?", (int(number or 0), wanted))
    moves = (
        link("Orders"), Type("Customer or order number", str(number), enter=True), link(f"Order {number}"), radio(wanted),
        button("Change Status"), Stop(),
    )  # fmt: skip
    return Task(SITE.kind, CHANGE, f"Change the status of order {number} to {wanted}", (check,), moves)


def price(store: Store, draw: random.Random) -> Task:
    number, name = one(store, draw, "select id, name from products")
    cents = draw.randrange(500, 20_000)
    check = Holds("select count(*) from products where id = ? and abs(price - ?) < 0.001", (int(number or 0), cents / 100))
    moves = (*_product(str(name)), Type("New price", f"{cents / 100:.2f}"), button("Save Price"), Stop())
    return Task(SITE.kind, CHANGE, f"Set the price of the {name} to ${cents / 100:.2f}", (check,), moves)


def stock(store: Store, draw: random.Random) -> Task:
    number, name = one(store, draw, "select id, name from products")
    amount = draw.randrange(200, 900)
    check = Holds("select count(*) from products where id = ? and stock = ?", (int(number or 0), amount))
    moves = (*_product(str(name)), Type("New stock", str(amount)), button("Save Stock"), Stop())
    return Task(SITE.kind, CHANGE, f"Set the stock of the {name} to {amount}", (check,), moves)


def _product(name: str) -> tuple[Move, ...]:
    return link("Products"), Type("Product name", name, enter=True), link(name)


TEMPLATES: tuple[Template, ...] = (email, mark, order_page, count, price, filtered, best, stock, buyer, stocked)
