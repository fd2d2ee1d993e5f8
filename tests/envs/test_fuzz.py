"""Malformed actions, a thousand per environment: each gets an answer in time and affects only its own episode.

AGENTEVOL_FUZZ sets how many actions each environment gets (10,000 takes some minutes).
"""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs import ENVIRONMENTS, environment_class, make

ACTIONS = int(os.environ.get("AGENTEVOL_FUZZ", "1000"))
_ACTIONS_PER_EPISODE = 20
_SHARES = {"webarena": 0.2, "sciworld": 0.2}
"""Of ACTIONS: a JVM takes ten times as long for an action, a browser more."""
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
PLAYABLE = sorted(name for name in ENVIRONMENTS if environment_class(name).missing() is None)


@pytest.mark.parametrize("name", PLAYABLE)
@pytest.mark.slow
def test_malformed_actions_are_answered(name: str) -> None:
    env, other = make(name), make(name)
    items = environment_class(name).instructions("explore") or environment_class(name).instructions("eval")
    item_id = items[0].item_id
    before = other.reset(options={"item_id": items[-1].item_id})[0]
    slowest = 0.0

    @settings(
        max_examples=int(ACTIONS * _SHARES.get(name, 1)) // _ACTIONS_PER_EPISODE,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(MALFORMED, min_size=_ACTIONS_PER_EPISODE, max_size=_ACTIONS_PER_EPISODE))
    def play(actions: list[str]) -> None:
        nonlocal slowest
        env.reset(options={"item_id": item_id})
        for action in actions:
            if env.done:
                env.reset(options={"item_id": item_id})
            started = time.perf_counter()
            observation, reward, *_ = env.step(action) if len(action) % 2 else env.answer(action)
            slowest = max(slowest, time.perf_counter() - started)
            assert env.observation_space.contains(observation)
            assert env.lowest_reward <= reward <= env.highest_reward

    play()
    assert slowest < 5
    assert make(name).reset(options={"item_id": items[-1].item_id})[0] == before
    env.close()
