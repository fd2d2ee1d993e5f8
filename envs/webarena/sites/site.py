"""What a site is: a host, links that stand on all its pages, and routes to functions that answer with a page or lead to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route, Router

from envs.webarena.sites.page import Heading, Link, Page, html
from envs.webarena.sites.store import Store

_LONGEST_BODY = 20_000


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: the episode's data, the parts of the path, what a form or the address says (the last one of a name counts)."""

    store: Store
    path: Mapping[str, int | str]
    said: Mapping[str, str]

    def number(self, name: str) -> int:
        """A part of the path that is a number."""
        return int(self.path[name])

    def whole(self, name: str, lowest: int = 0, highest: int = 10_000) -> int | None:
        """What was typed, as a number within bounds, or None."""
        text = self.said.get(name, "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 9 and lowest <= int(text) <= highest else None


Answer = Page | str | None
"""A page, the address to go on to, or None: there is no such thing."""


@dataclass(slots=True)
class Site:
    """`kind` is WebArena's name of it."""

    kind: str
    host: str
    title: str
    nav: tuple[Link, ...]
    routes: list[Route] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def get(self, path: str) -> Callable[[Callable[[Ask], Answer]], Callable[[Ask], Answer]]:
        return self._route(path, "GET")

    def post(self, path: str) -> Callable[[Callable[[Ask], Answer]], Callable[[Ask], Answer]]:
        return self._route(path, "POST")

    def app(self, stores: Mapping[str, Store]) -> Router:
        """The site as a Starlette application; the header `x-episode` says whose data a request is about."""
        return Router([Route(route.path, _with(route.endpoint, self, stores), methods=route.methods) for route in self.routes])

    def _route(self, path: str, method: str) -> Callable[[Callable[[Ask], Answer]], Callable[[Ask], Answer]]:
        def add(function: Callable[[Ask], Answer]) -> Callable[[Ask], Answer]:
            self.routes.append(Route(path, function, methods=[method]))
            return function

        return add


def _with(function: Callable[[Ask], Answer], site: Site, stores: Mapping[str, Store]) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        store = stores.get(request.headers.get("x-episode", ""))
        if store is None:
            return Response("no such episode", 404)
        said = dict(request.query_params)
        if request.method == "POST":
            said |= dict(parse_qsl((await request.body())[:_LONGEST_BODY].decode("utf-8", "replace")))
        answer = function(Ask(store, request.path_params, said))
        if isinstance(answer, str):
            return RedirectResponse(answer, 303)
        found = answer is not None
        page = answer if answer is not None else Page("Not found", [Heading("There is no such page")])
        return HTMLResponse(html(page, site.title, site.nav), 200 if found else 404)

    return endpoint
