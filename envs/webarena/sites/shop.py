"""The shop: categories, search, products with reviews, cart, wish list, the customer's orders."""

from __future__ import annotations

from envs.webarena.sites.database import Row
from envs.webarena.sites.initial_data import CATEGORIES, CUSTOMER_NAME
from envs.webarena.sites.page import Field, Form, Heading, Link, Links, Page, Table, Text
from envs.webarena.sites.site import Site, SiteRequest, SiteResponse

SITE = Site(
    "shopping",
    "shop.test",
    "Everyday Shop",
    (Link("Home", "/"), Link("My Orders", "/orders"), Link("My Wish List", "/wishes"), Link("My Cart", "/cart")),
)
SORT_LABELS = {"name": "name", "price-low": "price, lowest first", "price-high": "price, highest first"}
SORT_ORDERS = {"name": "name", "price-low": "price", "price-high": "price desc"}
_SEARCH_FORM = Form("/search", "Search", (Field("q", "Search the shop"),), "get")


@SITE.get("/")
def home_page(request: SiteRequest) -> SiteResponse:
    return Page("Everyday Shop", [_SEARCH_FORM, Heading("Categories"), *(Links((Link(name, f"/category/{name}"),)) for name in CATEGORIES)])


@SITE.get("/category/{name}")
def category_page(request: SiteRequest) -> SiteResponse:
    name, sort = str(request.path_params["name"]), request.params.get("sort", "name")
    if name not in CATEGORIES or sort not in SORT_ORDERS:
        return None
    records = request.database.execute(f"select id, name, price from products where category = ? order by {SORT_ORDERS[sort]}", (name,))
    sorts = Links(tuple(Link(f"Sort by {label}", f"/category/{name}?sort={key}") for key, label in SORT_LABELS.items()))
    return Page(f"{name} - Everyday Shop", [Heading(name), sorts, _product_table(records)])


@SITE.get("/search")
def search_results_page(request: SiteRequest) -> SiteResponse:
    words = request.params.get("q", "").lower().split()[:10]
    if not words:
        return "/"
    where = " and ".join("instr(lower(name), ?)" for _ in words)
    records = request.database.execute(f"select id, name, price from products where {where} order by name", words)
    return Page("Search results - Everyday Shop", [_SEARCH_FORM, Heading(f"{len(records)} products found"), _product_table(records)])


@SITE.get("/product/{number:int}")
def product_page(request: SiteRequest) -> SiteResponse:
    number = request.path_number("number")
    record = request.database.first_row("select name, category, price, stock from products where id = ?", (number,))
    if record is None:
        return None
    name, category, price, stock = record
    reviews = request.database.execute("select author, stars, title from reviews where product = ? order by id", (number,))
    return Page(
        f"{name} - Everyday Shop",
        [
            Heading(str(name)),
            Text(f"Price: ${price:.2f}"),
            Text(f"Category: {category}. {'In stock' if stock else 'Out of stock'}"),
            Form(f"/product/{number}/cart", "Add to Cart", (Field("quantity", "Quantity", "1"),)),
            Form(f"/product/{number}/wish", "Add to Wish List"),
            Heading(f"{len(reviews)} Reviews"),
            Table(("Author", "Stars", "Title"), [(str(author), f"{stars} stars", str(title)) for author, stars, title in reviews]),
            Form(
                f"/product/{number}/review",
                "Submit Review",
                (Field("stars", "Rating", choices=("1", "2", "3", "4", "5")), Field("title", "Review title")),
            ),
        ],
    )


@SITE.post("/product/{number:int}/cart")
def add_to_cart(request: SiteRequest) -> SiteResponse:
    quantity = request.param_as_int("quantity", 1, 1000)
    if quantity is None or request.database.first_row("select 1 from products where id = ?", (request.path_number("number"),)) is None:
        return Page("Cart - Everyday Shop", [Heading("The quantity must be a number from 1 to 1000")])
    request.database.execute(
        "insert into cart values (?, ?) on conflict (product) do update set quantity = quantity + excluded.quantity",
        (request.path_number("number"), quantity),
    )
    return "/cart"


@SITE.get("/cart")
def cart_page(request: SiteRequest) -> SiteResponse:
    records = request.database.execute("select id, name, quantity, price from cart join products on product = id order by name")
    total = sum(float(price or 0) * int(quantity or 0) for _, _, quantity, price in records)
    rows = [(Link(str(name), f"/product/{number}"), str(quantity), f"${price:.2f}") for number, name, quantity, price in records]
    return Page(
        "My Cart - Everyday Shop", [Heading("My Cart"), Table(("Product", "Quantity", "Price"), rows), Text(f"Total: ${total:.2f}")]
    )


@SITE.post("/product/{number:int}/wish")
def add_to_wish_list(request: SiteRequest) -> SiteResponse:
    request.database.execute("insert or ignore into wishes select id from products where id = ?", (request.path_number("number"),))
    return "/wishes"


@SITE.get("/wishes")
def wish_list_page(request: SiteRequest) -> SiteResponse:
    records = request.database.execute("select id, name, price from wishes join products on product = id order by name")
    return Page("My Wish List - Everyday Shop", [Heading("My Wish List"), _product_table(records)])


@SITE.post("/product/{number:int}/review")
def add_review(request: SiteRequest) -> SiteResponse:
    stars, title = request.param_as_int("stars", 1, 5), request.params.get("title", "").strip()[:100]
    if stars is None or not title:
        return Page("Review - Everyday Shop", [Heading("A review needs a rating and a title"), Links((_back_link(request),))])
    request.database.execute(
        "insert into reviews (product, author, stars, title) select id, ?, ?, ? from products where id = ?",
        (CUSTOMER_NAME, stars, title, request.path_number("number")),
    )
    return f"/product/{request.path_number('number')}"


@SITE.get("/orders")
def orders_page(request: SiteRequest) -> SiteResponse:
    records = request.database.execute("select id, day, status from orders where customer = 1 order by id")
    rows = [(Link(f"Order {number}", f"/orders/{number}"), str(day), str(status)) for number, day, status in records]
    return Page("My Orders - Everyday Shop", [Heading("My Orders"), Table(("Order", "Date", "Status"), rows)])


@SITE.get("/orders/{number:int}")
def order_page(request: SiteRequest) -> SiteResponse:
    number = request.path_number("number")
    record = request.database.first_row("select day, status from orders where customer = 1 and id = ?", (number,))
    if record is None:
        return None
    lines = request.database.execute(
        "select name, quantity, order_lines.price from order_lines join products on product = id where purchase = ? order by name",
        (number,),
    )
    total = sum(float(price or 0) * int(quantity or 0) for _, quantity, price in lines)
    return Page(
        f"Order {number} - Everyday Shop",
        [
            Heading(f"Order {number}"),
            Text(f"Date: {record[0]}"),
            Text(f"Status: {record[1]}"),
            Table(("Product", "Quantity", "Price"), [(str(name), str(count), f"${price:.2f}") for name, count, price in lines]),
            Text(f"Order total: ${total:.2f}"),
        ],
    )


def _product_table(records: list[Row]) -> Table:
    return Table(("Product", "Price"), [(Link(str(name), f"/product/{number}"), f"${price:.2f}") for number, name, price in records])


def _back_link(request: SiteRequest) -> Link:
    return Link("Back to the product", f"/product/{request.path_number('number')}")
