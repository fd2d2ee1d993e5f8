"""An environment that is played on one of AgentGym's servers, or on this project's server by AgentGym's protocol.

Invariant: an error that such a server sends with status 200 raises ServerFailed, as does an answer to a well-formed action that the server
could not parse, and a problem other than the one asked for; none of them is ever an observation, and none becomes reward 0. A session
number is never used after the server was seen to restart: its numbers begin again, so the number belongs to another episode.
"""

from __future__ import annotations

import ast
import re
import threading
from typing import Any

import httpx

from envs.agentgym_problems import problem_number
from envs.base import InvalidAction, Step, TextEnv
from envs.checks import check_reward, replace_surrogates
from envs.protocols.agentgym import PROTOCOLS, SCIWORLD_SCALE, TOOL_ENVIRONMENTS, item_id_of
from envs.protocols.agentgym_actions import WHOLE_TEXT_ENVIRONMENTS, OutgoingAction, is_misunderstanding, to_agentgym
from envs.registry import AGENTGYM_PREFIX, VARIANT_OF, UnknownEnvironment, environment_class
from envs.remote.agentgym_selectors import goal_of, goal_on_server, selectors, why_no_number
from envs.remote.client import CARD, ServerFailed, ServerUnavailable, SessionLost

_TIMEOUT_SECONDS = 300.0  # the timeout of AgentGym's own clients
_NEVER_GIVEN = re.compile(r"The id \d+ is not valid")
_DELETED = "has been deleted"
_LISTED_ACTIONS = re.compile(r"\nAvailable actions: (\[.*\])\s*$")
_SHORT = 150
_generations: dict[str, int] = {}
"""How often the server of a URL was seen to restart. A session belongs to the generation in which it was asked for."""
_open_sessions: set[tuple[str, int, int]] = set()
"""(URL, generation, number) of the sessions of this process."""
_sessions_lock = threading.Lock()


class AgentGymEnv(TextEnv):
    """Made by `envs.make(name, server="agentgym+http://host:port")`: the URL that AgentGym's own client of that environment is given.

    The card (prompt, round limit, success rule) is this project's; texts and rewards are the server's. Actions are those of the card: they
    are sent in the wording that AgentGym's server reads (envs.protocols.agentgym_actions).

    `name`: `agentgym-weather` plays the server's own problems (envs.agentgym_problems). `weather` plays this project's instructions; one
    that the server does not have raises ServerFailed at reset. TextCraft's are found by their goal, ScienceWorld's by task and variation,
    MAZE's by their cells, BabyAI's have the same numbers; AgentGym's servers have none of the others.

    The reward of an episode is AgentGym's, with two exceptions. BabyAI's first reward ends the episode, even if the server cancels the end
    and continues to add rewards; one below 0 counts as 0. A ScienceWorld score below 0 counts as 0. AgentGym's protocol has no progress:
    it is ScienceWorld's score, and None in the other environments.
    """

    def __init__(self, name: str, server: str, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        played = name.removeprefix(AGENTGYM_PREFIX)
        self.base_name = VARIANT_OF.get(played, played)
        self.local = environment_class(name)
        if self.base_name not in PROTOCOLS:
            raise UnknownEnvironment(f"AgentGym has no environment {name!r}; there are: {', '.join(sorted(PROTOCOLS))}")
        self.protocol = PROTOCOLS[self.base_name]
        for attribute in (*CARD, "instructions", "instruction", "catalogue"):
            setattr(self, attribute, getattr(self.local, attribute))
        self.url = server.removeprefix("agentgym+").rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=_TIMEOUT_SECONDS)
        self._session: int | None = None
        self._generation = 0
        self._actions: list[str] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        item_id = (options or {}).get("item_id") or self._item_id_of_seed(seed or 0)
        own_problem = self.name.startswith(AGENTGYM_PREFIX)
        observation = self._begin(problem_number(item_id)[1])[0] if own_problem else self._begin_instruction(item_id)
        self.item_id, self.rounds, self.reward, self.progress, self.done = item_id, 0, 0.0, None, False
        self._observation = observation
        return observation, self._info()

    def answer(self, text: str) -> Step:
        """One round with a policy's whole text. Servers that parse whole texts also get those that this project cannot parse."""
        if self.base_name in WHOLE_TEXT_ENVIRONMENTS and not self.done:
            try:
                self.parse_action(text)
            except InvalidAction:
                return self._advance(*self._send(OutgoingAction(text)))
        return super().answer(text)

    def act(self, action: str) -> tuple[str, float, bool]:
        return self._send(to_agentgym(self.base_name, action, self._actions))

    def measure_progress(self) -> float | None:
        return max(0.0, self.reward) if self.base_name == "sciworld" else None

    def available_actions(self) -> list[str] | None:
        """What the server sent last: ALFWorld's field, or the list in BabyAI's observation."""
        return self._actions

    def close(self) -> None:
        self.done = True
        self._end_session()
        self._client.close()

    # --- the problem ---------------------------------------------------------------------------------------------------
    def _item_id_of_seed(self, seed: int) -> str:
        if self.name == self.base_name:
            return item_id_of(self.name, seed)
        problems = self.instructions("eval")
        return problems[seed % len(problems)].item_id

    def _begin_instruction(self, item_id: str) -> str:
        """The first observation of this project's instruction. Raises ServerFailed if the server has another problem, or none."""
        goal, other = goal_of(self.name, item_id), ""
        for selector in selectors(self.name, item_id, self.url, lambda number: self._begin(number)[0]):
            observation, reply = self._begin(selector)
            other = goal_on_server(self.base_name, reply, observation)
            if other == goal:
                return observation
        if not other:
            raise ServerFailed(f"AgentGym's servers have no selector for {item_id}: {why_no_number(self.base_name)}")
        raise ServerFailed(
            f"{item_id} is another problem on {self.url}: there {_shortened(other)!r}, here {_shortened(goal)!r}; "
            f"play the server's own problems as {AGENTGYM_PREFIX}{self.base_name}"
        )

    def _begin(self, selector: int) -> tuple[str, Any]:
        """Reset the server to a number: (first observation, the whole reply)."""
        try:
            reply = self._post_reset(selector)
        except SessionLost:
            reply = self._post_reset(selector)
        observation = self._first_observation(reply)
        self._read_actions(reply, observation)
        return replace_surrogates(observation), reply

    def _first_observation(self, reply: Any) -> str:
        """What AgentGym's client shows to the policy after a reset, without the rules that its client adds."""
        if self.protocol.reset_reply == "text":
            return str(reply)
        if self.protocol.reset_reply == "pair":
            return str(reply[0])
        if self.base_name == "webarena":
            if reply.get("observation") == "TimeoutError":
                raise ServerFailed(f"{self.url} could not reset: its browser timed out or its sites do not answer")
            return str(self._request("GET", "observation", {}))
        if self.base_name == "wordle":
            words = self._request("GET", "filtered_vocab", {})
            return "Words: " + ", ".join(" ".join("".join(str(word).split())) for word in words)
        task = reply.get("task_description")
        return f"{task}\n{reply['observation']}" if task else str(reply["observation"])

    # --- one step ------------------------------------------------------------------------------------------------------
    def _send(self, action: OutgoingAction) -> tuple[str, float, bool]:
        if self._session is None:
            raise SessionLost(f"{self.url} lost the episode of {self.item_id}; reset() begins it again")
        reply = self._request("POST", "step", {"action": replace_surrogates(action.text)})
        try:
            observation, done = str(reply[self.protocol.observation_field]), _is_done(reply)
            reward = check_reward(reply["score" if self.base_name == "sciworld" else "reward"])
        except (KeyError, TypeError, ValueError):
            raise ServerFailed(f"{self.url} answered a step with {_shortened(str(reply))}") from None
        if action.well_formed and is_misunderstanding(self.base_name, observation):
            raise ServerFailed(f"{self.url} did not understand the action {_shortened(action.text)!r}: {_shortened(observation)!r}")
        if self.base_name == "webarena" and observation.startswith("Error: Env ") and observation.endswith(" is dead"):
            raise ServerFailed(f"{self.url}: {observation}")
        self._read_actions(reply, observation)
        return observation, *self._reward(reward, done)

    def _reward(self, reward: float, done: bool) -> tuple[float, bool]:
        """(reward of this step, whether the episode is over)."""
        if self.base_name == "babyai":
            return max(0.0, reward), done or reward != 0
        if self.base_name == "sciworld":
            return max(0.0, reward / SCIWORLD_SCALE) - self.reward, done
        if self.base_name == "webarena":
            return reward if done else 0.0, done
        return reward - self.reward if self.base_name in TOOL_ENVIRONMENTS else reward, done

    def _read_actions(self, reply: Any, observation: str) -> None:
        actions = reply.get("available_actions") if isinstance(reply, dict) else None
        if self.base_name == "babyai" and (match := _LISTED_ACTIONS.search(observation)):
            actions = _listed_actions(match[1])
        self._actions = [str(action) for action in actions] if isinstance(actions, list) else None

    # --- the session ---------------------------------------------------------------------------------------------------
    def _post_reset(self, selector: int) -> Any:
        """Raises SessionLost, after which another call makes a new session."""
        is_new = self._session is None
        if is_new:
            self._create_session()
        fields = {"world_type": "Text"} if self.base_name == "alfworld" else {"seed": 0} if self.base_name == "webarena" else {}
        try:
            return self._request("POST", "reset", {self.protocol.selector_field: selector} | fields)
        except ServerFailed as error:
            self._end_session()
            raise error if is_new else SessionLost(str(error)) from None

    def _create_session(self) -> None:
        with _sessions_lock:
            self._generation = _generations.setdefault(self.url, 0)
        reply = self._request("POST", "create", {"id": 0} if self.protocol.reset_reply == "text" else {})
        session = reply.get(self.protocol.id_field) if isinstance(reply, dict) else reply
        if isinstance(session, bool) or not isinstance(session, int):
            raise ServerFailed(f"{self.url} answered create with {_shortened(str(reply))}, which has no session number")
        key = (self.url, self._generation, session)
        with _sessions_lock:
            is_taken = key in _open_sessions
            _open_sessions.add(key)
        if is_taken and self.base_name == "bird":
            raise ServerFailed(
                f"{self.url} gave session {session} twice, so two episodes would share it: AgentGym's BIRD server does so when it has no "
                "room for more than 8; lower rollout.concurrency or start the server again"
            )
        if is_taken:  # the numbers count up, so they have begun again
            self._note_restart()
            raise SessionLost(f"{self.url} gave session {session} twice: it was restarted; reset() begins the episode")
        self._session = session

    def _note_restart(self) -> None:
        """The server has forgotten this environment's session, and so those of all others of its generation."""
        with _sessions_lock:
            if _generations.get(self.url, 0) == self._generation:
                _generations[self.url] = self._generation + 1

    def _forget_if_restarted(self) -> bool:
        """Forget the session if the server was seen to restart since then. Whether there was such a session."""
        if self._session is None or _generations[self.url] == self._generation:
            return False
        self._forget_session()
        return True

    def _end_session(self) -> None:
        """Best effort: some of AgentGym's servers have no such route, and one that is gone has nothing to close."""
        if self._forget_if_restarted() or self._session is None:
            return
        body = {self.protocol.id_field: self._session}
        self._forget_session()
        try:
            self._client.post("/close", json=body, timeout=30.0)
        except (httpx.HTTPError, RuntimeError):
            return

    def _forget_session(self) -> None:
        if self._session is not None:
            with _sessions_lock:
                _open_sessions.discard((self.url, self._generation, self._session))
        self._session = None

    def _request(self, method: str, path: str, fields: dict[str, Any]) -> Any:
        if self._forget_if_restarted():
            raise SessionLost(f"{self.url} was restarted and lost the episode of {self.item_id}; reset() begins it again")
        if self._session is not None:
            fields = {self.protocol.id_field: self._session} | fields
        try:
            arguments: dict[str, Any] = {"params": fields} if method == "GET" else {"json": fields}
            response = self._client.request(method, f"/{path}", **arguments)
        except httpx.HTTPError as error:
            # The server may have been restarted, and its numbers begin again: the session's may soon belong to another client.
            if not isinstance(error, httpx.TimeoutException):
                self._note_restart()
            self._forget_session()
            raise ServerUnavailable(f"{self.url} does not answer: {type(error).__name__}: {error}") from None
        if response.status_code != 200:
            raise ServerFailed(f"{self.url} answered {path} with {response.status_code}: {response.text[:300]}")
        try:
            reply = response.json()
        except ValueError:
            raise ServerFailed(f"{self.url} answered {path} with something else than JSON: {_shortened(response.text)}") from None
        if isinstance(reply, dict) and "error" in reply:
            message = f"{self.url} answered {path} with an error: {str(reply['error'])[:300]}"
            never_given = _NEVER_GIVEN.search(str(reply["error"])) is not None
            if self._session is not None and never_given:
                self._note_restart()
            if never_given or _DELETED in str(reply["error"]):
                self._forget_session()
                raise SessionLost(message)
            raise ServerFailed(message)
        return reply


def _is_done(reply: Any) -> bool:
    """WebArena's server has two fields where the others have `done`."""
    return bool(reply["terminated"] or reply["truncated"] if "terminated" in reply else reply["done"])


def _listed_actions(text: str) -> list[str]:
    """BabyAI's list: AgentGym's server writes its actions in quotes, this project's without."""
    try:
        actions = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        actions = text.strip("[]").split(", ")
    return [str(action) for action in actions if action]


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else f"{line[:_SHORT]}..."
