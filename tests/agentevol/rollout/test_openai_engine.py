"""The `openai` engine against a small real server: its requests, its retries, the errors that end a rollout, its usage counts."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest

import agentevol.rollout.engines.openai as openai_engine
from agentevol.chat.load import load_chat_tokenizer
from agentevol.data.trajectory import Trajectory
from agentevol.models import load_tokenizer
from agentevol.rollout.engine import EngineError
from agentevol.rollout.rollout import roll_out
from agentevol.settings.engines import EngineParams
from agentevol.settings.rollout import RolloutParams
from tests.agentevol.endpoint import Endpoint, serve_endpoint
from tests.agentevol.rollout.hosted import INSTRUCTIONS, play

pytestmark = pytest.mark.usefixtures("counting", "short_retry_delay")
KEY = "sk-very-secret-1234"


def test_a_hosted_model_plays_its_episodes_concurrently() -> None:
    with serve_endpoint(response_delay=0.05) as endpoint:
        trajectories, usage = play(endpoint)
    assert [trajectory.item_id for trajectory in trajectories] == [instruction.item_id for instruction in INSTRUCTIONS]
    assert all(trajectory.success and trajectory.status == "finished" for trajectory in trajectories)
    assert endpoint.max_concurrent == 4
    assert (usage.requests, usage.repeated) == (len(endpoint.bodies), 0)
    assert usage.tokens_in > usage.tokens_out > 0
    first = trajectories[0]
    assert (first.token_ids, first.loss_mask, first.policy) == (None, None, "hosted")
    assert [message.loss for message in first.messages] == [None, True, None, True, None][: len(first.messages)]
    assert first.tokens < usage.tokens_in


def test_a_request_has_the_model_the_messages_and_the_sampling_parameters() -> None:
    with serve_endpoint() as endpoint:
        play(endpoint, 1, options={"reasoning_effort": "low", "top_p": None})
        play(endpoint, 1)
    first = endpoint.bodies[0]
    assert first["model"] == "counter"
    assert first["messages"][0] == {"role": "user", "content": "Count up, one number a round.\n\n" + INSTRUCTIONS[0].text}
    assert [message["role"] for message in endpoint.bodies[1]["messages"]] == ["user", "assistant", "user"]
    assert (first["temperature"], first["max_tokens"], first["reasoning_effort"]) == (0.5, 128, "low")
    assert "top_p" not in first
    seeds = [body["seed"] for body in endpoint.bodies]
    assert seeds[: len(seeds) // 2] == seeds[len(seeds) // 2 :]
    assert len(set(seeds)) == len(seeds) // 2


def test_temporary_problems_are_retried_and_do_not_change_the_episodes() -> None:
    with serve_endpoint() as endpoint:
        expected, _ = play(endpoint)
    with serve_endpoint(first_problems=[429, 500, "hang up", 503, "nonsense", 429, 502]) as endpoint:
        trajectories, usage = play(endpoint)
    assert [trajectory.messages for trajectory in trajectories] == [trajectory.messages for trajectory in expected]
    assert usage.repeated == 7


def test_a_request_that_times_out_is_retried() -> None:
    with serve_endpoint(first_problems=["slow"]) as endpoint:
        trajectories, usage = play(endpoint, 1, timeout=1.0)
    assert trajectories[0].success
    assert usage.repeated >= 1


def test_a_request_that_keeps_failing_is_an_error_of_its_episode_alone() -> None:
    with serve_endpoint(first_problems=[500, 500, 500]) as endpoint:
        trajectories, usage = play(endpoint, 3, settings={"concurrency": 1}, max_retries=2)
    assert [trajectory.status for trajectory in trajectories] == ["error", "finished", "finished"]
    assert "answered 500; asked 3 times" in str(trajectories[0].error)
    assert str(trajectories[0].error).startswith("engine: ")
    assert usage.repeated == 2


def test_an_episode_that_ended_with_an_error_is_retried() -> None:
    with serve_endpoint(first_problems=[500]) as endpoint:
        trajectories, _ = play(endpoint, 1, settings={"max_retries": 1}, max_retries=0)
    assert trajectories[0].success


def test_all_requests_wait_as_long_as_the_server_asks() -> None:
    with serve_endpoint(first_problems=[429], retry_after="0.6") as endpoint:
        start = time.monotonic()
        play(endpoint, 2)
        assert time.monotonic() - start >= 0.6


def test_the_rate_limit_spaces_the_requests() -> None:
    with serve_endpoint() as endpoint:
        start = time.monotonic()
        _, usage = play(endpoint, 3, requests_per_minute=600)
        assert time.monotonic() - start >= 0.1 * (usage.requests - 1)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ({"api_key": KEY}, "401: no key was sent; set api_key_env"),
        ({"always": 404}, "rejected the request for 'counter' with 404: .*is the address right"),
        ({"always": 400}, "with 400"),
        ({"always": 429, "error": {"code": "insufficient_quota"}}, "with 429: .*insufficient_quota"),
    ],
)
def test_a_permanent_problem_ends_the_rollout_with_one_line(behaviour: dict[str, Any], expected: str) -> None:
    with serve_endpoint(**behaviour) as endpoint, pytest.raises(EngineError, match=expected) as caught:
        play(endpoint)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_running_ends_the_rollout() -> None:
    with serve_endpoint() as endpoint:
        pass
    with pytest.raises(EngineError, match=r"cannot be reached.*is it running"):
        play(endpoint, 2, max_retries=1)


def test_a_server_that_never_accepts_a_connection_ends_the_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an address behind a firewall: here a socket whose queue of connections is full."""
    monkeypatch.setattr(openai_engine, "_CONNECT_TIMEOUT", 0.05)
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        unreachable = Endpoint(url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        with pytest.raises(EngineError, match=r"cannot be reached: ConnectTimeout.*is it running"):
            play(unreachable, 2, max_retries=1)


def test_the_key_comes_from_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SOME_KEY", KEY)
    with serve_endpoint(api_key=KEY) as endpoint:
        trajectories, _ = play(endpoint, 2, api_key_env="SOME_KEY")
        assert all(trajectory.success for trajectory in trajectories)
        monkeypatch.setenv("SOME_KEY", f"{KEY}-wrong")
        with pytest.raises(EngineError, match="401: the key in SOME_KEY was sent") as wrong:
            play(endpoint, 1, api_key_env="SOME_KEY")
        monkeypatch.setenv("SOME_KEY", f"{KEY}\nX-Other: 1")
        with pytest.raises(EngineError, match="SOME_KEY does not hold a key") as unusable:
            play(endpoint, 1, api_key_env="SOME_KEY")
    for text in (str(wrong.value), str(unusable.value), caplog.text, repr([trajectory.to_row() for trajectory in trajectories])):
        assert KEY not in text


def test_no_key_is_sent_unless_its_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_endpoint() as endpoint:
        play(endpoint, 1)
        assert set(endpoint.authorizations) == {None}
        monkeypatch.delenv("SOME_KEY", raising=False)
        with pytest.raises(EngineError, match="SOME_KEY is not set"):
            play(endpoint, 1, api_key_env="SOME_KEY")
        monkeypatch.setenv("SOME_KEY", KEY)
        with pytest.raises(EngineError, match="not sent over plain http") as caught:
            play(endpoint, 1, api_key_env="SOME_KEY", url="http://192.0.2.1/v1")
    assert KEY not in str(caught.value)


def play_own(
    folder: Path,
    endpoint: Endpoint,
    count: int = 1,
    settings: dict[str, Any] | None = None,
    template_kwargs: dict[str, Any] | None = None,
    weight_sync: Literal["vllm"] | None = "vllm",
    **options: Any,
) -> list[Trajectory]:
    """Episodes of a policy of this project on vLLM's server. `options`: additional fields of each request."""
    return roll_out(
        folder,
        INSTRUCTIONS[:count],
        engine=EngineParams(kind="openai", url=endpoint.url, model="own", weight_sync=weight_sync, options=options),
        settings=RolloutParams(**{"concurrency": 2, "max_retries": 0, **(settings or {})}),
        policy="own",
        template_kwargs=template_kwargs,
    )


def test_vllms_server_loads_the_policy_first(small_models: dict[str, Path]) -> None:
    with serve_endpoint() as endpoint:
        trajectories = play_own(small_models["llama"], endpoint, 2)
        assert endpoint.paths[:2] == ["/collective_rpc", "/reset_prefix_cache"]
        assert "chat_template_kwargs" not in endpoint.bodies[-1]
        play_own(small_models["llama"], endpoint, template_kwargs={"enable_thinking": False})
        assert endpoint.bodies[-1]["chat_template_kwargs"] == {"enable_thinking": False}
        with pytest.raises(EngineError, match=r"engine\.weight_sync: null given"):
            play_own(small_models["llama"], endpoint, weight_sync=None)
    assert all(trajectory.success for trajectory in trajectories)
    assert len(trajectories[0].policy_hash) == 64


def test_a_policy_stops_at_the_end_token_of_its_template(small_models: dict[str, Path], tmp_path: Path) -> None:
    """The server would stop only at the eos token of the model that it was started with, here another one, as in Qwen's base models."""
    folder = shutil.copytree(small_models["qwen"], tmp_path / "policy")
    configuration = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**configuration, "eos_token": "<|endoftext|>"}))
    tokenizer = load_tokenizer(folder)
    expected = sorted(map(int, tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])))
    with serve_endpoint() as endpoint:
        play_own(folder, endpoint)
        play_own(folder, endpoint, stop_token_ids=None)
        play(endpoint, 1)
    assert endpoint.bodies[0]["stop_token_ids"] == expected
    assert [body for body in endpoint.bodies if "stop_token_ids" in body] == endpoint.bodies[: len(endpoint.bodies) // 3]


def test_a_policy_is_sampled_by_the_projects_parameters_alone(small_models: dict[str, Path]) -> None:
    """vLLM's server takes what a request leaves out from the model's generation_config.json; a hosted model may refuse such fields."""
    neutral = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    with serve_endpoint() as endpoint:
        play_own(small_models["llama"], endpoint)
        play_own(small_models["llama"], endpoint, top_k=20, min_p=None)
        first, last = endpoint.bodies[0], endpoint.bodies[-1]
        play(endpoint, 1)
    assert {name: first.get(name) for name in neutral} == neutral
    assert {name: last.get(name) for name in neutral} == {"top_k": 20, "min_p": None, "repetition_penalty": 1.0}
    assert not neutral.keys() & endpoint.bodies[-1].keys()


def test_a_policy_may_use_what_the_context_has_left(small_models: dict[str, Path]) -> None:
    """The same as with the engines of this process, so the policy's own tokenizer counts the prompt."""
    chat, context_length = load_chat_tokenizer(small_models["qwen"]), 300
    settings = {"context_length": context_length, "max_new_tokens": 200, "max_repeats": None}
    with serve_endpoint(answer=lambda messages: "Action: wait") as endpoint:
        play_own(small_models["qwen"], endpoint, settings=settings)
    assert len(endpoint.bodies) >= 3
    for body in endpoint.bodies:
        rendered = chat.tokenizer.apply_chat_template(body["messages"], tokenize=True, add_generation_prompt=True)["input_ids"]
        assert body["max_tokens"] == min(200, context_length - len(rendered) - 1)
    opening = len(chat.tokenize_prompt(endpoint.bodies[0]["messages"][0]["content"]))
    with serve_endpoint() as endpoint:
        (full,) = play_own(small_models["qwen"], endpoint, settings={"context_length": opening + 1})
        (cut,) = play_own(small_models["qwen"], endpoint, settings={"context_length": opening + 4})
    assert [body["max_tokens"] for body in endpoint.bodies] == [3]
    assert [trajectory.truncated_by for trajectory in (full, cut)] == ["context", "context"]
