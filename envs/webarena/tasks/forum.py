"""Tasks in the forum, and one that needs the encyclopaedia as well."""

from __future__ import annotations

import random

from envs.webarena.sites import wiki
from envs.webarena.sites.database import SiteDatabase
from envs.webarena.sites.forum import SITE
from envs.webarena.sites.initial_data import FORUMS, USERNAME
from envs.webarena.success_checks import DbQuery, StringMatch, UrlMatch
from envs.webarena.tasks.task import (
    CONTENT_AND_CONFIGURATION,
    INFORMATION_SEEKING,
    SITE_NAVIGATION,
    Goto,
    Stop,
    Task,
    Template,
    Type,
    button,
    link,
    random_row,
)

_COMMENTS = ("I had the same thought.", "Thank you, this helps.", "Which one did you take?", "Please keep us posted.", "Well said.")
_TITLES = (
    "Who comes to the spring meeting?",
    "A list for beginners",
    "What I learned last year",
    "Your favourite of 2022?",
    "Free to a good home",
)
_TEXTS = ("Write below.", "Corrections are welcome.", "I am curious.", "More in the comments.")


def count_votes(database: SiteDatabase, rng: random.Random) -> Task:
    forum, title, count = random_row(database, rng, "select forum, title, votes from posts")
    intent = f"How many votes has the post '{title}' in the forum {forum}? Answer with a number"
    return Task(SITE.name, INFORMATION_SEEKING, intent, (StringMatch((str(count),)),), (link(str(forum)), Stop(str(count))))


def author_of_top_post(database: SiteDatabase, rng: random.Random) -> Task:
    forum = rng.choice(sorted(FORUMS))
    ((author,),) = database.execute("select author from posts where forum = ? order by votes desc limit 1", (forum,))
    solution = (link(forum), link("Top"), Stop(str(author)))
    return Task(
        SITE.name,
        INFORMATION_SEEKING,
        f"Who wrote the post with most votes in the forum {forum}?",
        (StringMatch((str(author),)),),
        solution,
    )


def count_comments(database: SiteDatabase, rng: random.Random) -> Task:
    number, forum, title = random_row(database, rng, "select id, forum, title from posts")
    ((count,),) = database.execute("select count(*) from comments where post = ?", (int(number or 0),))
    intent = f"How many comments has the post '{title}' in the forum {forum}? Answer with a number"
    return Task(
        SITE.name, INFORMATION_SEEKING, intent, (StringMatch((str(count),)),), (link(str(forum)), link(str(title)), Stop(str(count)))
    )


def sort_posts(database: SiteDatabase, rng: random.Random) -> Task:
    forum, sort = rng.choice(sorted(FORUMS)), rng.choice(("top", "new"))
    order = "by votes" if sort == "top" else "by date, newest first"
    solution = (link(forum), link("Top" if sort == "top" else "Newest"), Stop())
    return Task(
        SITE.name,
        SITE_NAVIGATION,
        f"Show the posts of the forum {forum} sorted {order}",
        (UrlMatch((f"{SITE.url}/f/{forum}?sort={sort}",)),),
        solution,
    )


def open_post(database: SiteDatabase, rng: random.Random) -> Task:
    number, forum, title = random_row(database, rng, "select id, forum, title from posts")
    intent = f"Open the post '{title}' in the forum {forum}"
    return Task(
        SITE.name, SITE_NAVIGATION, intent, (UrlMatch((f"{SITE.url}/post/{number}",)),), (link(str(forum)), link(str(title)), Stop())
    )


def upvote_post(database: SiteDatabase, rng: random.Random) -> Task:
    number, forum, title = random_row(database, rng, "select id, forum, title from posts")
    checks = DbQuery("select count(*) from votes where post = ?", (int(number or 0),)), DbQuery("select count(*) from votes", ())
    solution = (link(str(forum)), link(str(title)), button("Upvote"), Stop())
    return Task(SITE.name, CONTENT_AND_CONFIGURATION, f"Upvote the post '{title}' in the forum {forum}", checks, solution)


def write_comment(database: SiteDatabase, rng: random.Random) -> Task:
    number, forum, title = random_row(database, rng, "select id, forum, title from posts")
    comment = rng.choice(_COMMENTS)
    check = DbQuery("select count(*) from comments where post = ? and author = ? and body = ?", (int(number or 0), USERNAME, comment))
    solution = (link(str(forum)), link(str(title)), Type("Your comment", comment), button("Post Comment"), Stop())
    return Task(SITE.name, CONTENT_AND_CONFIGURATION, f"Comment on the post '{title}' in the forum {forum}: {comment}", (check,), solution)


def submit_post(database: SiteDatabase, rng: random.Random) -> Task:
    forum, title, text = rng.choice(sorted(FORUMS)), rng.choice(_TITLES), rng.choice(_TEXTS)
    check = DbQuery("select count(*) from posts where forum = ? and title = ? and body = ? and author = ?", (forum, title, text, USERNAME))
    solution = (link(forum), link("Submit a post"), Type("Title", title), Type("Text", text), button("Submit"), Stop())
    return Task(
        SITE.name,
        CONTENT_AND_CONFIGURATION,
        f"Post to the forum {forum} with the title '{title}' and the text '{text}'",
        (check,),
        solution,
    )


def post_town_fact(database: SiteDatabase, rng: random.Random) -> Task:
    """A task over two sites."""
    town, founded = random_row(database, rng, "select name, founded from towns")
    forum = rng.choice(sorted(FORUMS))
    title = f"{town} was founded in {founded}"
    check = DbQuery("select count(*) from posts where forum = ? and title = ? and author = ?", (forum, title, USERNAME))
    intent = (
        f"Find out on {wiki.SITE.url} when {town} was founded, then post to the forum {forum} on {SITE.url} "
        f"with the title '{town} was founded in YEAR', the year for YEAR"
    )
    solution = (
        link("All towns"), link(str(town)), Goto(f"{SITE.url}/submit/{forum}"), Type("Title", title), button("Submit"), Stop(),
    )  # fmt: skip
    return Task(wiki.SITE.name, CONTENT_AND_CONFIGURATION, intent, (check,), solution)


TEMPLATES: dict[str, Template] = {
    "forum votes": count_votes,
    "forum upvote": upvote_post,
    "forum top": sort_posts,
    "forum comments": count_comments,
    "forum remark": write_comment,
    "forum post_page": open_post,
    "forum top_author": author_of_top_post,
    "forum submit": submit_post,
}
FORUM_AND_WIKI_TEMPLATES: dict[str, Template] = {"forum looked_up": post_town_fact}
