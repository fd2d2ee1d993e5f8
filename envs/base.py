"""The contract of a text environment: a Gymnasium environment of text in, text out.

Invariant: the same `item_id` gives the same episode text for the same actions, on any machine, in any process, under any
PYTHONHASHSEED and locale. An environment knows nothing of language models and can be used alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, Protocol

import gymnasium
from gymnasium import spaces

from envs.checks import check_observation, check_reward
from envs.functions import ACT, Function
from envs.react import ActionForm as ActionForm
from envs.react import InvalidAction as InvalidAction
from envs.react import parse_action

Split = Literal["train", "train_large", "explore", "eval"]
Step = tuple[str, float, bool, bool, dict[str, Any]]

# The text spaces admit printable ASCII; an action outside it is answered like any other invalid action and does not crash.
CHARSET = "".join(chr(code) for code in range(32, 127)) + "\n"


class UnknownItem(KeyError):
    """No such instruction in this environment."""

    def __str__(self) -> str:
        return str(self.args[0])


class EnvironmentFull(RuntimeError):
    """So many episodes of this environment run in this process that it has no room for another one. Nothing is broken: try again later."""


class ExpertStuck(RuntimeError):
    """The scripted expert has no move left (a watchdog fired or no path exists): the episode yields no expert trajectory."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts of the paper's Table 2 (arXiv 2406.04151); `instructions` includes the `eval` ones."""

    instructions: int
    eval: int
    agent_traj: int
    agent_traj_l: int


@dataclass(frozen=True, slots=True)
class Instruction:
    """One problem. `text` (the goal and the initial state) is unique, which proves that eval and training are disjoint."""

    item_id: str
    env: str
    task_type: str
    difficulty: str
    text: str


class Expert(Protocol):
    """A scripted policy bound to one live environment; it is called once per round."""

    def act(self, observation: str) -> tuple[str, str]:
        """The next (thought, action). Raises ExpertStuck if there is none."""
        ...


class TextEnv(gymnasium.Env[str, str]):
    """Base of every environment. Subclasses override the hooks; the machinery below them is the same for all."""

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}

    # --- the card: every subclass sets these -------------------------------------------------------------------------
    name: ClassVar[str]
    version: ClassVar[int]
    """Raise it by one whenever an instruction, the prompt, an observation, a reward or the expert changes: datasets and stored results of
    the earlier version are then made again."""
    task_types: ClassVar[tuple[str, ...]]
    sizes: ClassVar[Sizes]
    max_rounds: ClassVar[int]
    prompt: ClassVar[str]
    """The text before the first observation: the rules and the form of an answer."""
    action_form: ClassVar[ActionForm] = ActionForm()
    """How an action is written in an answer."""
    functions: ClassVar[tuple[Function, ...]] = (ACT,)
    """The actions as functions, for policies that call functions (`envs.functions`)."""
    lowest_reward: ClassVar[float] = 0.0
    highest_reward: ClassVar[float] = 1.0
    waiting_actions: ClassVar[frozenset[str]] = frozenset()
    """Actions that only let time pass: repeating them is no sign of a loop."""
    deterministic: ClassVar[bool] = True
    """The same actions give the same episode. False where a live service decides: its episodes are not played again as a check."""

    slow: ClassVar[bool] = False
    """Reset or a step takes seconds, waiting for something outside this process: other episodes may go on meanwhile."""

    # --- hooks: override these -------------------------------------------------------------------------------------
    @classmethod
    def catalogue(cls) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        """All instructions as (training, eval), each of the paper's size, disjoint by id and by text."""
        raise NotImplementedError

    def begin(self, item_id: str) -> str:
        """Set the environment up for `item_id`; return the first observation. Raises UnknownItem."""
        raise NotImplementedError

    def act(self, action: str) -> tuple[str, float, bool]:
        """Carry out one action: (observation, reward of this step, terminated). An invalid action is answered in text, never raised."""
        raise NotImplementedError

    def expert(self) -> Expert:
        """The scripted expert for the episode that has just been reset."""
        raise NotImplementedError

    def available_actions(self) -> list[str] | None:
        """The actions that are possible now, or None if the environment cannot list them (a random player needs them)."""
        return None

    def measure_progress(self) -> float | None:
        """The share of the goal that the present state has, from 0 to below 1 as long as the episode has not succeeded.

        It is called after `begin` and after every `act`. None where the instruction has no subgoals.
        """
        return None

    @classmethod
    def missing(cls) -> str | None:
        """What must be installed before it can be played here, in one line, or None. Its instructions and prompt are always available."""
        return None

    @classmethod
    def succeeded(cls, reward: float) -> bool:
        """The one definition of success: a rule on the episode's reward (the sum of its step rewards)."""
        return reward >= 1.0

    @classmethod
    def parse_action(cls, text: str) -> str:
        """The one action in a policy's answer `Thought: ... Action: ...` (see `envs.react`). Raises InvalidAction."""
        return parse_action(text, cls.action_form)

    # --- machinery: the same for every environment ---------------------------------------------------------------------
    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Text(min_length=0, max_length=20_000, charset=CHARSET)
        self.action_space = spaces.Text(min_length=0, max_length=2_000, charset=CHARSET)
        self.item_id: str | None = None
        self.rounds = 0
        self.reward = 0.0
        self.progress: float | None = None
        """The progress rate (AgentBoard, arXiv 2401.13178): the best `measure_progress` of the episode so far, and 1 exactly when it has
        succeeded. None where the instruction has no subgoals."""
        self.done = True
        self._observation = ""

    @classmethod
    def instructions(cls, split: Split) -> tuple[Instruction, ...]:
        """The instructions of a split, in a random but fixed order, so that its first n are a fair sample of it.

        `train` (D_s, AgentTraj) is the first part of `train_large` (AgentTraj-L), which is the first part of `explore`.
        """
        return _splits(cls)[split]  # type: ignore[arg-type]  # a class is hashable, mypy looks at its instances

    @classmethod
    def instruction(cls, item_id: str) -> Instruction:
        try:
            return _by_id(cls)[item_id]  # type: ignore[arg-type]
        except KeyError:
            raise UnknownItem(f"{cls.name} has no instruction {item_id!r}; see {cls.__name__}.instructions(split)") from None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start `options["item_id"]`, or an instruction drawn with the seed: a training one if there are any."""
        super().reset(seed=seed)
        item_id = (options or {}).get("item_id")
        if item_id is None:
            candidates = self.instructions("explore") or self.instructions("eval")
            item_id = candidates[int(self.np_random.integers(len(candidates)))].item_id
        self._observation = check_observation(self.begin(item_id))
        self.item_id, self.rounds, self.reward, self.progress, self.done = item_id, 0, 0.0, None, False
        self._update_progress()
        return self._observation, self._info()

    def step(self, action: str) -> Step:
        """One round with an action that has been parsed from the policy's text. Raises RuntimeError after the end of the episode."""
        if self.done:
            raise RuntimeError(f"{self.name}: the episode is over (or never began); call reset() first")
        return self._advance(*self.act(action))

    def answer(self, text: str) -> Step:
        """One round with a policy's whole text: parsed, then stepped. Text without an action costs a round and gets a message."""
        try:
            action = self.parse_action(text)
        except InvalidAction as error:
            return self.refuse(str(error))
        return self.step(action)

    def refuse(self, message: str) -> Step:
        """One round in which nothing is done, because the policy's text holds no action; its observation is `message`."""
        if self.done:
            raise RuntimeError(f"{self.name}: the episode is over; call reset() first")
        return self._advance(message, 0.0, False)

    def render(self) -> str | None:  # type: ignore[override]
        return self._observation if self.render_mode == "ansi" else None

    def _advance(self, observation: str, reward: float, terminated: bool) -> Step:
        observation, reward = check_observation(observation), check_reward(reward)
        self.rounds += 1
        self.reward = check_reward(self.reward + reward)
        self._update_progress()
        truncated = not terminated and self.rounds >= self.max_rounds
        self.done = terminated or truncated
        self._observation = observation
        return observation, reward, terminated, truncated, self._info()

    def _update_progress(self) -> None:
        measured, success = self.measure_progress(), self.succeeded(self.reward)
        if measured is None:
            return
        if not success and not 0 <= measured < 1:
            raise ValueError(
                f"{self.name}: the progress of {self.item_id} is {measured!r} before it succeeds; measure_progress must return 0 to below 1"
            )
        self.progress = 1.0 if success else max(self.progress or 0.0, float(measured))

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {"success": self.succeeded(self.reward), "progress": self.progress, "item_id": self.item_id}
        actions = self.available_actions()
        if actions is not None:
            info["available_actions"] = actions
        return info


def stable_order(items: Iterable[Instruction], salt: str) -> list[Instruction]:
    """An order that depends on the ids alone: no random module, no hash seed."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{salt}:{item.item_id}".encode()).digest())


def split_off_eval(
    items: Sequence[Instruction],
    count: int,
    *,
    salt: str,
    key: Callable[[Instruction], Any] = lambda item: item.difficulty,
    middle: bool = True,
) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
    """Split instructions into (training, eval), with `count` eval instructions and a fair share of every difficulty among them.

    The instructions are sorted by `key`, those of equal key in the stable order of `salt`, and cut into `count` parts of equal size. The
    eval instruction of a part is the one in its middle, or the first one if `middle` is false. Both results keep the order of `items`.
    """
    ordered = sorted(stable_order(items, salt), key=key)
    eval_ids = {ordered[(2 * part + middle) * len(ordered) // (2 * count)].item_id for part in range(count)}
    training = tuple(item for item in items if item.item_id not in eval_ids)
    return training, tuple(item for item in items if item.item_id in eval_ids)


@lru_cache(maxsize=None)
def _splits(cls: type[TextEnv]) -> dict[str, tuple[Instruction, ...]]:
    training, evaluation = cls.catalogue()
    shuffled = stable_order(training, "agenttraj")
    return {
        "train": tuple(shuffled[: cls.sizes.agent_traj]),
        "train_large": tuple(shuffled[: cls.sizes.agent_traj_l]),
        "explore": tuple(shuffled),
        "eval": tuple(stable_order(evaluation, "agenteval")),
    }


@lru_cache(maxsize=None)
def _by_id(cls: type[TextEnv]) -> dict[str, Instruction]:
    training, evaluation = cls.catalogue()
    return {item.item_id: item for item in (*training, *evaluation)}
