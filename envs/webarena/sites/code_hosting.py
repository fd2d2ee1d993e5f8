"""The code hosting site: repositories, issues, merge requests, members, stars."""

from __future__ import annotations

from envs.webarena.sites.initial_data import LABELS, ROLES, USERNAME
from envs.webarena.sites.page import Field, Form, Heading, Link, Links, Page, Table, Text
from envs.webarena.sites.site import Site, SiteRequest, SiteResponse

SITE = Site("gitlab", "code.test", "Codeyard", (Link("Projects", "/"), Link("Issues assigned to me", "/mine")))


@SITE.get("/")
def projects_page(request: SiteRequest) -> SiteResponse:
    records = request.database.execute("select name, about, stars from repositories order by name")
    rows = [(Link(str(name), f"/{name}"), str(about), str(stars)) for name, about, stars in records]
    return Page("Projects - Codeyard", [Heading("Projects"), Table(("Project", "About", "Stars"), rows)])


@SITE.get("/mine")
def assigned_issues_page(request: SiteRequest) -> SiteResponse:
    records = request.database.execute(
        "select name, number, title from issues join repositories on repository = repositories.id where assignee = ? and state = 'open'",
        (USERNAME,),
    )
    rows = [(Link(str(title), f"/{name}/issues/{number}"), str(name)) for name, number, title in records]
    return Page("My issues - Codeyard", [Heading(f"{len(rows)} issues"), Table(("Issue", "Project"), rows)])


@SITE.get("/{project}")
def project_page(request: SiteRequest) -> SiteResponse:
    record = request.database.first_row(
        "select id, name, owner, about, stars from repositories where name = ?", (str(request.path_params["project"]),)
    )
    if record is None:
        return None
    number, name, owner, about, stars = record
    starred = request.database.first_row("select 1 from starred where repository = ?", (int(number or 0),)) is not None
    return Page(
        f"{name} - Codeyard",
        [
            Heading(str(name)),
            _project_links(str(name)),
            Text(str(about)),
            Text(f"Owner: {owner}. Stars: {stars}" + (", yours among them" if starred else "")),
            *([] if starred else [Form(f"/{name}/star", "Star")]),
        ],
    )


@SITE.post("/{project}/star")
def star_project(request: SiteRequest) -> SiteResponse:
    project_id = _project_id(request)
    if project_id is not None and request.database.first_row("select 1 from starred where repository = ?", (project_id,)) is None:
        request.database.execute("insert into starred values (?)", (project_id,))
        request.database.execute("update repositories set stars = stars + 1 where id = ?", (project_id,))
    return f"/{request.path_params['project']}"


@SITE.get("/{project}/issues")
def issues_page(request: SiteRequest) -> SiteResponse:
    project_id, name = _project_id(request), str(request.path_params["project"])
    state, label = request.params.get("state", "open"), request.params.get("label", "")
    if project_id is None or state not in ("open", "closed") or label not in ("", *LABELS):
        return None
    records = request.database.execute(
        "select number, title, label, author from issues where repository = ? and state = ? and (? = '' or label = ?) order by number",
        (project_id, state, label, label),
    )
    rows = [(Link(str(title), f"/{name}/issues/{number}"), str(issue_label), str(author)) for number, title, issue_label, author in records]
    filters = Links(
        (
            Link("Open", f"/{name}/issues?state=open"),
            Link("Closed", f"/{name}/issues?state=closed"),
            *(Link(f"Label {issue_label}", f"/{name}/issues?state={state}&label={issue_label}") for issue_label in LABELS),
            Link("New issue", f"/{name}/new-issue"),
        )
    )
    heading = Heading(f"{len(rows)} {state} issues" + (f" with label {label}" if label else ""))
    return Page(f"Issues - {name} - Codeyard", [_project_links(name), filters, heading, Table(("Issue", "Label", "Author"), rows)])


@SITE.get("/{project}/issues/{number:int}")
def issue_page(request: SiteRequest) -> SiteResponse:
    record = request.database.first_row(
        "select title, label, state, author, assignee from issues where repository = ? and number = ?",
        (_project_id(request) or 0, request.path_number("number")),
    )
    if record is None:
        return None
    title, label, state, author, assignee = record
    name, number = request.path_params["project"], request.path_number("number")
    button = "Close issue" if state == "open" else "Reopen issue"
    return Page(
        f"{title} - {name} - Codeyard",
        [
            _project_links(str(name)),
            Heading(f"{title} #{number}"),
            Text(f"State: {state}. Label: {label}"),
            Text(f"Opened by {author}, assigned to {assignee}"),
            Form(f"/{name}/issues/{number}/state", button),
            Form(f"/{name}/issues/{number}/label", "Set label", (Field("label", "Label", str(label), LABELS),)),
        ],
    )


@SITE.post("/{project}/issues/{number:int}/state")
def toggle_issue_state(request: SiteRequest) -> SiteResponse:
    request.database.execute(
        "update issues set state = case state when 'open' then 'closed' else 'open' end where repository = ? and number = ?",
        (_project_id(request) or 0, request.path_number("number")),
    )
    return f"/{request.path_params['project']}/issues/{request.path_number('number')}"


@SITE.post("/{project}/issues/{number:int}/label")
def set_issue_label(request: SiteRequest) -> SiteResponse:
    if request.params.get("label") in LABELS:
        request.database.execute(
            "update issues set label = ? where repository = ? and number = ?",
            (request.params["label"], _project_id(request) or 0, request.path_number("number")),
        )
    return f"/{request.path_params['project']}/issues/{request.path_number('number')}"


@SITE.get("/{project}/new-issue")
def new_issue_page(request: SiteRequest) -> SiteResponse:
    if _project_id(request) is None:
        return None
    name = request.path_params["project"]
    form = Form(f"/{name}/issues", "Create issue", (Field("title", "Title"), Field("label", "Label", choices=LABELS)))
    return Page(f"New issue - {name} - Codeyard", [_project_links(str(name)), Heading("New issue"), form])


@SITE.post("/{project}/issues")
def create_issue(request: SiteRequest) -> SiteResponse:
    project_id, title, label = _project_id(request), request.params.get("title", "").strip()[:200], request.params.get("label", "question")
    if project_id is None or not title or label not in LABELS:
        return Page("New issue - Codeyard", [Heading("An issue needs a title")])
    request.database.execute(
        "insert into issues (repository, number, title, label, state, author, assignee) "
        "select ?, 1 + max(number), ?, ?, 'open', ?, '' from issues where repository = ?",
        (project_id, title, label, USERNAME, project_id),
    )
    return f"/{request.path_params['project']}/issues?state=open"


@SITE.get("/{project}/merge-requests")
def merge_requests_page(request: SiteRequest) -> SiteResponse:
    project_id, name, state = _project_id(request), str(request.path_params["project"]), request.params.get("state", "open")
    if project_id is None or state not in ("open", "merged", "closed"):
        return None
    records = request.database.execute(
        "select number, title, author from merges where repository = ? and state = ? order by number", (project_id, state)
    )
    filters = Links(tuple(Link(choice.capitalize(), f"/{name}/merge-requests?state={choice}") for choice in ("open", "merged", "closed")))
    rows: list[tuple[str | Link, ...]] = [(f"!{number} {title}", str(author)) for number, title, author in records]
    heading = Heading(f"{len(rows)} {state} merge requests")
    return Page(f"Merge requests - {name} - Codeyard", [_project_links(name), filters, heading, Table(("Merge request", "Author"), rows)])


@SITE.get("/{project}/members")
def members_page(request: SiteRequest) -> SiteResponse:
    project_id, name = _project_id(request), str(request.path_params["project"])
    if project_id is None:
        return None
    records = request.database.execute("select user, role from members where repository = ? order by user", (project_id,))
    form = Form(f"/{name}/members", "Invite", (Field("user", "User name"), Field("role", "Role", choices=ROLES)))
    table = Table(("User", "Role"), [(str(user), str(role)) for user, role in records])
    return Page(f"Members - {name} - Codeyard", [_project_links(name), Heading(f"{len(records)} members"), table, form])


@SITE.post("/{project}/members")
def invite_member(request: SiteRequest) -> SiteResponse:
    project_id, user, role = _project_id(request), request.params.get("user", "").strip()[:60], request.params.get("role")
    if project_id is None or not user or role not in ROLES:
        return Page("Members - Codeyard", [Heading("An invitation needs a user name and a role")])
    request.database.execute("insert or replace into members values (?, ?, ?)", (project_id, user, str(role)))
    return f"/{request.path_params['project']}/members"


def _project_id(request: SiteRequest) -> int | None:
    record = request.database.first_row("select id from repositories where name = ?", (str(request.path_params["project"]),))
    return None if record is None else int(record[0] or 0)


def _project_links(name: str) -> Links:
    paths = {"Project": "", "Issues": "/issues", "Merge requests": "/merge-requests", "Members": "/members"}
    return Links(tuple(Link(label, f"/{name}{path}") for label, path in paths.items()))
