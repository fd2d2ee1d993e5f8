"""The shop: categories, search, products with reviews, cart, wish list, the customer's own orders."""

from __future__ import annotations

from envs.webarena.sites.page import Field, Form, Heading, Link, Links, Page, Table, Text
from envs.webarena.sites.seed import CATEGORIES, MY_NAME
from envs.webarena.sites.site import Answer, Ask, Site

SITE = Site(
    "shopping",
    "shop.test",
    "Everyday Shop",
    (Link("Home", "/"), Link("My Orders", "/orders"), Link("My Wish List", "/wishes"), Link("My Cart", "/cart")),
)
SORTS = {"name": "name", "price-low": "price", "price-high": "price desc"}
_SEARCH = Form("/search", "Search", (Field("q", "Search the shop"),), "get")


@SITE.get("/")
def home(ask: Ask) -> Answer:
    return Page("Everyday Shop", [_SEARCH, Heading("Categories"), *(Links((Link(name, f"/category/{name}"),)) for name in CATEGORIES)])


@SITE.get("/category/{name}")
def category(ask: Ask) -> Answer:
    name, sort = str(ask.path["name"]), ask.said.get("sort", "name")
    if name not in CATEGORIES or sort not in SORTS:
        return None
    found = ask.store.rows(f"select id, name, price from products where category = ? order by {SORTS[sort]}", (name,))
    sorts = Links(tuple(Link(f"Sort by {words}", f"/category/{name}?sort={key}") for key, words in _SORT_WORDS.items()))
    return Page(f"{name} - Everyday Shop", [Heading(name), sorts, _products(found)])


_SORT_WORDS = {"name": "name", "price-low": "price, lowest first", "price-high": "price, highest first"}


@SITE.get("/search")
def search(ask: Ask) -> Answer:
    words = ask.said.get("q", "").lower().split()[:10]
    if not words:
        return "/"
    where = " and ".join("instr(lower(name), ?)" for _ in words)
    found = ask.store.rows(f"select id, name, price from products where {where} order by name", words)
    return Page("Search results - Everyday Shop", [_SEARCH, Heading(f"{len(found)} products found"), _products(found)])


@SITE.get("/product/{number:int}")
def product(ask: Ask) -> Answer:
    number = ask.number("number")
    found = ask.store.row("select name, category, price, stock from products where id = ?", (number,))
    if found is None:
        return None
    name, kind, price, stock = found
    reviews = ask.store.rows("select author, stars, title from reviews where product = ? order by id", (number,))
    return Page(
        f"{name} - Everyday Shop",
        [
            Heading(str(name)),
            Text(f"Price: ${price:.2f}"),
            Text(f"Category: {kind}. {'In stock' if stock else 'Out of stock'}"),
            Form(f"/product/{number}/cart", "Add to Cart", (Field("quantity", "Quantity", "1"),)),
            Form(f"/product/{number}/wish", "Add to Wish List"),
            Heading(f"{len(reviews)} Reviews"),
            Table(("Author", "Stars", "Title"), [(str(who), f"{stars} stars", str(title)) for who, stars, title in reviews]),
            Form(
                f"/product/{number}/review",
                "Submit Review",
                (Field("stars", "Rating", choices=("1", "2", "3", "4", "5")), Field("title", "Review title")),
            ),
        ],
    )


@SITE.post("/product/{number:int}/cart")
def put(ask: Ask) -> Answer:
    quantity = ask.whole("quantity", 1, 1000)
    if quantity is None or ask.store.row("select 1 from products where id = ?", (ask.number("number"),)) is None:
        return Page("Cart - Everyday Shop", [Heading("The quantity must be a number from 1 to 1000")])
    ask.store.rows(
        "insert into cart values (?, ?) on conflict (product) do update set quantity = quantity + excluded.quantity",
        (ask.number("number"), quantity),
    )
    return "/cart"


@SITE.get("/cart")
def cart(ask: Ask) -> Answer:
    found = ask.store.rows("select id, name, quantity, price from cart join products on product = id order by name")
    total = sum(float(price or 0) * int(quantity or 0) for _, _, quantity, price in found)
    rows = [(Link(str(name), f"/product/{number}"), str(quantity), f"${price:.2f}") for number, name, quantity, price in found]
    return Page(
        "My Cart - Everyday Shop", [Heading("My Cart"), Table(("Product", "Quantity", "Price"), rows), Text(f"Total: ${total:.2f}")]
    )


@SITE.post("/product/{number:int}/wish")
def want(ask: Ask) -> Answer:
    ask.store.rows("insert or ignore into wishes select id from products where id = ?", (ask.number("number"),))
    return "/wishes"


@SITE.get("/wishes")
def wishes(ask: Ask) -> Answer:
    found = ask.store.rows("select id, name, price from wishes join products on product = id order by name")
    return Page("My Wish List - Everyday Shop", [Heading("My Wish List"), _products(found)])


@SITE.post("/product/{number:int}/review")
def review(ask: Ask) -> Answer:
    stars, title = ask.whole("stars", 1, 5), ask.said.get("title", "").strip()[:100]
    if stars is None or not title:
        return Page("Review - Everyday Shop", [Heading("A review needs a rating and a title"), Links((_back(ask),))])
    ask.store.rows(
        "insert into reviews (product, author, stars, title) select id, ?, ?, ? from products where id = ?",
        (MY_NAME, stars, title, ask.number("number")),
    )
    return f"/product/{ask.number('number')}"


@SITE.get("/orders")
def orders(ask: Ask) -> Answer:
    found = ask.store.rows("select id, day, status from orders where customer = 1 order by id")
    rows = [(Link(f"Order {number}", f"/orders/{number}"), str(day), str(status)) for number, day, status in found]
    return Page("My Orders - Everyday Shop", [Heading("My Orders"), Table(("Order", "Date", "Status"), rows)])


@SITE.get("/orders/{number:int}")
def order(ask: Ask) -> Answer:
    number = ask.number("number")
    found = ask.store.row("select day, status from orders where customer = 1 and id = ?", (number,))
    if found is None:
        return None
    lines = ask.store.rows(
        "select name, quantity, order_lines.price from order_lines join products on product = id where purchase = ? order by name",
        (number,),
    )
    total = sum(float(price or 0) * int(quantity or 0) for _, quantity, price in lines)
    return Page(
        f"Order {number} - Everyday Shop",
        [
            Heading(f"Order {number}"),
            Text(f"Date: {found[0]}"),
            Text(f"Status: {found[1]}"),
            Table(("Product", "Quantity", "Price"), [(str(name), str(count), f"${price:.2f}") for name, count, price in lines]),
            Text(f"Order total: ${total:.2f}"),
        ],
    )


def _products(found: list[tuple[str | int | float | None, ...]]) -> Table:
    return Table(("Product", "Price"), [(Link(str(name), f"/product/{number}"), f"${price:.2f}") for number, name, price in found])


def _back(ask: Ask) -> Link:
    return Link("Back to the product", f"/product/{ask.number('number')}")
