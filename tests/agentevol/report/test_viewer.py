"""The page of episodes in a real browser: filters, two policies side by side, untrusted text, and no network requests."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentevol.data.dataset import write_dataset
from agentevol.data.trajectory import Message, Trajectory
from agentevol.report.viewer.page import OUTCOMES, EpisodeGroup, ending, outcome, write_page
from envs.textcraft.environment import TextCraft
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


def test_every_end_that_is_no_success_and_no_plain_failure_has_a_reason() -> None:
    cut = episode(0, "p", "truncated", "stay")
    assert ending(cut) == ("rounds", "the limit of 1 round was reached")
    cut.error = "the context of 9 tokens is full"
    assert ending(cut) == ("context", cut.error)
    assert ending(episode(0, "p", "error")) == ("", "the server went away")
    assert ending(episode(0, "p")) == ending(episode(0, "p", answer="stay")) == ("", "")


def test_the_goals_are_those_of_the_environments(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", [replace(episode(0, "p"), item_id="textcraft_31", env="textcraft", progress=0.25)], {})
    page = write_episode_page([tmp_path / "set"], tmp_path / "page.html").read_text()
    data = json.loads(gzip.decompress(base64.b64decode(re.search(r'id="data">([^<]+)<', page)[1])))
    assert data["goals"] == {"textcraft_31": TextCraft.instruction("textcraft_31").text}
    assert 0.25 in data["episodes"][0]


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
    goals = {f"{('maze', 'wordle')[n % 2]}_{n}": f"Reach room {n}. {MARKUP}" for n in range(EPISODES)}
    file = write_page(tmp_path / "page.html", groups(), f"Episodes {MARKUP}", goals)
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
    assert "error: the server went away" in page.locator("#episode").inner_text()


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


@pytest.mark.slow
def test_the_goal_and_the_reason_of_an_end_are_shown_at_once(page: Any) -> None:
    page.select_option("#outcome", "truncated")
    assert page.locator(".head .goal").first.inner_text().startswith(f"Goal: Reach room {EPISODES - 1}.")
    assert page.locator(".goal").first.is_visible()
    assert "truncated: the limit of 1 round was reached" in page.locator("#episode").inner_text()
    assert "truncated (rounds)" in page.locator(".row span").first.inner_text()


@pytest.mark.slow
def test_words_that_differ_are_highlighted_on_both_sides(page: Any) -> None:
    page.select_option("#outcome", "gained")
    assert page.locator(".message.policy .differs").all_inner_texts() == ["go", "stay"]
    assert page.locator(".message.same .differs").count() == 0
    words = page.evaluate("differingWords('take the red ball now', 'take the blue box now')")
    assert [[part for part in side if part[1]] for side in words] == [[["red ball ", True]], [["blue box ", True]]]
    assert ["".join(part[0] for part in side) for side in words] == ["take the red ball now", "take the blue box now"]
    assert page.evaluate("differingWords('a '.repeat(5000), 'b '.repeat(5000))") == [], "too long to compare"


@pytest.mark.slow
def test_a_link_keeps_the_episode(page: Any) -> None:
    page.select_option("#outcome", "gained")
    page.focus("#list")
    for _ in range(3):
        page.keyboard.press("j")
    selected = page.locator(".row[aria-selected=true] b").inner_text()
    assert selected == "wordle_3"
    link = page.url
    page.keyboard.press("j")
    assert page.url != link
    page.evaluate(f"location.hash = {link.partition('#')[2]!r}")
    page.wait_for_function("document.querySelector('.row[aria-selected=true] b').textContent === 'wordle_3'")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.locator(".row[aria-selected=true] b").inner_text() == "wordle_3"
    assert page.locator(".head strong").first.inner_text() == "wordle_3"
    page.requested_urls = page.requested_urls[:1]


@pytest.mark.slow
def test_a_link_keeps_filters_that_show_everything(page: Any) -> None:
    for select in ("#phase", "#label"):
        page.select_option(select, "all")
    listed = page.locator("#count").inner_text()
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("body[data-ready]")
    assert [page.locator(select).input_value() for select in ("#phase", "#label")] == ["all", "all"]
    assert page.locator("#count").inner_text() == listed
    page.requested_urls = page.requested_urls[:1]


@pytest.mark.slow
def test_on_a_phone_the_list_is_above_the_episode_and_nothing_is_cut_off(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    boxes = [page.locator(name).bounding_box() for name in ("#list", "#episode")]
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"] + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def count(page: Any) -> str:
    return str(page.locator("#count").inner_text())
