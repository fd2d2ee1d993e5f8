"""The shop's administration: orders and their status, products' price and stock, customers, a sales report."""

from __future__ import annotations

from envs.webarena.sites.page import Field, Form, Heading, Link, Page, Table, Text
from envs.webarena.sites.seed import STATUSES
from envs.webarena.sites.site import Answer, Ask, Site

SITE = Site(
    "shopping_admin",
    "admin.test",
    "Shop Admin",
    (Link("Orders", "/orders"), Link("Products", "/products"), Link("Customers", "/customers"), Link("Sales report", "/report")),
)
PAGE = 20


@SITE.get("/")
def home(ask: Ask) -> Answer:
    (count,) = ask.store.row("select count(*) from orders where status = 'pending'") or (0,)
    return Page("Dashboard - Shop Admin", [Heading("Dashboard"), Text(f"{count} orders are pending.")])


@SITE.get("/orders")
def orders(ask: Ask) -> Answer:
    words, status = ask.said.get("q", "").strip().lower(), ask.said.get("status", "")
    found = ask.store.rows(
        "select orders.id, name, day, status from orders join customers on customer = customers.id "
        "where (? = '' or lower(name) = ? or orders.id || '' = ?) and (? = '' or status = ?) order by orders.id desc limit 40",
        (words, words, words, status, status),
    )
    rows = [(Link(f"Order {number}", f"/orders/{number}"), str(name), str(day), str(state)) for number, name, day, state in found]
    form = Form("/orders", "Filter", (Field("q", "Customer or order number"), Field("status", "Status", choices=STATUSES)), "get")
    return Page("Orders - Shop Admin", [Heading(f"{len(rows)} orders"), form, Table(("Order", "Customer", "Date", "Status"), rows)])


@SITE.get("/orders/{number:int}")
def order(ask: Ask) -> Answer:
    number = ask.number("number")
    found = ask.store.row(
        "select name, email, day, status from orders join customers on customer = customers.id where orders.id = ?", (number,)
    )
    if found is None:
        return None
    lines = ask.store.rows(
        "select name, quantity from order_lines join products on product = id where purchase = ? order by name", (number,)
    )
    return Page(
        f"Order {number} - Shop Admin",
        [
            Heading(f"Order {number}"),
            Text(f"Customer: {found[0]} ({found[1]})"),
            Text(f"Date: {found[2]}"),
            Text(f"Status: {found[3]}"),
            Table(("Product", "Quantity"), [(str(name), str(count)) for name, count in lines]),
            Form(f"/orders/{number}", "Change Status", (Field("status", "New status", choices=STATUSES),)),
        ],
    )


@SITE.post("/orders/{number:int}")
def change_order(ask: Ask) -> Answer:
    if ask.said.get("status") not in STATUSES:
        return Page("Orders - Shop Admin", [Heading("Choose a status")])
    ask.store.rows("update orders set status = ? where id = ?", (ask.said["status"], ask.number("number")))
    return f"/orders/{ask.number('number')}"


@SITE.get("/products")
def products(ask: Ask) -> Answer:
    words = ask.said.get("q", "").strip().lower()
    found = ask.store.rows(
        "select id, name, price, stock from products where instr(lower(name), ?) or ? = '' order by name limit 40", (words, words)
    )
    rows = [(Link(str(name), f"/products/{number}"), f"${price:.2f}", str(stock)) for number, name, price, stock in found]
    form = Form("/products", "Search", (Field("q", "Product name"),), "get")
    return Page("Products - Shop Admin", [Heading("Products"), form, Table(("Product", "Price", "Stock"), rows)])


@SITE.get("/products/{number:int}")
def product(ask: Ask) -> Answer:
    number = ask.number("number")
    found = ask.store.row("select name, price, stock from products where id = ?", (number,))
    if found is None:
        return None
    return Page(
        f"{found[0]} - Shop Admin",
        [
            Heading(str(found[0])),
            Text(f"Price: ${found[1]:.2f}. Stock: {found[2]}"),
            Form(f"/products/{number}/price", "Save Price", (Field("price", "New price"),)),
            Form(f"/products/{number}/stock", "Save Stock", (Field("stock", "New stock"),)),
        ],
    )


@SITE.post("/products/{number:int}/price")
def change_price(ask: Ask) -> Answer:
    dollars, _, cents = ask.said.get("price", "").strip().removeprefix("$").partition(".")
    if not (
        dollars.isdigit() and dollars.isascii() and len(dollars) < 7 and (cents or "0").isdigit() and cents.isascii() and len(cents) < 3
    ):
        return Page("Products - Shop Admin", [Heading("A price looks like 12.50")])
    ask.store.rows("update products set price = ? where id = ?", (float(f"{dollars}.{cents or 0}"), ask.number("number")))
    return f"/products/{ask.number('number')}"


@SITE.post("/products/{number:int}/stock")
def change_stock(ask: Ask) -> Answer:
    stock = ask.whole("stock")
    if stock is None:
        return Page("Products - Shop Admin", [Heading("Stock is a number from 0 to 10000")])
    ask.store.rows("update products set stock = ? where id = ?", (stock, ask.number("number")))
    return f"/products/{ask.number('number')}"


@SITE.get("/customers")
def customers(ask: Ask) -> Answer:
    found = ask.store.rows("select name, email, city from customers order by name")
    rows = [(str(name), str(email), str(city)) for name, email, city in found]
    return Page("Customers - Shop Admin", [Heading("Customers"), Table(("Name", "Email", "City"), rows)])


@SITE.get("/report")
def report(ask: Ask) -> Answer:
    month = ask.said.get("month", "")
    found = ask.store.rows(
        "select name, sum(quantity) from order_lines join orders on purchase = orders.id join products on product = products.id "
        "where substr(day, 1, 7) = ? and status != 'canceled' group by name order by 2 desc, name limit 10",
        (month.strip(),),
    )
    form = Form("/report", "Show", (Field("month", "Month (such as 2022-05)", month[:7]),), "get")
    return Page(
        "Sales report - Shop Admin", [Heading("Units sold"), form, Table(("Product", "Units"), [(str(n), str(u)) for n, u in found])]
    )
