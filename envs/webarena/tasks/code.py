"""Tasks on the code host."""

from __future__ import annotations

import random

from envs.webarena.checks import At, Holds, Said
from envs.webarena.sites.code import SITE
from envs.webarena.sites.seed import FIRST, LABELS, LAST, ME, REPOSITORIES, ROLES, user
from envs.webarena.sites.store import Store
from envs.webarena.tasks.task import CHANGE, NAVIGATE, SEEK, Stop, Task, Template, Type, button, link, one, radio

_TITLES = (
    "The manual has a broken link", "Support for dark screens", "Tests fail on a fresh clone", "Please add an example",
    "Typo on the first page", "Release the next version", "Memory grows over night", "Say which versions are supported",
)  # fmt: skip


def author(store: Store, draw: random.Random) -> Task:
    project, title, who = one(
        store, draw, "select name, title, author from issues join repositories on repository = repositories.id where state = 'open'"
    )
    moves = (link(str(project)), link("Issues"), Stop(str(who)))
    return Task(SITE.kind, SEEK, f"Who opened the issue '{title}' of the project {project}?", (Said((str(who),)),), moves)


def assignee(store: Store, draw: random.Random) -> Task:
    project, title, who = one(
        store, draw, "select name, title, assignee from issues join repositories on repository = repositories.id where state = 'open'"
    )
    moves = (link(str(project)), link("Issues"), link(str(title)), Stop(str(who)))
    return Task(SITE.kind, SEEK, f"To whom is the issue '{title}' of the project {project} assigned?", (Said((str(who),)),), moves)


def open_issues(store: Store, draw: random.Random) -> Task:
    key, project = one(store, draw, "select id, name from repositories")
    label = draw.choice(LABELS)
    ((count,),) = store.rows("select count(*) from issues where repository = ? and state = 'open' and label = ?", (int(key or 0), label))
    moves = (link(str(project)), link("Issues"), link(f"Label {label}"), Stop(str(count)))
    intent = f"How many open issues with the label {label} has the project {project}? Answer with a number"
    return Task(SITE.kind, SEEK, intent, (Said((str(count),)),), moves)


def role(store: Store, draw: random.Random) -> Task:
    project, who, part = one(store, draw, "select name, user, role from members join repositories on repository = repositories.id")
    moves = (link(str(project)), link("Members"), Stop(str(part)))
    return Task(SITE.kind, SEEK, f"Which role has {who} in the project {project}?", (Said((str(part),)),), moves)


def merge_list(store: Store, draw: random.Random) -> Task:
    project, state = draw.choice(sorted(REPOSITORIES)), draw.choice(("open", "merged", "closed"))
    moves = (link(project), link("Merge requests"), link(state.capitalize()), Stop())
    url = f"{SITE.url}/{project}/merge-requests?state={state}"
    return Task(SITE.kind, NAVIGATE, f"List the {state} merge requests of the project {project}", (At((url,)),), moves)


def issue_list(store: Store, draw: random.Random) -> Task:
    project, state, label = draw.choice(sorted(REPOSITORIES)), draw.choice(("open", "closed")), draw.choice(LABELS)
    moves = (link(project), link("Issues"), *((link("Closed"),) if state == "closed" else ()), link(f"Label {label}"), Stop())
    url = f"{SITE.url}/{project}/issues?state={state}&label={label}"
    return Task(SITE.kind, NAVIGATE, f"List the {state} issues of the project {project} with the label {label}", (At((url,)),), moves)


def close(store: Store, draw: random.Random) -> Task:
    key, project, number, title = one(
        store,
        draw,
        "select repository, name, number, title from issues join repositories on repository = repositories.id where state = 'open'",
    )
    check = Holds("select count(*) from issues where repository = ? and number = ? and state = 'closed'", (int(key or 0), int(number or 0)))
    moves = (link(str(project)), link("Issues"), link(str(title)), button("Close issue"), Stop())
    return Task(SITE.kind, CHANGE, f"Close the issue '{title}' of the project {project}", (check,), moves)


def create(store: Store, draw: random.Random) -> Task:
    key, project = one(store, draw, "select id, name from repositories")
    title, label = draw.choice(_TITLES), draw.choice(LABELS)
    check = Holds(
        "select count(*) from issues where repository = ? and title = ? and label = ? and author = ?", (int(key or 0), title, label, ME)
    )
    moves = (
        link(str(project)), link("Issues"), link("New issue"), Type("Title", title), radio(label), button("Create issue"), Stop(),
    )  # fmt: skip
    return Task(SITE.kind, CHANGE, f"Open an issue '{title}' with the label {label} in the project {project}", (check,), moves)


def invite(store: Store, draw: random.Random) -> Task:
    key, project = one(store, draw, "select id, name from repositories")
    who, part = user(f"{draw.choice(FIRST)} {draw.choice(LAST)}"), draw.choice(ROLES)
    check = Holds("select count(*) from members where repository = ? and user = ? and role = ?", (int(key or 0), who, part))
    moves = (link(str(project)), link("Members"), Type("User name", who), radio(part), button("Invite"), Stop())
    return Task(SITE.kind, CHANGE, f"Invite {who} to the project {project} as {part}", (check,), moves)


def star(store: Store, draw: random.Random) -> Task:
    key, project = one(store, draw, "select id, name from repositories")
    checks = Holds("select count(*) from starred where repository = ?", (int(key or 0),)), Holds("select count(*) from starred", ())
    return Task(SITE.kind, CHANGE, f"Star the project {project}", checks, (link(str(project)), button("Star"), Stop()))


TEMPLATES: tuple[Template, ...] = (author, close, merge_list, open_issues, create, issue_list, role, invite, assignee, star)
