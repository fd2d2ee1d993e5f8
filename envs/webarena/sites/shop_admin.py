"""The shop's administration: orders and their status, price and stock of products, customers, a sales report."""

from __future__ import annotations

from envs.webarena.sites.initial_data import STATUSES
from envs.webarena.sites.page import Field, Form, Heading, Link, Page, Table, Text
from envs.webarena.sites.site import Site, SiteRequest, SiteResponse

SITE = Site(
    "shopping_admin",
    "admin.test",
    "Shop Admin",
    (Link("Orders", "/orders"), Link("Products", "/products"), Link("Customers", "/customers"), Link("Sales report", "/report")),
)


@SITE.get("/")
def dashboard_page(request: SiteRequest) -> SiteResponse:
    (count,) = request.database.first_row("select count(*) from orders where status = 'pending'") or (0,)
    return Page("Dashboard - Shop Admin", [Heading("Dashboard"), Text(f"{count} orders are pending.")])


@SITE.get("/orders")
def orders_page(request: SiteRequest) -> SiteResponse:
    query, status_filter = request.params.get("q", "").strip().lower(), request.params.get("status", "")
    records = request.database.execute(
        "select orders.id, name, day, status from orders join customers on customer = customers.id "
        "where (? = '' or lower(name) = ? or orders.id || '' = ?) and (? = '' or status = ?) order by orders.id desc limit 40",
        (query, query, query, status_filter, status_filter),
    )
    rows = [(Link(f"Order {number}", f"/orders/{number}"), str(name), str(day), str(status)) for number, name, day, status in records]
    form = Form("/orders", "Filter", (Field("q", "Customer or order number"), Field("status", "Status", choices=STATUSES)), "get")
    return Page("Orders - Shop Admin", [Heading(f"{len(rows)} orders"), form, Table(("Order", "Customer", "Date", "Status"), rows)])


@SITE.get("/orders/{number:int}")
def order_page(request: SiteRequest) -> SiteResponse:
    number = request.path_number("number")
    record = request.database.first_row(
        "select name, email, day, status from orders join customers on customer = customers.id where orders.id = ?", (number,)
    )
    if record is None:
        return None
    lines = request.database.execute(
        "select name, quantity from order_lines join products on product = id where purchase = ? order by name", (number,)
    )
    return Page(
        f"Order {number} - Shop Admin",
        [
            Heading(f"Order {number}"),
            Text(f"Customer: {record[0]} ({record[1]})"),
            Text(f"Date: {record[2]}"),
            Text(f"Status: {record[3]}"),
            Table(("Product", "Quantity"), [(str(name), str(count)) for name, count in lines]),
            Form(f"/orders/{number}", "Change Status", (Field("status", "New status", choices=STATUSES),)),
        ],
    )


@SITE.post("/orders/{number:int}")
def change_order(request: SiteRequest) -> SiteResponse:
    if request.params.get("status") not in STATUSES:
        return Page("Orders - Shop Admin", [Heading("Choose a status")])
    request.database.execute("update orders set status = ? where id = ?", (request.params["status"], request.path_number("number")))
    return f"/orders/{request.path_number('number')}"


@SITE.get("/products")
def products_page(request: SiteRequest) -> SiteResponse:
    query = request.params.get("q", "").strip().lower()
    records = request.database.execute(
        "select id, name, price, stock from products where instr(lower(name), ?) or ? = '' order by name limit 40", (query, query)
    )
    rows = [(Link(str(name), f"/products/{number}"), f"${price:.2f}", str(stock)) for number, name, price, stock in records]
    form = Form("/products", "Search", (Field("q", "Product name"),), "get")
    return Page("Products - Shop Admin", [Heading("Products"), form, Table(("Product", "Price", "Stock"), rows)])


@SITE.get("/products/{number:int}")
def product_page(request: SiteRequest) -> SiteResponse:
    number = request.path_number("number")
    record = request.database.first_row("select name, price, stock from products where id = ?", (number,))
    if record is None:
        return None
    return Page(
        f"{record[0]} - Shop Admin",
        [
            Heading(str(record[0])),
            Text(f"Price: ${record[1]:.2f}. Stock: {record[2]}"),
            Form(f"/products/{number}/price", "Save Price", (Field("price", "New price"),)),
            Form(f"/products/{number}/stock", "Save Stock", (Field("stock", "New stock"),)),
        ],
    )


@SITE.post("/products/{number:int}/price")
def change_price(request: SiteRequest) -> SiteResponse:
    dollars, _, cents = request.params.get("price", "").strip().removeprefix("$").partition(".")
    if not (
        dollars.isdigit() and dollars.isascii() and len(dollars) < 7 and (cents or "0").isdigit() and cents.isascii() and len(cents) < 3
    ):
        return Page("Products - Shop Admin", [Heading("A price looks like 12.50")])
    request.database.execute(
        "update products set price = ? where id = ?", (float(f"{dollars}.{cents or 0}"), request.path_number("number"))
    )
    return f"/products/{request.path_number('number')}"


@SITE.post("/products/{number:int}/stock")
def change_stock(request: SiteRequest) -> SiteResponse:
    stock = request.param_as_int("stock")
    if stock is None:
        return Page("Products - Shop Admin", [Heading("Stock is a number from 0 to 10000")])
    request.database.execute("update products set stock = ? where id = ?", (stock, request.path_number("number")))
    return f"/products/{request.path_number('number')}"


@SITE.get("/customers")
def customers_page(request: SiteRequest) -> SiteResponse:
    records = request.database.execute("select name, email, city from customers order by name")
    rows = [(str(name), str(email), str(city)) for name, email, city in records]
    return Page("Customers - Shop Admin", [Heading("Customers"), Table(("Name", "Email", "City"), rows)])


@SITE.get("/report")
def sales_report_page(request: SiteRequest) -> SiteResponse:
    month = request.params.get("month", "")
    records = request.database.execute(
        "select name, sum(quantity) from order_lines join orders on purchase = orders.id join products on product = products.id "
        "where substr(day, 1, 7) = ? and status != 'canceled' group by name order by 2 desc, name limit 10",
        (month.strip(),),
    )
    form = Form("/report", "Show", (Field("month", "Month (such as 2022-05)", month[:7]),), "get")
    rows = [(str(name), str(units)) for name, units in records]
    return Page("Sales report - Shop Admin", [Heading("Units sold"), form, Table(("Product", "Units"), rows)])
