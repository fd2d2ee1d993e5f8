"""The page of episodes in a real browser: filters, two policies side by side, untrusted text, and no network requests."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentevol.data.dataset import write_dataset
from agentevol.data.trajectory import Message, Trajectory
from agentevol.report.viewer.page import OUTCOMES, EpisodeGroup, outcome, write_page
from tasks.episode_page import NoEpisodesFound, write_episode_page

CHROMIUM = shutil.which("chromium")
MARKUP = "<img src=http://example.org/x onerror=\"document.title='broken'\"></script><script>document.title='broken'</script>"
EPISODES = 3000


def episode(number: int, policy: str, status: str = "finished", answer: str = "go", sample: int = 0) -> Trajectory:
    messages = [Message("user", f"Room {number}. {MARKUP}"), Message("assistant", answer, True), Message("user", "Done.")]
    success = status == "finished" and answer == "go"
    error = "the server went away" if status == "error" else None
    env = ("maze", "wordle")[number % 2]
    return Trajectory(
        f"{env}_{number}",
        env,
        f"kind {number % 3}",
        "eval",
        policy,
        "",
        0,
        sample,
        messages,
        float(success),
        success,
        1,
        status,
        error,  # type: ignore[arg-type]
    )


def groups() -> list[EpisodeGroup]:
    base = [episode(n, "bc-base", answer="stay") for n in range(EPISODES)]
    better = [episode(n, "iteration-1", answer="go" if n < 20 else "stay") for n in range(EPISODES - 2)]
    better += [episode(EPISODES - 2, "iteration-1", "error"), episode(EPISODES - 1, "iteration-1", "truncated", f"wander {MARKUP}")]
    explored = [episode(n, "bc-base", sample=n % 2) for n in range(6)]
    return [
        EpisodeGroup("BC-Base", "AgentEval", base),
        EpisodeGroup("Iteration 1", "AgentEval", better),
        EpisodeGroup("Iteration 1", "exploring", explored),
    ]


def test_every_outcome_is_in_the_list() -> None:
    outcomes = [outcome(episode(0, "p", *how)) for how in (("finished",), ("finished", "stay"), ("truncated", "stay"), ("error", "stay"))]
    assert outcomes == list(OUTCOMES)


def test_thousands_of_episodes_make_a_small_file_and_their_markup_is_not_in_it(tmp_path: Path) -> None:
    page = write_page(tmp_path / "page.html", groups(), f"Title {MARKUP}").read_text()
    assert len(page) < 400_000
    assert "<img" not in page
    assert page.count("<script") == 2


def test_a_page_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoEpisodesFound, match="nowhere"):
        write_episode_page([tmp_path / "nowhere"])
    write_dataset(tmp_path / "empty", [], {})
    with pytest.raises(NoEpisodesFound, match="no episode"):
        write_episode_page([tmp_path / "empty"], tmp_path / "page.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: `apt-get install chromium` brings it")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    file = write_page(tmp_path / "page.html", groups(), f"Episodes {MARKUP}")
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.requested_urls, page.errors = [], []
    page.on("request", lambda request: page.requested_urls.append(request.url))
    page.on("console", lambda line: page.errors.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    yield page
    assert page.requested_urls == [file.as_uri()], "nothing but the page itself"
    assert not page.errors
    assert page.title().startswith("Episodes <img"), "text stays text"
    page.close()


@pytest.mark.slow
def test_filters_by_environment_iteration_and_outcome(page: Any) -> None:
    assert count(page) == f"{EPISODES} episodes"
    assert page.locator(".row").count() < 60, "only visible rows are drawn"
    page.select_option("#outcome", "success")
    assert count(page) == f"20 of {EPISODES} episodes"
    page.select_option("#environment", "wordle")
    assert count(page) == f"10 of {EPISODES // 2} episodes"
    assert page.locator(".row b").first.inner_text() == "wordle_1"
    page.select_option("#label", "BC-Base")
    assert count(page) == f"0 of {EPISODES // 2} episodes"
    assert "No episode fits" in page.locator("#episode").inner_text()
    page.select_option("#phase", "exploring")
    page.select_option("#label", "all")
    assert count(page) == "3 episodes"
    page.select_option("#outcome", "all")
    page.select_option("#phase", "AgentEval")
    page.select_option("#environment", "all")
    page.select_option("#outcome", "error")
    assert "ended: the server went away" in page.locator("#episode").inner_text()


@pytest.mark.slow
def test_two_policies_side_by_side_and_the_keyboard(page: Any) -> None:
    page.select_option("#outcome", "gained")
    assert count(page) == f"20 of {EPISODES} episodes"
    page.focus("#list")
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    assert page.locator(".row[aria-selected=true] b").inner_text() == "maze_2"
    assert [text.strip() for text in page.locator(".message.policy pre").all_inner_texts()] == ["go", "stay"]
    assert MARKUP in page.locator(".message.environment pre").first.inner_text(), "the instruction, once for both"
    page.keyboard.press("d")
    assert page.locator(".message.turn").count() == 2
    page.keyboard.press("/")
    page.keyboard.type("maze_18")
    deadline = time.monotonic() + 20
    while count(page) != "1 episode" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert page.locator("mark").count() == 0, "found by its name"
    assert page.locator(".row b").all_inner_texts() == ["maze_18"]
    page.keyboard.press("Escape")
    page.keyboard.press("End")
    assert page.locator(".row[aria-selected=true] b").inner_text() == "wordle_19"
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert count(page) == f"20 of {EPISODES} episodes", "a link keeps its filters"
    page.requested_urls = page.requested_urls[:1]


def count(page: Any) -> str:
    return str(page.locator("#count").inner_text())
