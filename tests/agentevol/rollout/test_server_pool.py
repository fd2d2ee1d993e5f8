"""Episodes are shared among the servers of an environment; one that fails is left out, tried again, and taken back."""

from __future__ import annotations

import pytest

from agentevol.rollout.server_pool import RETRY_SECONDS, ServerPool


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(clock: Clock) -> ServerPool:
    return ServerPool({"maze": ["a", "b", "c"], "wordle": ["d"]}, clock)


def acquired(pool: ServerPool, count: int) -> list[str | None]:
    return [pool.acquire("maze") for _ in range(count)]


def test_every_episode_goes_to_the_server_with_the_fewest(pool: ServerPool) -> None:
    assert acquired(pool, 6) == ["a", "b", "c"] * 2
    pool.release("b", unavailable=False)
    assert pool.acquire("maze") == "b"
    assert pool.acquire("babyai") is None, "played in this process"


def test_an_unavailable_server_gets_no_episode_until_one_has_tried_it(pool: ServerPool, clock: Clock) -> None:
    assert acquired(pool, 3) == ["a", "b", "c"]
    pool.release("a", unavailable=True)
    assert acquired(pool, 4) == ["b", "c"] * 2
    clock.now = RETRY_SECONDS
    assert acquired(pool, 3) == ["a", "b", "c"], "a single episode tries it"
    pool.release("a", unavailable=False)
    assert acquired(pool, 3) == ["a"] * 3, "it has fewer episodes than the others"


def test_a_server_that_fails_the_trial_waits_again(pool: ServerPool, clock: Clock) -> None:
    assert pool.acquire("maze") == "a"
    pool.release("a", unavailable=True)
    clock.now = RETRY_SECONDS
    assert pool.acquire("maze") == "a"
    pool.release("a", unavailable=True)
    clock.now += RETRY_SECONDS / 2
    assert "a" not in acquired(pool, 4)


def test_without_an_available_server_the_error_of_one_is_reported(pool: ServerPool) -> None:
    for url in ("a", "b", "c"):
        assert pool.can_move("maze", 0)
        assert pool.acquire("maze") == url
        pool.release(url, unavailable=True)
    assert not pool.can_move("maze", 0)
    assert pool.acquire("maze") == "a", "whose time ends first"


def test_an_episode_is_moved_at_most_once_per_server(pool: ServerPool) -> None:
    assert pool.can_move("maze", 2)
    assert not pool.can_move("maze", 3)
    assert not pool.can_move("babyai", 0)


def test_a_single_server_gets_every_episode(pool: ServerPool) -> None:
    assert pool.acquire("wordle") == "d"
    pool.release("d", unavailable=True)
    assert pool.acquire("wordle") == "d"
    assert not pool.can_move("wordle", 0)
