"""A web site: a host, navigation links, and routes to functions that answer a request with a page or a redirect.

Invariant: a request reads and changes the database of the episode that its header `x-episode` names, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route, Router

from envs.webarena.sites.database import SiteDatabase
from envs.webarena.sites.page import Heading, Link, Page, render_html

_MAX_BODY_BYTES = 20_000


@dataclass(frozen=True, slots=True)
class SiteRequest:
    """`database`: the episode's; `path_params`: parts of the path; `params`: query and form parameters (the last one of a name)."""

    database: SiteDatabase
    path_params: Mapping[str, int | str]
    params: Mapping[str, str]

    def path_number(self, name: str) -> int:
        """A path parameter as a number."""
        return int(self.path_params[name])

    def param_as_int(self, name: str, lowest: int = 0, highest: int = 10_000) -> int | None:
        """A query or form parameter as a number, or None if it is none within the bounds."""
        text = self.params.get(name, "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 9 and lowest <= int(text) <= highest else None


SiteResponse = Page | str | None
"""A page, the address of a redirect, or None for 404."""
Handler = Callable[[SiteRequest], SiteResponse]


@dataclass(slots=True)
class Site:
    """`name`: WebArena's name of the site; `nav`: the links at the top of every page."""

    name: str
    host: str
    title: str
    nav: tuple[Link, ...]
    routes: list[Route] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def get(self, path: str) -> Callable[[Handler], Handler]:
        return self._route(path, "GET")

    def post(self, path: str) -> Callable[[Handler], Handler]:
        return self._route(path, "POST")

    def app(self, databases: Mapping[str, SiteDatabase]) -> Router:
        """The site as a Starlette application. `databases`: by the value of the header `x-episode`."""
        return Router([Route(route.path, _endpoint(route.endpoint, self, databases), methods=route.methods) for route in self.routes])

    def _route(self, path: str, method: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.routes.append(Route(path, handler, methods=[method]))
            return handler

        return register


def _endpoint(handler: Handler, site: Site, databases: Mapping[str, SiteDatabase]) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        database = databases.get(request.headers.get("x-episode", ""))
        if database is None:
            return Response("no such episode", 404)
        params = dict(request.query_params)
        if request.method == "POST":
            params |= dict(parse_qsl((await request.body())[:_MAX_BODY_BYTES].decode("utf-8", "replace")))
        response = handler(SiteRequest(database, request.path_params, params))
        if isinstance(response, str):
            return RedirectResponse(response, 303)
        page = response if response is not None else Page("Not found", [Heading("There is no such page")])
        return HTMLResponse(render_html(page, site.title, site.nav), 200 if response is not None else 404)

    return endpoint
