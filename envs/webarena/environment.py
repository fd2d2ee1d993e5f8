"""WebArena: tasks on web sites, in a real browser.

Invariant: an episode depends on its task alone; it has a browser context and a copy of the sites' data of its own.
"""

from __future__ import annotations

import re
import warnings
import weakref
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from envs.base import ActionForm, Expert, ExpertStuck, Instruction, Sizes, TextEnv, UnknownItem, split_off_eval
from envs.functions import Function
from envs.webarena import actions, browser
from envs.webarena.browser import Browser, BrowserDied
from envs.webarena.browser_session import ActionNotPossible, BrowserSession
from envs.webarena.expert import WebArenaExpert
from envs.webarena.site_proxy import address_of, running_proxy
from envs.webarena.sites.all_sites import SITES
from envs.webarena.sites.database import SiteDatabase
from envs.webarena.sites.server import running_server
from envs.webarena.success_checks import Check, count_passed, holds_so_far
from envs.webarena.task_files import ExternalTask, read_tasks
from envs.webarena.tasks.all_tasks import tasks
from envs.webarena.tasks.task import TASK_TYPES

_ITEM_ID = re.compile(r"webarena_(0|[1-9][0-9]{0,8})")
_CHROMIUM_FLAGS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
)
_PROXY_FLAGS = (
    "--proxy-bypass-list=<-loopback>",  # by default, Chromium does not use a proxy for this machine
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the proxy resolves names
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
)


class WebArena(TextEnv):
    """Tasks on web sites after WebArena (arXiv 2307.13854), as AgentGym serves it: real pages in a real Chromium.

    Observation: the URL, the tabs and the visible part of the page's accessibility tree, with an id for each element; the first one starts
    with the task. Actions: `click [12]`, `type [7] [words] [1]` (1: press Enter afterwards), `hover [12]`, `press [ctrl+a]`,
    `scroll [down]`, `goto [url]`, `go_back`, `go_forward`, `new_tab`, `tab_focus [0]`, `close_tab`, `stop [answer]`. Reward: at `stop`, 1
    if all checks of the task pass (the answer, the open page, the sites' data), else 0. Progress: the share of the checks that hold. At
    most 25 rounds. Task types: WebArena's three kinds of intents. Instructions: 812 from templates over six sites written for this project
    (shop, its administration, forum, code hosting, map, encyclopaedia) on loopback, in the proportions of WebArena's kinds of sites, 20 of
    them eval; as in the paper, there are no expert trajectories. `WebArena(config=path, urls={"shopping": ...})` plays WebArena's own tasks
    on external sites. Requires Playwright (the extra `webarena`) and Chromium.

    Differences from AgentGym's environment:
    - The sites are small and written for this project: WebArena's are images of many gigabytes. Every episode starts with the same data.
    - No language model judges an answer: the answers are words and numbers that a page shows.
    - The page is read when it has loaded; in AgentGym, 1.5 seconds after every action.
    - Element ids follow the order of the page; in AgentGym, they are the browser's and differ between runs.
    - `type` replaces the content of the field; in AgentGym, it appends to it.
    """

    name: ClassVar[str] = "webarena"
    version: ClassVar[int] = 2
    task_types: ClassVar[tuple[str, ...]] = TASK_TYPES
    sizes: ClassVar[Sizes] = Sizes(instructions=812, eval=20, agent_traj=0, agent_traj_l=0)
    max_rounds: ClassVar[int] = 25
    slow: ClassVar[bool] = True
    functions: ClassVar[tuple[Function, ...]] = actions.FUNCTIONS
    action_form: ClassVar[ActionForm] = ActionForm(fenced=True)  # AgentGym's policies write the action between ``` and ```
    prompt: ClassVar[str] = (
        "Do the task on the web sites. You see the part of the page in view as a list of elements with numbers. Actions:\n"
        "click [id]\ntype [id] [text] [1] (1: press Enter after it, 0: do not)\nhover [id]\npress [keys]\nscroll [down] or scroll [up]\n"
        "goto [url]\ngo_back\ngo_forward\nnew_tab\ntab_focus [number]\nclose_tab\n"
        "stop [answer] when the task is done; the answer may be empty\n"
        "Answer with one thought and one action each turn:\n"
        "Thought: ...\n"
        "Action: ..."
    )

    def __init__(self, config: Path | None = None, urls: dict[str, str] | None = None, render_mode: str | None = None) -> None:
        """`config`: WebArena's task file (test.raw.json), whose tasks become `webarena_0`, …; `urls`: the URLs of its sites by name.

        Raises ValueError if the file is invalid or a site has no URL.
        """
        super().__init__(render_mode)
        self._external_tasks = read_tasks(config, urls or {}) if config is not None else None
        self._episode: _OpenEpisode | None = None
        self._finalizer: weakref.finalize[[], WebArena]
        """Closes the episode if the environment is collected without `close`."""
        self._checks: tuple[Check, ...] = ()
        self._held_at_start = 0
        """The checks that hold without an action: a task that changes nothing else must not spoil them."""
        self._checks_passed: int | None = None
        """How many checks passed when the policy stopped."""

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    @classmethod
    def missing(cls) -> str | None:
        return browser.missing()

    def begin(self, item_id: str) -> str:
        num_tasks = len(tasks()) if self._external_tasks is None else len(self._external_tasks)
        match = _ITEM_ID.fullmatch(item_id)
        if match is None or int(match[1]) >= num_tasks:
            raise UnknownItem(f"webarena has no instruction {item_id!r}; there are webarena_0 to webarena_{num_tasks - 1}")
        if reason := self.missing():
            raise BrowserDied(f"webarena cannot be played here: {reason}")
        self.close()
        number = int(match[1])
        if self._external_tasks is None:
            self.task = tasks()[number]
            self._checks, intent = self.task.checks, self.task.intent
            self._episode = _open_own_sites(SITES[self.task.site].url)
        else:
            task = self._external_tasks[number]
            self._checks, intent = task.checks, task.intent
            self._episode = _open_external_sites(task)
        self._finalizer = weakref.finalize(self, self._episode.close)
        self._checks_passed, self._held_at_start = None, self._count_held_checks()
        session = self._episode.session
        return f"OBJECTIVE: {intent}\n{self._episode.browser.call(lambda _: session.observe_first())}"

    def act(self, action: str) -> tuple[str, float, bool]:
        parsed = actions.parse(action)
        if parsed is None:
            return actions.INVALID_ACTION_MESSAGE, 0.0, False
        assert self._episode is not None, "reset() opens the browser"
        session, database = self._episode.session, self._episode.database
        if parsed.name == "stop":
            answer, checks = parsed.arguments[0], self._checks
            self._checks_passed = self._episode.browser.call(lambda _: count_passed(checks, answer, session.page, database))
            return "You have stopped.", float(self._checks_passed == len(checks)), True
        try:
            self._episode.browser.call(lambda _: session.act(parsed))
        except ActionNotPossible as error:
            return str(error), 0.0, False
        return self._observe(), 0.0, False

    def measure_progress(self) -> float:
        """The share of the checks that hold and did not at the start; to stop is one more. The answer is checked when the policy stops."""
        held = self._count_held_checks() if self._checks_passed is None else self._checks_passed
        return max(0, held - self._held_at_start) / (len(self._checks) - self._held_at_start + 1)

    def _count_held_checks(self) -> int:
        assert self._episode is not None, "reset() opens the browser"
        session, database, checks = self._episode.session, self._episode.database, self._checks
        return self._episode.browser.call(lambda _: sum(holds_so_far(check, session.page, database) for check in checks))

    def expert(self) -> Expert:
        if self._external_tasks is not None:
            raise ExpertStuck("only the project's own tasks have an expert")
        return WebArenaExpert(self.task.solution)

    def close(self) -> None:
        if self._episode is not None:
            self._finalizer.detach()  # it would keep the closed episode alive
            self._episode.close()
            self._episode = None

    def _observe(self) -> str:
        assert self._episode is not None
        session = self._episode.session
        return self._episode.browser.call(lambda _: session.observe())


class _OpenEpisode:
    """The browser session and the sites' data of one episode. `close_data`: called once, by `close`."""

    def __init__(self, browser: Browser, session: BrowserSession, database: SiteDatabase | None, close_data: Callable[[], None]) -> None:
        self.browser, self.session, self.database = browser, session, database
        self._close_data = close_data
        self._closed = False

    def close(self) -> None:
        """Close the session and the data; further calls do nothing."""
        if self._closed:
            return
        self._closed = True
        self.browser.call_later(lambda _: self.session.close())
        self._close_data()


def _open_own_sites(start_url: str) -> _OpenEpisode:
    """An episode on the project's own sites, with fresh data. The browser cannot reach any other host."""
    server = running_server()
    browser = _shared_browser((*_CHROMIUM_FLAGS, f"--host-resolver-rules=MAP *.test 127.0.0.1:{server.port}, MAP * ~NOTFOUND"))
    episode, database = server.open_episode()
    sites = frozenset((site.host, 80) for site in SITES.values())  # their server speaks plain HTTP
    try:
        session = browser.call(lambda chromium: BrowserSession(chromium, start_url, sites, {"x-episode": episode}))
    except BaseException:
        server.close_episode(episode)
        raise
    return _OpenEpisode(browser, session, database, lambda: server.close_episode(episode))


def _open_external_sites(task: ExternalTask) -> _OpenEpisode:
    """An episode on external sites. The browser reaches them through a proxy that connects to nothing else."""
    if address_of(task.start_url) not in task.sites:
        raise ValueError(f"the task {task.intent!r} starts at {task.start_url}, which is on none of the sites; add its site to urls")
    proxy = running_proxy(task.sites)
    browser = _shared_browser((*_CHROMIUM_FLAGS, *_PROXY_FLAGS, f"--proxy-server=socks5://127.0.0.1:{proxy.port}"))
    session = browser.call(lambda chromium: BrowserSession(chromium, task.start_url, task.sites, {}))
    if browser.no_sandbox is not None:
        warnings.warn(f"Chromium shows external sites without its sandbox: {browser.no_sandbox}", RuntimeWarning, stacklevel=2)
    return _OpenEpisode(browser, session, None, lambda: None)


@lru_cache(maxsize=None)
def _shared_browser(arguments: tuple[str, ...]) -> Browser:
    """The browser of this process with these arguments."""
    return Browser(arguments)


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    everything = [
        Instruction(f"webarena_{number}", "webarena", task.task_type, f"{task.site}, {len(task.solution)} moves", task.intent)
        for number, task in enumerate(tasks())
    ]
    return split_off_eval(everything, WebArena.sizes.eval, salt="webarena eval", key=_site_and_task_type)


def _site_and_task_type(item: Instruction) -> tuple[str, str]:
    return item.difficulty.partition(",")[0], item.task_type
