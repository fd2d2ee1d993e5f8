"""The code host: repositories, issues, merge requests, members, stars."""

from __future__ import annotations

from envs.webarena.sites.page import Field, Form, Heading, Link, Links, Page, Table, Text
from envs.webarena.sites.seed import LABELS, ME, ROLES
from envs.webarena.sites.site import Answer, Ask, Site

SITE = Site("gitlab", "code.test", "Codeyard", (Link("Projects", "/"), Link("Issues assigned to me", "/mine")))


@SITE.get("/")
def home(ask: Ask) -> Answer:
    found = ask.store.rows("select name, about, stars from repositories order by name")
    rows = [(Link(str(name), f"/{name}"), str(about), str(stars)) for name, about, stars in found]
    return Page("Projects - Codeyard", [Heading("Projects"), Table(("Project", "About", "Stars"), rows)])


@SITE.get("/mine")
def mine(ask: Ask) -> Answer:
    found = ask.store.rows(
        "select name, number, title from issues join repositories on repository = repositories.id where assignee = ? and state = 'open'",
        (ME,),
    )
    rows = [(Link(str(title), f"/{name}/issues/{number}"), str(name)) for name, number, title in found]
    return Page("My issues - Codeyard", [Heading(f"{len(rows)} issues"), Table(("Issue", "Project"), rows)])


@SITE.get("/{project}")
def project(ask: Ask) -> Answer:
    found = ask.store.row("select id, name, owner, about, stars from repositories where name = ?", (str(ask.path["project"]),))
    if found is None:
        return None
    number, name, owner, about, stars = found
    starred = ask.store.row("select 1 from starred where repository = ?", (int(number or 0),)) is not None
    return Page(
        f"{name} - Codeyard",
        [
            Heading(str(name)),
            _links(str(name)),
            Text(str(about)),
            Text(f"Owner: {owner}. Stars: {stars}" + (", yours among them" if starred else "")),
            *([] if starred else [Form(f"/{name}/star", "Star")]),
        ],
    )


@SITE.post("/{project}/star")
def star(ask: Ask) -> Answer:
    key = _key(ask)
    if key is not None and ask.store.row("select 1 from starred where repository = ?", (key,)) is None:
        ask.store.rows("insert into starred values (?)", (key,))
        ask.store.rows("update repositories set stars = stars + 1 where id = ?", (key,))
    return f"/{ask.path['project']}"


@SITE.get("/{project}/issues")
def issues(ask: Ask) -> Answer:
    key, name, state, label = _key(ask), str(ask.path["project"]), ask.said.get("state", "open"), ask.said.get("label", "")
    if key is None or state not in ("open", "closed") or label not in ("", *LABELS):
        return None
    found = ask.store.rows(
        "select number, title, label, author from issues where repository = ? and state = ? and (? = '' or label = ?) order by number",
        (key, state, label, label),
    )
    rows = [(Link(str(title), f"/{name}/issues/{number}"), str(tag), str(author)) for number, title, tag, author in found]
    filters = Links(
        (
            Link("Open", f"/{name}/issues?state=open"),
            Link("Closed", f"/{name}/issues?state=closed"),
            *(Link(f"Label {tag}", f"/{name}/issues?state={state}&label={tag}") for tag in LABELS),
            Link("New issue", f"/{name}/new-issue"),
        )
    )
    heading = Heading(f"{len(rows)} {state} issues" + (f" with label {label}" if label else ""))
    return Page(f"Issues - {name} - Codeyard", [_links(name), filters, heading, Table(("Issue", "Label", "Author"), rows)])


@SITE.get("/{project}/issues/{number:int}")
def issue(ask: Ask) -> Answer:
    found = ask.store.row(
        "select title, label, state, author, assignee from issues where repository = ? and number = ?",
        (_key(ask) or 0, ask.number("number")),
    )
    if found is None:
        return None
    title, label, state, author, assignee = found
    name, number = ask.path["project"], ask.number("number")
    button = "Close issue" if state == "open" else "Reopen issue"
    return Page(
        f"{title} - {name} - Codeyard",
        [
            _links(str(name)),
            Heading(f"{title} #{number}"),
            Text(f"State: {state}. Label: {label}"),
            Text(f"Opened by {author}, assigned to {assignee}"),
            Form(f"/{name}/issues/{number}/state", button),
            Form(f"/{name}/issues/{number}/label", "Set label", (Field("label", "Label", str(label), LABELS),)),
        ],
    )


@SITE.post("/{project}/issues/{number:int}/state")
def toggle(ask: Ask) -> Answer:
    ask.store.rows(
        "update issues set state = case state when 'open' then 'closed' else 'open' end where repository = ? and number = ?",
        (_key(ask) or 0, ask.number("number")),
    )
    return f"/{ask.path['project']}/issues/{ask.number('number')}"


@SITE.post("/{project}/issues/{number:int}/label")
def relabel(ask: Ask) -> Answer:
    if ask.said.get("label") in LABELS:
        ask.store.rows(
            "update issues set label = ? where repository = ? and number = ?", (ask.said["label"], _key(ask) or 0, ask.number("number"))
        )
    return f"/{ask.path['project']}/issues/{ask.number('number')}"


@SITE.get("/{project}/new-issue")
def write(ask: Ask) -> Answer:
    if _key(ask) is None:
        return None
    name = ask.path["project"]
    form = Form(f"/{name}/issues", "Create issue", (Field("title", "Title"), Field("label", "Label", choices=LABELS)))
    return Page(f"New issue - {name} - Codeyard", [_links(str(name)), Heading("New issue"), form])


@SITE.post("/{project}/issues")
def create(ask: Ask) -> Answer:
    key, title, label = _key(ask), ask.said.get("title", "").strip()[:200], ask.said.get("label", "question")
    if key is None or not title or label not in LABELS:
        return Page("New issue - Codeyard", [Heading("An issue needs a title")])
    ask.store.rows(
        "insert into issues (repository, number, title, label, state, author, assignee) "
        "select ?, 1 + max(number), ?, ?, 'open', ?, '' from issues where repository = ?",
        (key, title, label, ME, key),
    )
    return f"/{ask.path['project']}/issues?state=open"


@SITE.get("/{project}/merge-requests")
def merges(ask: Ask) -> Answer:
    key, name, state = _key(ask), str(ask.path["project"]), ask.said.get("state", "open")
    if key is None or state not in ("open", "merged", "closed"):
        return None
    found = ask.store.rows("select number, title, author from merges where repository = ? and state = ? order by number", (key, state))
    filters = Links(tuple(Link(one.capitalize(), f"/{name}/merge-requests?state={one}") for one in ("open", "merged", "closed")))
    rows: list[tuple[str | Link, ...]] = [(f"!{number} {title}", str(author)) for number, title, author in found]
    heading = Heading(f"{len(rows)} {state} merge requests")
    return Page(f"Merge requests - {name} - Codeyard", [_links(name), filters, heading, Table(("Merge request", "Author"), rows)])


@SITE.get("/{project}/members")
def members(ask: Ask) -> Answer:
    key, name = _key(ask), str(ask.path["project"])
    if key is None:
        return None
    found = ask.store.rows("select user, role from members where repository = ? order by user", (key,))
    form = Form(f"/{name}/members", "Invite", (Field("user", "User name"), Field("role", "Role", choices=ROLES)))
    table = Table(("User", "Role"), [(str(who), str(role)) for who, role in found])
    return Page(f"Members - {name} - Codeyard", [_links(name), Heading(f"{len(found)} members"), table, form])


@SITE.post("/{project}/members")
def invite(ask: Ask) -> Answer:
    key, user, role = _key(ask), ask.said.get("user", "").strip()[:60], ask.said.get("role")
    if key is None or not user or role not in ROLES:
        return Page("Members - Codeyard", [Heading("An invitation needs a user name and a role")])
    ask.store.rows("insert or replace into members values (?, ?, ?)", (key, user, str(role)))
    return f"/{ask.path['project']}/members"


def _key(ask: Ask) -> int | None:
    found = ask.store.row("select id from repositories where name = ?", (str(ask.path["project"]),))
    return None if found is None else int(found[0] or 0)


def _links(name: str) -> Links:
    parts = {"Project": "", "Issues": "/issues", "Merge requests": "/merge-requests", "Members": "/members"}
    return Links(tuple(Link(words, f"/{name}{path}") for words, path in parts.items()))
