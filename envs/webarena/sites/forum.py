"""The forum: posts by date or votes, upvotes, comments, new posts."""

from __future__ import annotations

from envs.webarena.sites.database import Row
from envs.webarena.sites.initial_data import USERNAME
from envs.webarena.sites.page import Field, Form, Heading, Link, Links, Page, Table, Text
from envs.webarena.sites.site import Site, SiteRequest, SiteResponse

SITE = Site("reddit", "forum.test", "Commons", (Link("Forums", "/"), Link("My posts", f"/user/{USERNAME}")))
SORT_ORDERS = {"new": "day desc, id desc", "top": "votes desc, id"}


@SITE.get("/")
def home_page(request: SiteRequest) -> SiteResponse:
    records = request.database.execute("select name, about from forums order by name")
    rows = [(Link(str(name), f"/f/{name}"), str(about)) for name, about in records]
    return Page("Commons", [Heading("Forums"), Table(("Forum", "About"), rows)])


@SITE.get("/f/{forum}")
def forum_page(request: SiteRequest) -> SiteResponse:
    name, sort = str(request.path_params["forum"]), request.params.get("sort", "new")
    if sort not in SORT_ORDERS or request.database.first_row("select 1 from forums where name = ?", (name,)) is None:
        return None
    records = request.database.execute(
        f"select id, title, author, votes, day from posts where forum = ? order by {SORT_ORDERS[sort]}", (name,)
    )
    links = Links((Link("Newest", f"/f/{name}?sort=new"), Link("Top", f"/f/{name}?sort=top"), Link("Submit a post", f"/submit/{name}")))
    return Page(f"{name} - Commons", [Heading(name), links, _post_table(records)])


@SITE.get("/post/{number:int}")
def post_page(request: SiteRequest) -> SiteResponse:
    number = request.path_number("number")
    record = request.database.first_row("select forum, title, body, author, votes, day from posts where id = ?", (number,))
    if record is None:
        return None
    name, title, body, author, votes, day = record
    comments = request.database.execute("select author, body from comments where post = ? order by id", (number,))
    voted = request.database.first_row("select 1 from votes where post = ?", (number,)) is not None
    return Page(
        f"{title} - Commons",
        [
            Heading(str(title)),
            Text(f"Posted by {author} in {name} on {day}"),
            Text(str(body)),
            Text(f"{votes} votes" + (", yours among them" if voted else "")),
            *([] if voted else [Form(f"/post/{number}/vote", "Upvote")]),
            Heading(f"{len(comments)} Comments"),
            Table(("Author", "Comment"), [(str(commenter), str(text)) for commenter, text in comments]),
            Form(f"/post/{number}/comment", "Post Comment", (Field("body", "Your comment"),)),
        ],
    )


@SITE.post("/post/{number:int}/vote")
def upvote_post(request: SiteRequest) -> SiteResponse:
    number = request.path_number("number")
    if request.database.first_row("select 1 from votes where post = ?", (number,)) is None:
        request.database.execute("insert into votes values (?)", (number,))
        request.database.execute("update posts set votes = votes + 1 where id = ?", (number,))
    return f"/post/{number}"


@SITE.post("/post/{number:int}/comment")
def add_comment(request: SiteRequest) -> SiteResponse:
    if not (body := request.params.get("body", "").strip()[:300]):
        return Page("Comment - Commons", [Heading("A comment needs words")])
    request.database.execute(
        "insert into comments (post, author, body) select id, ?, ? from posts where id = ?", (USERNAME, body, request.path_number("number"))
    )
    return f"/post/{request.path_number('number')}"


@SITE.get("/submit/{forum}")
def new_post_page(request: SiteRequest) -> SiteResponse:
    name = str(request.path_params["forum"])
    if request.database.first_row("select 1 from forums where name = ?", (name,)) is None:
        return None
    form = Form(f"/submit/{name}", "Submit", (Field("title", "Title"), Field("body", "Text")))
    return Page(f"Submit to {name} - Commons", [Heading(f"New post in {name}"), form])


@SITE.post("/submit/{forum}")
def submit_post(request: SiteRequest) -> SiteResponse:
    name, title = str(request.path_params["forum"]), request.params.get("title", "").strip()[:200]
    if not title:
        return Page("Submit - Commons", [Heading("A post needs a title")])
    request.database.execute(
        "insert into posts (forum, title, body, author, votes, day) select name, ?, ?, ?, 1, '2023-01-01' from forums where name = ?",
        (title, request.params.get("body", "").strip()[:1000], USERNAME, name),
    )
    return f"/f/{name}?sort=new"


@SITE.get("/user/{user}")
def user_page(request: SiteRequest) -> SiteResponse:
    name = str(request.path_params["user"])
    records = request.database.execute("select id, title, author, votes, day from posts where author = ? order by id", (name,))
    return Page(f"{name[:40]} - Commons", [Heading(f"{len(records)} posts"), _post_table(records)])


def _post_table(records: list[Row]) -> Table:
    rows = [(Link(str(title), f"/post/{number}"), str(author), f"{votes} votes", str(day)) for number, title, author, votes, day in records]
    return Table(("Post", "Author", "Votes", "Date"), rows)
