"""Tasks in the shop's administration."""

from __future__ import annotations

import random

from envs.webarena.sites.database import SiteDatabase
from envs.webarena.sites.initial_data import STATUSES
from envs.webarena.sites.shop_admin import SITE
from envs.webarena.success_checks import DbQuery, StringMatch, UrlMatch
from envs.webarena.tasks.task import (
    CONTENT_AND_CONFIGURATION,
    INFORMATION_SEEKING,
    SITE_NAVIGATION,
    SolutionStep,
    Stop,
    Task,
    Template,
    Type,
    button,
    link,
    radio,
    random_row,
)

_UNITS_SOLD_SQL = (
    "select name, sum(quantity) from order_lines join orders on purchase = orders.id join products on product = products.id "
    "where substr(day, 1, 7) = ? and status != 'canceled' group by name order by 2 desc"
)


def customer_email(database: SiteDatabase, rng: random.Random) -> Task:
    name, address = random_row(database, rng, "select name, email from customers where id > 1")
    intent = f"What is the email address of the customer {name}?"
    return Task(SITE.name, INFORMATION_SEEKING, intent, (StringMatch((str(address),)),), (link("Customers"), Stop(str(address))))


def customer_of_order(database: SiteDatabase, rng: random.Random) -> Task:
    number, name = random_row(database, rng, "select orders.id, name from orders join customers on customer = customers.id")
    solution = (link("Orders"), Type("Customer or order number", str(number), enter=True), Stop(str(name)))
    return Task(SITE.name, INFORMATION_SEEKING, f"Which customer placed order {number}?", (StringMatch((str(name),)),), solution)


def count_orders(database: SiteDatabase, rng: random.Random) -> Task:
    customer_id, name = random_row(database, rng, "select id, name from customers where id > 1")
    ((orders,),) = database.execute("select count(*) from orders where customer = ?", (int(customer_id or 0),))
    solution = (link("Orders"), Type("Customer or order number", str(name), enter=True), Stop(str(orders)))
    return Task(
        SITE.name, INFORMATION_SEEKING, f"How many orders has {name} placed? Answer with a number", (StringMatch((str(orders),)),), solution
    )


def best_seller(database: SiteDatabase, rng: random.Random) -> Task:
    months = [f"2022-{month:02d}" for month in range(1, 13)]
    sold = {month: database.execute(_UNITS_SOLD_SQL, (month,)) for month in months}
    month = rng.choice([month for month, rows in sold.items() if len(rows) > 1 and rows[0][1] != rows[1][1]])
    ask_for_units = rng.random() < 0.5
    answer = str(sold[month][0][1 if ask_for_units else 0])
    question = "How many units of the best selling product were sold" if ask_for_units else "Which product sold most units"
    solution = (link("Sales report"), Type("Month (such as 2022-05)", month, enter=True), Stop(answer))
    return Task(SITE.name, INFORMATION_SEEKING, f"{question} in {month}?", (StringMatch((answer,)),), solution)


def product_stock(database: SiteDatabase, rng: random.Random) -> Task:
    name, stock = random_row(database, rng, "select name, stock from products")
    solution = (link("Products"), Type("Product name", str(name), enter=True), Stop(str(stock)))
    return Task(
        SITE.name,
        INFORMATION_SEEKING,
        f"How many of the {name} are in stock? Answer with a number",
        (StringMatch((str(stock),)),),
        solution,
    )


def open_order(database: SiteDatabase, rng: random.Random) -> Task:
    (number,) = random_row(database, rng, "select id from orders")
    solution = (link("Orders"), Type("Customer or order number", str(number), enter=True), link(f"Order {number}"), Stop())
    return Task(SITE.name, SITE_NAVIGATION, f"Open the page of order {number}", (UrlMatch((f"{SITE.url}/orders/{number}",)),), solution)


def filter_orders(database: SiteDatabase, rng: random.Random) -> Task:
    status = rng.choice(STATUSES)
    solution = (link("Orders"), radio(status), button("Filter"), Stop())
    return Task(
        SITE.name,
        SITE_NAVIGATION,
        f"List all orders with the status {status}",
        (UrlMatch((f"{SITE.url}/orders?status={status}",)),),
        solution,
    )


def change_order_status(database: SiteDatabase, rng: random.Random) -> Task:
    number, status = random_row(database, rng, "select id, status from orders")
    new_status = rng.choice([choice for choice in STATUSES if choice != status])
    check = DbQuery("select count(*) from orders where id = ? and status = ?", (int(number or 0), new_status))
    solution = (
        link("Orders"), Type("Customer or order number", str(number), enter=True), link(f"Order {number}"), radio(new_status),
        button("Change Status"), Stop(),
    )  # fmt: skip
    return Task(SITE.name, CONTENT_AND_CONFIGURATION, f"Change the status of order {number} to {new_status}", (check,), solution)


def change_price(database: SiteDatabase, rng: random.Random) -> Task:
    number, name = random_row(database, rng, "select id, name from products")
    cents = rng.randrange(500, 20_000)
    check = DbQuery("select count(*) from products where id = ? and abs(price - ?) < 0.001", (int(number or 0), cents / 100))
    solution = (*_find_product(str(name)), Type("New price", f"{cents / 100:.2f}"), button("Save Price"), Stop())
    return Task(SITE.name, CONTENT_AND_CONFIGURATION, f"Set the price of the {name} to ${cents / 100:.2f}", (check,), solution)


def change_stock(database: SiteDatabase, rng: random.Random) -> Task:
    number, name = random_row(database, rng, "select id, name from products")
    amount = rng.randrange(200, 900)
    check = DbQuery("select count(*) from products where id = ? and stock = ?", (int(number or 0), amount))
    solution = (*_find_product(str(name)), Type("New stock", str(amount)), button("Save Stock"), Stop())
    return Task(SITE.name, CONTENT_AND_CONFIGURATION, f"Set the stock of the {name} to {amount}", (check,), solution)


def _find_product(name: str) -> tuple[SolutionStep, ...]:
    return link("Products"), Type("Product name", name, enter=True), link(name)


TEMPLATES: dict[str, Template] = {
    "admin email": customer_email,
    "admin mark": change_order_status,
    "admin order_page": open_order,
    "admin count": count_orders,
    "admin price": change_price,
    "admin filtered": filter_orders,
    "admin best": best_seller,
    "admin stock": change_stock,
    "admin buyer": customer_of_order,
    "admin stocked": product_stock,
}
