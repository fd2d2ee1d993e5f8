"""Tasks on the code hosting site."""

from __future__ import annotations

import random

from envs.webarena.sites.code_hosting import SITE
from envs.webarena.sites.database import SiteDatabase
from envs.webarena.sites.initial_data import FIRST_NAMES, LABELS, LAST_NAMES, REPOSITORIES, ROLES, USERNAME, username
from envs.webarena.success_checks import DbQuery, StringMatch, UrlMatch
from envs.webarena.tasks.task import (
    CONTENT_AND_CONFIGURATION,
    INFORMATION_SEEKING,
    SITE_NAVIGATION,
    Stop,
    Task,
    Template,
    Type,
    button,
    link,
    radio,
    random_row,
)

_TITLES = (
    "The manual has a broken link", "Support for dark screens", "Tests fail on a fresh clone", "Please add an example",
    "Typo on the first page", "Release the next version", "Memory grows over night", "Say which versions are supported",
)  # fmt: skip


def issue_author(database: SiteDatabase, rng: random.Random) -> Task:
    project, title, user = random_row(
        database, rng, "select name, title, author from issues join repositories on repository = repositories.id where state = 'open'"
    )
    solution = (link(str(project)), link("Issues"), Stop(str(user)))
    return Task(
        SITE.name, INFORMATION_SEEKING, f"Who opened the issue '{title}' of the project {project}?", (StringMatch((str(user),)),), solution
    )


def issue_assignee(database: SiteDatabase, rng: random.Random) -> Task:
    project, title, user = random_row(
        database, rng, "select name, title, assignee from issues join repositories on repository = repositories.id where state = 'open'"
    )
    solution = (link(str(project)), link("Issues"), link(str(title)), Stop(str(user)))
    return Task(
        SITE.name,
        INFORMATION_SEEKING,
        f"To whom is the issue '{title}' of the project {project} assigned?",
        (StringMatch((str(user),)),),
        solution,
    )


def count_open_issues(database: SiteDatabase, rng: random.Random) -> Task:
    project_id, project = random_row(database, rng, "select id, name from repositories")
    label = rng.choice(LABELS)
    ((count,),) = database.execute(
        "select count(*) from issues where repository = ? and state = 'open' and label = ?", (int(project_id or 0), label)
    )
    solution = (link(str(project)), link("Issues"), link(f"Label {label}"), Stop(str(count)))
    intent = f"How many open issues with the label {label} has the project {project}? Answer with a number"
    return Task(SITE.name, INFORMATION_SEEKING, intent, (StringMatch((str(count),)),), solution)


def member_role(database: SiteDatabase, rng: random.Random) -> Task:
    project, user, role = random_row(
        database, rng, "select name, user, role from members join repositories on repository = repositories.id"
    )
    solution = (link(str(project)), link("Members"), Stop(str(role)))
    return Task(SITE.name, INFORMATION_SEEKING, f"Which role has {user} in the project {project}?", (StringMatch((str(role),)),), solution)


def list_merge_requests(database: SiteDatabase, rng: random.Random) -> Task:
    project, state = rng.choice(sorted(REPOSITORIES)), rng.choice(("open", "merged", "closed"))
    solution = (link(project), link("Merge requests"), link(state.capitalize()), Stop())
    url = f"{SITE.url}/{project}/merge-requests?state={state}"
    return Task(SITE.name, SITE_NAVIGATION, f"List the {state} merge requests of the project {project}", (UrlMatch((url,)),), solution)


def list_issues(database: SiteDatabase, rng: random.Random) -> Task:
    project, state, label = rng.choice(sorted(REPOSITORIES)), rng.choice(("open", "closed")), rng.choice(LABELS)
    solution = (link(project), link("Issues"), *((link("Closed"),) if state == "closed" else ()), link(f"Label {label}"), Stop())
    url = f"{SITE.url}/{project}/issues?state={state}&label={label}"
    return Task(
        SITE.name,
        SITE_NAVIGATION,
        f"List the {state} issues of the project {project} with the label {label}",
        (UrlMatch((url,)),),
        solution,
    )


def close_issue(database: SiteDatabase, rng: random.Random) -> Task:
    project_id, project, number, title = random_row(
        database,
        rng,
        "select repository, name, number, title from issues join repositories on repository = repositories.id where state = 'open'",
    )
    check = DbQuery(
        "select count(*) from issues where repository = ? and number = ? and state = 'closed'", (int(project_id or 0), int(number or 0))
    )
    solution = (link(str(project)), link("Issues"), link(str(title)), button("Close issue"), Stop())
    return Task(SITE.name, CONTENT_AND_CONFIGURATION, f"Close the issue '{title}' of the project {project}", (check,), solution)


def create_issue(database: SiteDatabase, rng: random.Random) -> Task:
    project_id, project = random_row(database, rng, "select id, name from repositories")
    title, label = rng.choice(_TITLES), rng.choice(LABELS)
    check = DbQuery(
        "select count(*) from issues where repository = ? and title = ? and label = ? and author = ?",
        (int(project_id or 0), title, label, USERNAME),
    )
    solution = (
        link(str(project)), link("Issues"), link("New issue"), Type("Title", title), radio(label), button("Create issue"), Stop(),
    )  # fmt: skip
    return Task(
        SITE.name, CONTENT_AND_CONFIGURATION, f"Open an issue '{title}' with the label {label} in the project {project}", (check,), solution
    )


def invite_member(database: SiteDatabase, rng: random.Random) -> Task:
    project_id, project = random_row(database, rng, "select id, name from repositories")
    user, role = username(f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"), rng.choice(ROLES)
    check = DbQuery("select count(*) from members where repository = ? and user = ? and role = ?", (int(project_id or 0), user, role))
    solution = (link(str(project)), link("Members"), Type("User name", user), radio(role), button("Invite"), Stop())
    return Task(SITE.name, CONTENT_AND_CONFIGURATION, f"Invite {user} to the project {project} as {role}", (check,), solution)


def star_project(database: SiteDatabase, rng: random.Random) -> Task:
    project_id, project = random_row(database, rng, "select id, name from repositories")
    checks = (
        DbQuery("select count(*) from starred where repository = ?", (int(project_id or 0),)),
        DbQuery("select count(*) from starred", ()),
    )
    return Task(SITE.name, CONTENT_AND_CONFIGURATION, f"Star the project {project}", checks, (link(str(project)), button("Star"), Stop()))


TEMPLATES: dict[str, Template] = {
    "code author": issue_author,
    "code close": close_issue,
    "code merge_list": list_merge_requests,
    "code open_issues": count_open_issues,
    "code create": create_issue,
    "code issue_list": list_issues,
    "code role": member_role,
    "code invite": invite_member,
    "code assignee": issue_assignee,
    "code star": star_project,
}
