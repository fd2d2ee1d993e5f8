"""Malformed actions, a thousand per environment: each gets an answer in time and affects only its own episode.

AGENTEVOL_FUZZ sets how many actions each environment gets (10,000 takes some minutes).
"""

from __future__ import annotations

import json
import os
import random
import time
from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from envs import ENVIRONMENTS, environment_class, make
from envs.protocols.agentgym import TOOL_ENVIRONMENTS
from envs.tools.base import ToolEnv

ACTIONS = int(os.environ.get("AGENTEVOL_FUZZ", "1000"))
_ACTIONS_PER_EPISODE = 20
_SHARES = {"webarena": 0.2, "sciworld": 0.2}
"""Of ACTIONS: a JVM takes ten times as long for an action, a browser more."""
_ARGUMENTS = ["9" * 20, "1e30", "-1e308", "1e308", "1e14", "inf", "nan", "\ud83d", "\ud83d\udc38", "", "x", "A1", "ZZ999", "rows", "cols"]
_ARGUMENTS += [999999999999999, -999999999999999, 0, 1, -1, 1.5, 1e14, None, True, {}, {"a": 1}, "SUM", "PRODUCT", "asc"]
_ARGUMENTS += [[], [[]], [["\ud83d", None]], [1], ["1e30"], ["A1", "B1"], [[1e14] * 25 + [0]], [[{"a": [1]}]], "PaperNet", "2022-01-01"]
_CALLS_PER_TOOL = 60
_SHELL = ["$(reboot)", "; rm -rf /", "`id`", "../../etc/passwd", "/dev/zero", "file:///etc/passwd", "%00", "\\x00", "${jndi:ldap://x}"]
_SQL = ["'; DROP TABLE t; --", "SELECT * FROM sqlite_master", "ATTACH 'x' AS y", "PRAGMA writable_schema=1", "1 OR 1=1"]
_CALLS = ["finish with Action Input: {", "x with Action Input: {'a': {'b': [1, (2, {3})]}}", "click[", "search[[[]]]", "get -1 of", "go to"]
_NESTED = st.recursive(
    st.sampled_from(["1", "'x'", "None"]), lambda inner: st.tuples(inner, inner).map(lambda pair: f"{{{pair[0]}: [{pair[1]}]}}")
)
MALFORMED = st.one_of(
    st.text(max_size=60),
    st.sampled_from(_SHELL + _SQL + _CALLS),
    st.tuples(st.sampled_from(_CALLS + _SQL), st.text(max_size=20)).map("".join),
    st.sampled_from(["{", "[", "(", "a", "\U0001f438", "Action: "]).map(lambda char: char * 3000),
    _NESTED,
)
_LENGTH = 100_000  # the longest text that the server accepts
_REPEATED = [" ", "\t", "\n", "a", "1", "a ", " a\n", "`", "``` ", "'", "(", "[", "{", '{"a":', "Action:", "Action: \n"]
_REPEATED += ["with ", " using ", " from ", ", ", "=", "-", "x x x ", "1 a, ", "\\", "\x00", "\u00e9"]
_AROUND = [("Action: a", "b"), ("", ""), ("Action: craft 1 a using 1 b", "\n"), ("```sql", "`"), ("Action: search[", "]")]
_AROUND += [("Action: x with Action Input: {", "}"), ("Action: stop [", "x")]
LONG = [(start + text * (_LENGTH // len(text)))[: _LENGTH - len(end)] + end for text in _REPEATED for start, end in _AROUND]
PLAYABLE = sorted(name for name in ENVIRONMENTS if environment_class(name).missing() is None)
_PASSES_PER_ACTION, _PASSES_PER_LONG_TEXT = 1000, 4000
"""The processor's time that an answer may take, in passes over a long text: far above what any needs, on a machine of any speed."""


def pass_over_a_long_text() -> float:
    """The seconds of the processor that this machine needs to look at each character of a long text once."""
    started = time.process_time()
    for _ in range(10):
        sum(map(ord, LONG[0]))
    return (time.process_time() - started) / 10


@cache
def malformed_actions(episodes: int) -> list[list[str]]:
    """The same actions for every environment, drawn once: drawing a text takes longer than most environments take to answer it."""
    drawn: list[list[str]] = []

    @settings(
        max_examples=episodes,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(MALFORMED, min_size=_ACTIONS_PER_EPISODE, max_size=_ACTIONS_PER_EPISODE))
    def draw(actions: list[str]) -> None:
        drawn.append(actions)

    draw()
    return drawn


@pytest.mark.parametrize("name", PLAYABLE)
@pytest.mark.slow
def test_malformed_actions_are_answered(name: str) -> None:
    env, other = make(name), make(name)
    items = environment_class(name).instructions("explore") or environment_class(name).instructions("eval")
    item_id = items[0].item_id
    before = other.reset(options={"item_id": items[-1].item_id})[0]
    slowest, unit = 0.0, pass_over_a_long_text()
    for actions in malformed_actions(int(ACTIONS * _SHARES.get(name, 1)) // _ACTIONS_PER_EPISODE):
        env.reset(options={"item_id": item_id})
        for action in actions:
            if env.done:
                env.reset(options={"item_id": item_id})
            started = time.process_time()
            observation, reward, *_ = env.step(action) if len(action) % 2 else env.answer(action)
            slowest = max(slowest, time.process_time() - started)
            assert env.observation_space.contains(observation), repr(action)
            assert env.lowest_reward <= reward <= env.highest_reward, repr(action)
    assert slowest < _PASSES_PER_ACTION * unit
    assert make(name).reset(options={"item_id": items[-1].item_id})[0] == before
    env.close()


@pytest.mark.parametrize("name", TOOL_ENVIRONMENTS)
def test_calls_of_real_tools_with_any_arguments_are_answered(name: str) -> None:
    env, rng = make(name), random.Random(name)
    assert isinstance(env, ToolEnv)
    loading = {"sheet": 'open_sheet with Action Input: {"name": "Sheet0"}', "academia": "loadPaperNet with Action Input: {}"}.get(name, "")
    env.reset(options={"item_id": f"{name}_0"})
    for _ in range(_CALLS_PER_TOOL):
        for tool, signature in env.tools.items():
            if env.done:
                env.reset(options={"item_id": f"{name}_0"})
                env.step(loading)
            arguments = {parameter: rng.choice(_ARGUMENTS) for parameter in list(signature.parameters)[1:] if rng.random() < 0.95}
            action = f"{tool} with Action Input: {json.dumps(arguments)}"
            observation, reward, *_ = env.step(action)
            assert env.observation_space.contains(observation), action
            assert env.lowest_reward <= reward <= env.highest_reward, action


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAYABLE)
def test_long_texts_are_answered(name: str) -> None:
    """A pattern that backtracks takes minutes for a text of this length."""
    env, unit = make(name), pass_over_a_long_text()
    item_id = (environment_class(name).instructions("explore") or environment_class(name).instructions("eval"))[0].item_id
    env.reset(options={"item_id": item_id})
    for text in LONG[:: 8 if name in _SHARES else 1]:
        started = time.process_time()
        for method in (env.answer, env.step):
            if env.done:
                env.reset(options={"item_id": item_id})
            observation = method(text)[0]
            assert env.observation_space.contains(observation)
        assert time.process_time() - started < _PASSES_PER_LONG_TEXT * unit, text[:60]
    env.close()
