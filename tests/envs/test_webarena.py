"""WebArena in a real browser, on the project's own sites."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import re
import signal
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from envs import make
from envs.base import InvalidAction
from envs.webarena import WebArena, browser, environment
from envs.webarena.actions import parse
from envs.webarena.browser_session import BrowserSession
from envs.webarena.sites.server import running_server
from envs.webarena.success_checks import url_matches
from envs.webarena.task_files import read_tasks
from envs.webarena.tasks.all_tasks import tasks
from tests.envs.golden import expert_episode
from tests.envs.webarena_pages import element_id_of, needs_browser, task_file
from tests.processes import command_of

KITCHEN_LINK = "link 'Kitchen'"


def task_id(start: str) -> str:
    """The item id of the first task whose intent starts with this text."""
    return f"webarena_{next(number for number, task in enumerate(tasks()) if task.intent.startswith(start))}"


@pytest.fixture
def env() -> Iterator[WebArena]:
    environment = WebArena()
    yield environment
    environment.close()


def test_the_tasks_have_webarenas_proportions() -> None:
    counts = [sum(task.site == site for task in tasks()) for site in ("shopping", "shopping_admin", "gitlab", "map", "reddit", "wikipedia")]
    assert counts == [187, 182, 180, 109, 106, 48]
    assert len({task.intent for task in tasks()}) == 812


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Thought: it is there\nAction: click [12]", "click [12]"),
        ("Let's think step-by-step. In summary, the next action I will perform is ```type [164] [lamp] [1]```", "type [164] [lamp] [1]"),
        ("Thought: done\nAction: stop [$12.34]", "stop [$12.34]"),
    ],
)
def test_both_answer_formats_are_parsed(text: str, action: str) -> None:
    assert WebArena.parse_action(text) == action
    assert parse(action) is not None


@needs_browser
def test_the_first_observation_is_that_of_a_settled_page(env: WebArena, monkeypatch: pytest.MonkeyPatch) -> None:
    settled, _ = env.reset(options={"item_id": "webarena_0"})
    observe, readings = BrowserSession.observe, itertools.count()

    def unsettled(session: BrowserSession) -> str:
        number, text = next(readings), observe(session)
        return text if number > 1 else f"{text}\n{number}"

    monkeypatch.setattr(BrowserSession, "observe", unsettled)
    assert env.reset(options={"item_id": "webarena_0"})[0] == settled


def test_two_actions_at_once_are_rejected() -> None:
    with pytest.raises(InvalidAction, match="exactly one"):
        WebArena.parse_action("```click [1]``` and ```click [2]```")


@pytest.mark.parametrize(
    "text", ["click [x]", "click 12", "type [3]", "goto []", "click [１２]", "stop it", "scroll [left]", "press [a b]"]
)
def test_an_invalid_action_is_not_parsed(text: str) -> None:
    assert parse(text) is None


@needs_browser
@pytest.mark.parametrize("start", ["Add ", "Change the status", "Close the issue", "Show the way", "Comment on", "Find out on"])
def test_the_expert_solves_a_task_on_each_site(env: WebArena, start: str) -> None:
    _, turns = expert_episode(env, task_id(start))
    assert turns[-1].reward == 1.0
    assert len(turns) <= 8


@needs_browser
def test_a_wrong_or_empty_answer_fails(env: WebArena) -> None:
    item_id = task_id("What does the ")
    for answer in ("stop [$0.00]", "stop []", "stop"):
        env.reset(options={"item_id": item_id})
        _, reward, terminated, _, info = env.step(answer)
        assert (reward, terminated, info["success"]) == (0.0, True, False)


@needs_browser
def test_episodes_do_not_see_each_others_changes(env: WebArena) -> None:
    other_env = WebArena()
    item_id = task_id("Put the ")
    other_env.reset(options={"item_id": item_id})
    _, turns = expert_episode(env, item_id)
    assert turns[-1].reward == 1.0
    assert other_env.step("goto [http://shop.test/wishes]")[0].count("link 'Alto") == 0
    assert other_env.step("stop []")[1] == 0.0
    assert "cell" not in env.reset(options={"item_id": item_id})[0].split("Categories")[1]
    assert env.step("stop []")[1] == 0.0
    other_env.close()


@needs_browser
@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://shop.test/cart?state=closed",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://127.0.0.1:80",
        "chrome://version",
        "x.test",
    ],
)
def test_only_the_sites_can_be_opened(env: WebArena, url: str) -> None:
    env.reset(options={"item_id": "webarena_0"})
    assert "Only the sites" in env.step(f"goto [{url}]")[0]
    assert env.step("goto [//[]")[0] == "That is no address."
    assert "URL: http://shop.test/cart" in env.step("goto [http://shop.test/cart]")[0]


@needs_browser
def test_tabs_history_and_element_ids(env: WebArena) -> None:
    first, _ = env.reset(options={"item_id": "webarena_0"})
    category_page = env.step(f"click [{element_id_of(first, KITCHEN_LINK)}]")[0]
    assert "URL: http://shop.test/category/Kitchen" in category_page
    assert env.step("go_forward")[0] == "There is nothing to go forward to."
    page_after_back = env.step("go_back")[0]
    assert page_after_back.split("\n")[1:] == first.split("\n")[2:], "the same page has the same element ids"
    assert env.step("go_back")[0] == "There is nothing to go back to."
    assert "Tab 1 (current)" in env.step("new_tab")[0]
    assert "Welcome to Openpedia" in env.step("goto [http://wiki.test/]")[0]
    assert "Tab 0 (current): Everyday Shop | Tab 1: Openpedia" in env.step("tab_focus [0]")[0]
    assert env.step("tab_focus [7]")[0] == "There is no tab 7."
    assert "Tab 0 (current): Openpedia" in env.step("close_tab")[0]
    assert env.step("close_tab")[0] == "The last tab stays."
    assert env.step("click [999]")[0] == "There is no [999] on this page."


@needs_browser
def test_elements_out_of_view_are_shown_only_after_scrolling(env: WebArena) -> None:
    env.reset(options={"item_id": task_id("What is the email")})
    first_view = env.step("goto [http://admin.test/customers]")[0]
    second_view = env.step("scroll [down]")[0]
    addresses = set(re.findall(r"[a-z.]+@mail\.test", first_view)), set(re.findall(r"[a-z.]+@mail\.test", second_view))
    assert all(10 < len(addresses_in_view) < 41 for addresses_in_view in addresses)
    assert len(addresses[0] | addresses[1]) == 41
    assert env.step("scroll [up]")[0] == first_view


@needs_browser
def test_typing_replaces_the_text_and_enter_submits(env: WebArena) -> None:
    first, _ = env.reset(options={"item_id": "webarena_0"})
    textbox_id = element_id_of(first, "textbox")
    env.step(f"type [{textbox_id}] [kettle] [0]")
    assert "value: 'kite'" in env.step(f"type [{textbox_id}] [kite] [0]")[0]
    assert "4 products found" in env.step("press [enter]")[0]
    assert "could not do that" in env.step("press [Nokey]")[0]
    assert "could not do that" in env.step("press [closed]")[0], "a key of this name does not mean that the browser has ended"


@needs_browser
def test_a_browser_that_dies_is_an_error_and_the_next_episode_works() -> None:
    env = WebArena()
    env.reset(options={"item_id": "webarena_0"})
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            command = command_of(process)
            if "--headless" in command and not any(part.startswith("--type=") for part in command):
                os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(browser.BrowserDied):
        env.step("scroll [down]")
    assert "OBJECTIVE" in env.reset(options={"item_id": "webarena_0"})[0]
    env.close()


class _NoBrowser:
    """In place of a browser: every session is an empty object, or cannot be opened."""

    def __init__(self) -> None:
        self.fails = False

    def call(self, function: Callable[..., object]) -> object:
        if self.fails:
            raise browser.BrowserDied("the browser ended")
        return SimpleNamespace(close=lambda: None)

    def call_later(self, function: Callable[..., object]) -> None: ...


def test_closed_episodes_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    chromium, num_databases = _NoBrowser(), len(running_server()._databases)
    monkeypatch.setattr(environment, "_shared_browser", lambda arguments: chromium)
    monkeypatch.setattr(WebArena, "missing", classmethod(lambda cls: None))
    monkeypatch.setattr(WebArena, "_count_held_checks", lambda self: 0)
    env, episodes = WebArena(), list[weakref.ref[object]]()
    for _ in range(3):
        env.begin("webarena_0")
        assert env._episode is not None
        episodes.append(weakref.ref(env._episode))
    env.close()
    gc.collect()
    assert [episode() for episode in episodes] == [None] * 3
    chromium.fails = True
    with pytest.raises(browser.BrowserDied):
        env.begin("webarena_0")
    assert len(running_server()._databases) == num_databases


def test_without_a_browser_everything_but_playing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("AGENTEVOL_CHROMIUM", raising=False)
    assert len(WebArena.instructions("explore")) == 792
    assert "Chromium" in str(WebArena.missing())
    with pytest.raises(browser.BrowserDied, match="apt-get install chromium"):
        make("webarena").reset(options={"item_id": "webarena_0"})


def test_an_invalid_task_file_is_rejected_with_the_reason(tmp_path: Path) -> None:
    file = task_file(tmp_path, {"eval_types": ["url_match"], "reference_url": "__SHOPPING__"})
    with pytest.raises(ValueError, match=r"has tasks on shopping; say where it is"):
        read_tasks(file, {})
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="is not a list of WebArena's tasks"):
        read_tasks(tmp_path / "other.json", {})


def test_urls_match_by_host_path_and_query_parameters() -> None:
    assert url_matches("http://a.test/x/?b=2&a=1", "http://a.test/x?a=1")
    assert not url_matches("http://a.test/x", "http://a.test/x?a=1")
    assert not url_matches("http://b.test/x", "http://a.test/x")
