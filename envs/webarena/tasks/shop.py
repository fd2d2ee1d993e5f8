"""Tasks in the shop."""

from __future__ import annotations

import random

from envs.webarena.sites.database import SiteDatabase
from envs.webarena.sites.initial_data import CATEGORIES, CUSTOMER_NAME, REVIEW_TITLES
from envs.webarena.sites.shop import SITE, SORT_LABELS, SORT_ORDERS
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


def _find_product(name: str) -> tuple[SolutionStep, ...]:
    return Type("Search the shop", name, enter=True), link(name)


def product_price(database: SiteDatabase, rng: random.Random) -> Task:
    name, price = random_row(database, rng, "select name, price from products")
    answer = f"${price:.2f}"
    return Task(
        SITE.name,
        INFORMATION_SEEKING,
        f"What does the {name} cost? Answer like $12.34",
        (StringMatch((answer,)),),
        (*_find_product(str(name)), Stop(answer)),
    )


def product_category(database: SiteDatabase, rng: random.Random) -> Task:
    name, category = random_row(database, rng, "select name, category from products")
    intent = f"In which category is the {name}?"
    return Task(SITE.name, INFORMATION_SEEKING, intent, (StringMatch((str(category),)),), (*_find_product(str(name)), Stop(str(category))))


def count_reviews(database: SiteDatabase, rng: random.Random) -> Task:
    number, name = random_row(database, rng, "select id, name from products")
    stars = rng.choice((1, 2, 4, 5))
    word, sign = ("at most", "<=") if stars < 3 else ("at least", ">=")
    ((count,),) = database.execute(f"select count(*) from reviews where product = ? and stars {sign} ?", (int(number or 0), stars))
    intent = f"How many reviews of the {name} give {word} {stars} stars? Answer with a number"
    return Task(SITE.name, INFORMATION_SEEKING, intent, (StringMatch((str(count),)),), (*_find_product(str(name)), Stop(str(count))))


def order_total(database: SiteDatabase, rng: random.Random) -> Task:
    (number,) = random_row(database, rng, "select id from orders where customer = 1")
    ((amount,),) = database.execute("select sum(quantity * price) from order_lines where purchase = ?", (int(number or 0),))
    answer = f"${amount:.2f}"
    solution = (link("My Orders"), link(f"Order {number}"), Stop(answer))
    return Task(
        SITE.name, INFORMATION_SEEKING, f"What is the total of my order {number}? Answer like $12.34", (StringMatch((answer,)),), solution
    )


def order_status(database: SiteDatabase, rng: random.Random) -> Task:
    number, status = random_row(database, rng, "select id, status from orders where customer = 1")
    return Task(
        SITE.name,
        INFORMATION_SEEKING,
        f"What is the status of my order {number}?",
        (StringMatch((str(status),)),),
        (link("My Orders"), Stop(str(status))),
    )


def sort_category(database: SiteDatabase, rng: random.Random) -> Task:
    category, key = rng.choice(sorted(CATEGORIES)), rng.choice(sorted(SORT_ORDERS))
    solution = (link(category), link(f"Sort by {SORT_LABELS[key]}"), Stop())
    intent = f"Show the products of the category {category} sorted by {SORT_LABELS[key]}"
    return Task(SITE.name, SITE_NAVIGATION, intent, (UrlMatch((f"{SITE.url}/category/{category}?sort={key}",)),), solution)


def cheapest_or_most_expensive(database: SiteDatabase, rng: random.Random) -> Task:
    category, key = rng.choice(sorted(CATEGORIES)), rng.choice(("price-low", "price-high"))
    ((number, name),) = database.execute(
        f"select id, name from products where category = ? order by {SORT_ORDERS[key]} limit 1", (category,)
    )
    word = "cheapest" if key == "price-low" else "most expensive"
    solution = (link(category), link(f"Sort by {SORT_LABELS[key]}"), link(str(name)), Stop())
    return Task(
        SITE.name,
        SITE_NAVIGATION,
        f"Open the page of the {word} product in {category}",
        (UrlMatch((f"{SITE.url}/product/{number}",)),),
        solution,
    )


def add_to_cart(database: SiteDatabase, rng: random.Random) -> Task:
    number, name = random_row(database, rng, "select id, name from products")
    count = rng.randrange(1, 9)
    check = DbQuery("select count(*) from cart where product = ? and quantity = ?", (int(number or 0), count))
    no_other_item = DbQuery("select count(*) from cart", ())
    solution = (*_find_product(str(name)), Type("Quantity", str(count)), button("Add to Cart"), Stop())
    return Task(SITE.name, CONTENT_AND_CONFIGURATION, f"Add {count} of the {name} to my cart", (check, no_other_item), solution)


def add_to_wish_list(database: SiteDatabase, rng: random.Random) -> Task:
    number, name = random_row(database, rng, "select id, name from products")
    check = DbQuery("select count(*) from wishes where product = ?", (int(number or 0),))
    solution = (*_find_product(str(name)), button("Add to Wish List"), Stop())
    return Task(
        SITE.name,
        CONTENT_AND_CONFIGURATION,
        f"Put the {name} on my wish list",
        (check, DbQuery("select count(*) from wishes", ())),
        solution,
    )


def write_review(database: SiteDatabase, rng: random.Random) -> Task:
    number, name = random_row(database, rng, "select id, name from products")
    stars, title = rng.randrange(1, 6), rng.choice(REVIEW_TITLES)
    check = DbQuery(
        "select count(*) from reviews where product = ? and author = ? and stars = ? and title = ?",
        (int(number or 0), CUSTOMER_NAME, stars, title),
    )
    solution = (*_find_product(str(name)), radio(str(stars)), Type("Review title", title), button("Submit Review"), Stop())
    return Task(SITE.name, CONTENT_AND_CONFIGURATION, f"Review the {name} with {stars} stars and the title: {title}", (check,), solution)


TEMPLATES: dict[str, Template] = {
    "shop price": product_price,
    "shop cart": add_to_cart,
    "shop sort": sort_category,
    "shop reviews": count_reviews,
    "shop wish": add_to_wish_list,
    "shop extreme": cheapest_or_most_expensive,
    "shop total": order_total,
    "shop review": write_review,
    "shop status": order_status,
    "shop category": product_category,
}
