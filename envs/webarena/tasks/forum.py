"""Tasks in the forum, and one that first looks something up in the encyclopaedia."""

from __future__ import annotations

import random

from envs.webarena.checks import At, Holds, Said
from envs.webarena.sites import wiki
from envs.webarena.sites.forum import SITE
from envs.webarena.sites.seed import FORUMS, ME
from envs.webarena.sites.store import Store
from envs.webarena.tasks.task import CHANGE, NAVIGATE, SEEK, Goto, Stop, Task, Template, Type, button, link, one

_REMARKS = ("I had the same thought.", "Thank you, this helps.", "Which one did you take?", "Please keep us posted.", "Well said.")
_TITLES = (
    "Who comes to the spring meeting?",
    "A list for beginners",
    "What I learned last year",
    "Your favourite of 2022?",
    "Free to a good home",
)
_TEXTS = ("Write below.", "Corrections are welcome.", "I am curious.", "More in the comments.")


def votes(store: Store, draw: random.Random) -> Task:
    forum, title, count = one(store, draw, "select forum, title, votes from posts")
    intent = f"How many votes has the post '{title}' in the forum {forum}? Answer with a number"
    return Task(SITE.kind, SEEK, intent, (Said((str(count),)),), (link(str(forum)), Stop(str(count))))


def top_author(store: Store, draw: random.Random) -> Task:
    forum = draw.choice(sorted(FORUMS))
    ((author,),) = store.rows("select author from posts where forum = ? order by votes desc limit 1", (forum,))
    moves = (link(forum), link("Top"), Stop(str(author)))
    return Task(SITE.kind, SEEK, f"Who wrote the post with most votes in the forum {forum}?", (Said((str(author),)),), moves)


def comments(store: Store, draw: random.Random) -> Task:
    number, forum, title = one(store, draw, "select id, forum, title from posts")
    ((count,),) = store.rows("select count(*) from comments where post = ?", (int(number or 0),))
    intent = f"How many comments has the post '{title}' in the forum {forum}? Answer with a number"
    return Task(SITE.kind, SEEK, intent, (Said((str(count),)),), (link(str(forum)), link(str(title)), Stop(str(count))))


def top(store: Store, draw: random.Random) -> Task:
    forum, sort = draw.choice(sorted(FORUMS)), draw.choice(("top", "new"))
    words = "by votes" if sort == "top" else "by date, newest first"
    moves = (link(forum), link("Top" if sort == "top" else "Newest"), Stop())
    return Task(
        SITE.kind, NAVIGATE, f"Show the posts of the forum {forum} sorted {words}", (At((f"{SITE.url}/f/{forum}?sort={sort}",)),), moves
    )


def post_page(store: Store, draw: random.Random) -> Task:
    number, forum, title = one(store, draw, "select id, forum, title from posts")
    intent = f"Open the post '{title}' in the forum {forum}"
    return Task(SITE.kind, NAVIGATE, intent, (At((f"{SITE.url}/post/{number}",)),), (link(str(forum)), link(str(title)), Stop()))


def upvote(store: Store, draw: random.Random) -> Task:
    number, forum, title = one(store, draw, "select id, forum, title from posts")
    checks = Holds("select count(*) from votes where post = ?", (int(number or 0),)), Holds("select count(*) from votes", ())
    moves = (link(str(forum)), link(str(title)), button("Upvote"), Stop())
    return Task(SITE.kind, CHANGE, f"Upvote the post '{title}' in the forum {forum}", checks, moves)


def remark(store: Store, draw: random.Random) -> Task:
    number, forum, title = one(store, draw, "select id, forum, title from posts")
    said = draw.choice(_REMARKS)
    check = Holds("select count(*) from comments where post = ? and author = ? and body = ?", (int(number or 0), ME, said))
    moves = (link(str(forum)), link(str(title)), Type("Your comment", said), button("Post Comment"), Stop())
    return Task(SITE.kind, CHANGE, f"Comment on the post '{title}' in the forum {forum}: {said}", (check,), moves)


def submit(store: Store, draw: random.Random) -> Task:
    forum, title, text = draw.choice(sorted(FORUMS)), draw.choice(_TITLES), draw.choice(_TEXTS)
    check = Holds("select count(*) from posts where forum = ? and title = ? and body = ? and author = ?", (forum, title, text, ME))
    moves = (link(forum), link("Submit a post"), Type("Title", title), Type("Text", text), button("Submit"), Stop())
    return Task(SITE.kind, CHANGE, f"Post to the forum {forum} with the title '{title}' and the text '{text}'", (check,), moves)


def looked_up(store: Store, draw: random.Random) -> Task:
    """Over two sites."""
    town, founded = one(store, draw, "select name, founded from towns")
    forum = draw.choice(sorted(FORUMS))
    title = f"{town} was founded in {founded}"
    check = Holds("select count(*) from posts where forum = ? and title = ? and author = ?", (forum, title, ME))
    intent = (
        f"Find out on {wiki.SITE.url} when {town} was founded, then post to the forum {forum} on {SITE.url} "
        f"with the title '{town} was founded in YEAR', the year for YEAR"
    )
    moves = (
        link("All towns"), link(str(town)), Goto(f"{SITE.url}/submit/{forum}"), Type("Title", title), button("Submit"), Stop(),
    )  # fmt: skip
    return Task(wiki.SITE.kind, CHANGE, intent, (check,), moves)


TEMPLATES: tuple[Template, ...] = (votes, upvote, top, comments, remark, post_page, top_author, submit)
