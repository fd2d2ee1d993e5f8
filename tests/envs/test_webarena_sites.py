"""WebArena on a user's sites: a task file of its own, and a browser that reaches the sites and nothing else."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from envs.webarena import WebArena, browser
from envs.webarena.success_checks import PageContent, passes
from tests.envs.webarena_pages import element_id_of, needs_browser, task_file

NEXT_LINK = "link 'Next'"


@pytest.fixture
def env() -> Iterator[WebArena]:
    environment = WebArena()
    yield environment
    environment.close()


class _PageHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"<title>Own</title><h1 id='what'>Page {self.path}</h1><a href='/next?x=1&y=2'>Next</a>".encode()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _PageHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@needs_browser
@pytest.mark.filterwarnings("ignore:Chromium shows external sites without its sandbox")
def test_a_task_file_on_external_sites(tmp_path: Path, site: str) -> None:
    page_content = {
        "url": "last",
        "locator": "document.querySelector('#what').outerText",
        "required_contents": {"must_include": ["page |OR| leaf", "/next"]},
    }
    file = task_file(
        tmp_path,
        {"eval_types": ["string_match"], "reference_answers": {"must_include": ["start"]}},
        {"eval_types": ["url_match"], "reference_url": "__SHOPPING__/next?x=1"},
        {"eval_types": ["program_html"], "program_html": [page_content]},
        {"eval_types": ["string_match"], "reference_answers": {"fuzzy_match": ["start"]}},
    )
    env = WebArena(config=file, urls={"shopping": site})
    first, _ = env.reset(options={"item_id": "webarena_0"})
    assert first.startswith(f"OBJECTIVE: Task 0\nURL: {site}/start")
    assert env.step("stop [it is the start page]")[1] == 1.0
    for item_id in ("webarena_1", "webarena_2"):
        for follows_link, reward in ((False, 0.0), (True, 1.0)):
            first, _ = env.reset(options={"item_id": item_id})
            if follows_link:
                env.step(f"click [{element_id_of(first, NEXT_LINK)}]")
            assert env.step("stop []")[1] == reward
    with pytest.raises(ValueError, match="fuzzy_match, which takes a language model"):
        env.reset(options={"item_id": "webarena_3"})
    env.close()


class _Unfinished(_PageHandler):
    """Ends the connection without a reply where the path says so."""

    def do_GET(self) -> None:
        if not self.path.startswith("/broken"):
            super().do_GET()


@needs_browser
@pytest.mark.filterwarnings("ignore:Chromium shows external sites without its sandbox")
def test_a_page_that_fails_to_load_does_not_affect_the_next_ones(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Unfinished)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    file = task_file(tmp_path, {"eval_types": ["url_match"], "reference_url": "__SHOPPING__/next"})
    env = WebArena(config=file, urls={"shopping": url})
    env.reset(options={"item_id": "webarena_0"})
    for number in range(3):
        for failing in ("broken", "broken?state=closed", "broken/page has been closed"):
            assert env.step(f"goto [{url}/{failing}]")[0] == "This page could not be opened."
        for name in ("one", "two"):
            assert f"heading 'Page /{name}{number}'" in env.step(f"goto [{url}/{name}{number}]")[0]
    env.close()
    server.shutdown()


class _FormPage:
    """The page of a browser: a form that shows the saved price when it is loaded, and then what is typed."""

    def __init__(self, url: str, saved: str, typed: str) -> None:
        self.url, self.saved, self.shown = url, saved, typed

    def goto(self, url: str) -> None:
        # As a browser does, it loads nothing if only the part after # differs.
        if "#" not in url or url.partition("#")[0] != self.url.partition("#")[0]:
            self.shown = self.saved
        self.url = url

    def evaluate(self, script: str) -> str:
        return self.shown


@pytest.mark.parametrize("fragment", ["", "#price"])
def test_a_page_is_checked_as_it_is_saved_and_not_as_it_is_shown(fragment: str) -> None:
    url = f"http://shop.test/product/7{fragment}"
    check, last = PageContent(url, "price.value", ("12.00",)), PageContent("last", "price.value", ("12.00",))
    for saved, typed, passed in (("10.00", "12.00", False), ("12.00", "10.00", True)):
        page = _FormPage(url, saved, typed)
        assert passes(last, "", page, None) == (typed == "12.00")
        assert passes(check, "", page, None) is passed


@pytest.mark.parametrize(
    ("message", "ended"),
    [
        ("Page.goto: Target page, context or browser has been closed\nCall log: navigating to http://a.test/", True),
        ("Playwright connection closed", True),
        ("Page.evaluate: Target crashed", True),
        ("Page.goto: net::ERR_FAILED at https://code.test/issues?state=closed", False),
        ("Page.goto: net::ERR_FAILED at https://code.test/it has been closed", False),
        ('Keyboard.press: Unknown key: "closed"', False),
    ],
)
def test_what_the_policy_wrote_is_no_sign_that_the_browser_has_ended(message: str, ended: bool) -> None:
    assert browser.has_ended(RuntimeError(message)) is ended


class _ManyLinks(BaseHTTPRequestHandler):
    """A page that leads to another server in every way, and counts the requests that arrive."""

    def do_GET(self) -> None:
        other, requests = self.server.other, self.server.requests  # type: ignore[attr-defined]
        requests.append(self.path)
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("location", f"{other}/redirected")
            self.end_headers()
            return
        body = f"""<title>Own</title><a href='{other}/clicked'>Other</a> <a href='/redirect'>Redirect</a>
            <a href='{other}/tab' target='_blank'>Tab</a> <a href='/second'>Second</a><img src='{other}/image'><iframe src='{other}/frame'>
            </iframe><script>fetch('{other}/fetched', {{mode: 'no-cors'}}); new WebSocket('{other}'.replace('http', 'ws'))</script>"""
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@needs_browser
@pytest.mark.filterwarnings("ignore:Chromium shows external sites without its sandbox")
def test_no_link_redirect_frame_or_script_reaches_another_address(tmp_path: Path) -> None:
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _ManyLinks) for _ in range(2)]
    for server, other in zip(servers, reversed(servers), strict=True):
        server.requests, server.other = [], f"http://localhost:{other.server_port}"  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    own, other = servers
    file = task_file(tmp_path, {"eval_types": ["url_match"], "reference_url": "__SHOPPING__/second"})
    env = WebArena(config=file, urls={"shopping": f"http://localhost:{own.server_port}"})
    for link in ("Other", "Redirect", "Tab"):
        first, _ = env.reset(options={"item_id": "webarena_0"})
        element = f"link '{link}'"
        env.step(f"click [{element_id_of(first, element)}]")
    assert "Only the sites can be opened" in env.step(f"goto [http://localhost:{other.server_port}/]")[0]
    first, _ = env.reset(options={"item_id": "webarena_0"})
    second = "link 'Second'"
    env.step(f"click [{element_id_of(first, second)}]")
    assert env.step("stop []")[1] == 1.0
    assert {"/start", "/redirect", "/second"} <= set(own.requests)  # type: ignore[attr-defined]
    assert other.requests == []  # type: ignore[attr-defined]
    env.close()
    for server in servers:
        server.shutdown()


@needs_browser
def test_pages_of_the_own_sites_reach_nothing_else_on_this_machine(env: WebArena, site: str) -> None:
    env.reset(options={"item_id": "webarena_0"})
    assert env._episode is not None
    session = env._episode.session
    script = f"() => fetch('{site}/', {{mode: 'no-cors'}}).then(() => 'reached', () => 'blocked')"
    assert env._episode.browser.call(lambda _: session.page.evaluate(script)) == "blocked"


def test_a_task_that_starts_elsewhere_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps([{"intent": "Look", "start_url": "http://other.test/", "eval": {"eval_types": []}}]))
    env = WebArena(config=tmp_path / "tasks.json", urls={"shopping": "http://shop.example"})
    with pytest.raises(ValueError if browser.missing() is None else browser.BrowserDied, match=r"on none of the sites|cannot be played"):
        env.reset(options={"item_id": "webarena_0"})
    with pytest.raises(ValueError, match=r"shopping is at 'shop\.example'"):
        WebArena(config=tmp_path / "tasks.json", urls={"shopping": "shop.example"})


class _Chromium:
    """A browser that starts with a sandbox or without one. `problem`: the error when it starts with one; empty: none."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem
        self.chromium = self

    def launch(self, *, chromium_sandbox: bool, **_: object) -> str:
        from playwright.sync_api import Error

        if chromium_sandbox and self.problem:
            raise Error(self.problem)
        return f"sandbox {chromium_sandbox}"


def test_chromium_runs_in_its_sandbox_where_the_machine_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert browser.launch_chromium(_Chromium(), ()) == ("sandbox True", None)
    chromium, reason = browser.launch_chromium(_Chromium("No usable sandbox! Update your kernel"), ())
    assert (chromium, "user namespaces" in str(reason)) == ("sandbox False", True)
    with pytest.raises(Exception, match="no such file"):
        browser.launch_chromium(_Chromium("no such file"), ())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    chromium, reason = browser.launch_chromium(_Chromium(), ())
    assert (chromium, "root" in str(reason)) == ("sandbox False", True)
