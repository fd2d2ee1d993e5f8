"""WebArena: tasks on web sites, in a real browser.

Invariant: an episode follows from its task; it has a browser context and a copy of the sites' data of its own.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from envs.base import Expert, ExpertStuck, Instruction, InvalidAction, Sizes, TextEnv, UnknownItem, split_off_eval
from envs.webarena import actions, browser
from envs.webarena.checks import Check, met
from envs.webarena.expert import Surfer
from envs.webarena.session import Refused, Session
from envs.webarena.sites import SITES
from envs.webarena.sites.server import running
from envs.webarena.sites.store import Store
from envs.webarena.task_files import Outside, read_tasks
from envs.webarena.tasks import tasks
from envs.webarena.tasks.task import KINDS

_ITEM_ID = re.compile(r"webarena_(0|[1-9][0-9]{0,8})")
_FENCED = re.compile(r"```(.*?)```", re.DOTALL)
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
)


@dataclass(slots=True)
class _Live:
    """What an episode holds open."""

    browser: browser.Browser
    session: Session
    store: Store | None
    release: Callable[[], None]


class WebArena(TextEnv):
    """Tasks on web sites after WebArena (arXiv 2307.13854), as AgentGym serves it: real pages in a real Chromium.

    Observation: the task at the start, then the address, the tabs and the accessibility tree of what is in view, a number for each
    element. Actions: `click [12]`, `type [7] [words] [1]` (1: and press Enter), `hover`, `press [ctrl+a]`, `scroll [down]`, `goto [url]`,
    `go_back`, `go_forward`, `new_tab`, `tab_focus [0]`, `close_tab`, `stop [answer]`. Reward: at the stop, 1 where all checks of the task
    hold (the answer, the page that is open, the sites' data), else 0. At most 25 rounds. Task types: WebArena's three kinds of intents.
    Instructions: 812 from templates over six sites of the project's own (shop, its administration, forum, code host, map, encyclopaedia)
    on loopback, in the proportions of WebArena's kinds, 20 of them eval; no expert trajectories, as in the paper.
    `WebArena(config=path, urls={"shopping": ...})` takes WebArena's own tasks on sites that run somewhere. Needs Playwright (the extra
    `webarena`) and the system's Chromium.

    Where it differs from AgentGym's, and why:
    - The sites are small ones of the project's own: WebArena's are images of many gigabytes. Their data starts anew in every episode.
    - No model judges an answer: the tasks' answers are words and numbers that stand on a page.
    - The tree is read when the page has settled; there, 1.5 seconds after every action.
    - Numbers count the elements in the order of the page; there, they are the browser's and differ from run to run.
    - `type` replaces what the field holds; there, it is added to it, which nobody who types into a search field wants.
    """

    name: ClassVar[str] = "webarena"
    version: ClassVar[int] = 1
    task_types: ClassVar[tuple[str, ...]] = KINDS
    sizes: ClassVar[Sizes] = Sizes(instructions=812, eval=20, agent_traj=0, agent_traj_l=0)
    max_rounds: ClassVar[int] = 25
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
        """`config`: WebArena's file of tasks (test.raw.json), which are then `webarena_0`, …; `urls`: where its sites are, by their names.

        Raises ValueError where the file needs a site that has no URL.
        """
        super().__init__(render_mode)
        self._outside = read_tasks(config, urls or {}) if config is not None else None
        self._live: _Live | None = None
        self._checks: tuple[Check, ...] = ()

    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return _catalogue()

    @classmethod
    def missing(cls) -> str | None:
        return browser.missing()

    def begin(self, item_id: str) -> str:
        found, known = _ITEM_ID.fullmatch(item_id), len(tasks()) if self._outside is None else len(self._outside)
        if found is None or int(found[1]) >= known:
            raise UnknownItem(f"webarena has no instruction {item_id!r}; there are webarena_0 to webarena_{known - 1}")
        if reason := self.missing():
            raise browser.BrowserDied(f"webarena cannot be played here: {reason}")
        self.close()
        number = int(found[1])
        if self._outside is None:
            self.task = tasks()[number]
            self._checks, intent = self.task.checks, self.task.intent
            self._live = _inside(SITES[self.task.site].url)
        else:
            task = self._outside[number]
            self._checks, intent = task.checks, task.intent
            self._live = _elsewhere(task)
        weakref.finalize(self, self._live.release)
        return f"OBJECTIVE: {intent}\n{self._seen()}"

    def act(self, action: str) -> tuple[str, float, bool]:
        asked = actions.read(action)
        if asked is None:
            return actions.HELP, 0.0, False
        assert self._live is not None, "reset() opens the browser"
        session, store = self._live.session, self._live.store
        if asked.name == "stop":
            answer, checks = asked.given[0], self._checks
            won = self._live.browser.call(lambda _: all(met(check, answer, session.page, store) for check in checks))
            return "You have stopped.", float(won), True
        try:
            self._live.browser.call(lambda _: session.act(asked))
        except Refused as reason:
            return str(reason), 0.0, False
        return self._seen(), 0.0, False

    def expert(self) -> Expert:
        if self._outside is not None:
            raise ExpertStuck("only the project's own tasks have an expert")
        return Surfer(self.task.moves)

    def close(self) -> None:
        if self._live is not None:
            self._live.release()
            self._live = None

    @classmethod
    def parse_action(cls, text: str) -> str:
        """The base class's; or, as AgentGym's policies answer, what stands between three backticks."""
        fenced = [part.strip() for part in _FENCED.findall(text) if part.strip()]
        if not fenced:
            return super().parse_action(text)
        if len(fenced) > 1:
            raise InvalidAction("Give exactly one action between ``` and ```")
        return str(fenced[0])

    def _seen(self) -> str:
        assert self._live is not None
        session = self._live.session
        return self._live.browser.call(lambda _: session.observe())


def _inside(start: str) -> _Live:
    """An episode on the project's own sites, with fresh data. Nothing but them can be reached."""
    sites = running()
    surfing = _browser((*_QUIET, f"--host-resolver-rules=MAP *.test 127.0.0.1:{sites.port}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
    name, store = sites.open()
    hosts = frozenset(site.host for site in SITES.values())
    session = surfing.call(lambda chromium: Session(chromium, start, hosts, {"x-episode": name}))
    return _Live(surfing, session, store, _Release(surfing, session, lambda: sites.close(name)))


def _elsewhere(task: Outside) -> _Live:
    surfing = _browser(_QUIET)
    session = surfing.call(lambda chromium: Session(chromium, task.start, task.hosts, {}))
    return _Live(surfing, session, None, _Release(surfing, session, lambda: None))


class _Release:
    """Closes what an episode held; a second call does nothing."""

    def __init__(self, surfing: browser.Browser, session: Session, and_then: Callable[[], None]) -> None:
        self._parts: tuple[browser.Browser, Session, Callable[[], None]] | None = (surfing, session, and_then)

    def __call__(self) -> None:
        if self._parts is None:
            return
        (surfing, session, and_then), self._parts = self._parts, None
        surfing.later(lambda _: session.close())
        and_then()


@lru_cache(maxsize=2)
def _browser(arguments: tuple[str, ...]) -> browser.Browser:
    return browser.Browser(arguments)


@lru_cache(maxsize=None)
def _catalogue() -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    everything = [
        Instruction(f"webarena_{number}", "webarena", task.kind, f"{task.site}, {len(task.moves)} moves", task.intent)
        for number, task in enumerate(tasks())
    ]
    return split_off_eval(everything, WebArena.sizes.eval, salt="webarena eval", key=_site_and_kind)


def _site_and_kind(item: Instruction) -> tuple[str, str]:
    return item.difficulty.partition(",")[0], item.task_type
