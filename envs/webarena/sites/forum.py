"""The forum: forums, posts by date or votes, voting, commenting, posting."""

from __future__ import annotations

from envs.webarena.sites.page import Field, Form, Heading, Link, Links, Page, Table, Text
from envs.webarena.sites.seed import ME
from envs.webarena.sites.site import Answer, Ask, Site

SITE = Site("reddit", "forum.test", "Commons", (Link("Forums", "/"), Link("My posts", f"/user/{ME}")))
SORTS = {"new": "day desc, id desc", "top": "votes desc, id"}


@SITE.get("/")
def home(ask: Ask) -> Answer:
    found = ask.store.rows("select name, about from forums order by name")
    return Page("Commons", [Heading("Forums"), Table(("Forum", "About"), [(Link(str(n), f"/f/{n}"), str(about)) for n, about in found])])


@SITE.get("/f/{forum}")
def forum(ask: Ask) -> Answer:
    name, sort = str(ask.path["forum"]), ask.said.get("sort", "new")
    if sort not in SORTS or ask.store.row("select 1 from forums where name = ?", (name,)) is None:
        return None
    found = ask.store.rows(f"select id, title, author, votes, day from posts where forum = ? order by {SORTS[sort]}", (name,))
    links = Links((Link("Newest", f"/f/{name}?sort=new"), Link("Top", f"/f/{name}?sort=top"), Link("Submit a post", f"/submit/{name}")))
    return Page(f"{name} - Commons", [Heading(name), links, _posts(found)])


@SITE.get("/post/{number:int}")
def post(ask: Ask) -> Answer:
    number = ask.number("number")
    found = ask.store.row("select forum, title, body, author, votes, day from posts where id = ?", (number,))
    if found is None:
        return None
    name, title, body, author, votes, day = found
    comments = ask.store.rows("select author, body from comments where post = ? order by id", (number,))
    voted = ask.store.row("select 1 from votes where post = ?", (number,)) is not None
    return Page(
        f"{title} - Commons",
        [
            Heading(str(title)),
            Text(f"Posted by {author} in {name} on {day}"),
            Text(str(body)),
            Text(f"{votes} votes" + (", yours among them" if voted else "")),
            *([] if voted else [Form(f"/post/{number}/vote", "Upvote")]),
            Heading(f"{len(comments)} Comments"),
            Table(("Author", "Comment"), [(str(who), str(said)) for who, said in comments]),
            Form(f"/post/{number}/comment", "Post Comment", (Field("body", "Your comment"),)),
        ],
    )


@SITE.post("/post/{number:int}/vote")
def vote(ask: Ask) -> Answer:
    number = ask.number("number")
    if ask.store.row("select 1 from votes where post = ?", (number,)) is None:
        ask.store.rows("insert into votes values (?)", (number,))
        ask.store.rows("update posts set votes = votes + 1 where id = ?", (number,))
    return f"/post/{number}"


@SITE.post("/post/{number:int}/comment")
def comment(ask: Ask) -> Answer:
    if not (body := ask.said.get("body", "").strip()[:300]):
        return Page("Comment - Commons", [Heading("A comment needs words")])
    ask.store.rows("insert into comments (post, author, body) select id, ?, ? from posts where id = ?", (ME, body, ask.number("number")))
    return f"/post/{ask.number('number')}"


@SITE.get("/submit/{forum}")
def write(ask: Ask) -> Answer:
    name = str(ask.path["forum"])
    if ask.store.row("select 1 from forums where name = ?", (name,)) is None:
        return None
    form = Form(f"/submit/{name}", "Submit", (Field("title", "Title"), Field("body", "Text")))
    return Page(f"Submit to {name} - Commons", [Heading(f"New post in {name}"), form])


@SITE.post("/submit/{forum}")
def submit(ask: Ask) -> Answer:
    name, title = str(ask.path["forum"]), ask.said.get("title", "").strip()[:200]
    if not title:
        return Page("Submit - Commons", [Heading("A post needs a title")])
    ask.store.rows(
        "insert into posts (forum, title, body, author, votes, day) select name, ?, ?, ?, 1, '2023-01-01' from forums where name = ?",
        (title, ask.said.get("body", "").strip()[:1000], ME, name),
    )
    return f"/f/{name}?sort=new"


@SITE.get("/user/{user}")
def mine(ask: Ask) -> Answer:
    name = str(ask.path["user"])
    found = ask.store.rows("select id, title, author, votes, day from posts where author = ? order by id", (name,))
    return Page(f"{name[:40]} - Commons", [Heading(f"{len(found)} posts"), _posts(found)])


def _posts(found: list[tuple[str | int | float | None, ...]]) -> Table:
    rows = [(Link(str(title), f"/post/{number}"), str(author), f"{votes} votes", str(day)) for number, title, author, votes, day in found]
    return Table(("Post", "Author", "Votes", "Date"), rows)
