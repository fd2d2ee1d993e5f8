"""A model behind an OpenAI-compatible chat endpoint: a hosted one to compare with, or a policy that vLLM's server speaks for.

Invariant: what may pass (429, 5xx, a broken connection, no answer in time) is asked again with growing pauses, then it is a fault of that
episode; what will not pass (401, 404) ends the rollout with one line. The key comes from the environment and goes into the header alone.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import random
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from agentevol.data.artifact_folder import digest_json
from agentevol.rollout.engine import EngineError, GenerationRequest, GenerationResult, Usage, one_line_error

if TYPE_CHECKING:
    from agentevol.chat.tokenize import ChatTokenizer
    from agentevol.settings.engines import EngineParams

_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 524, 529}
_NO_MONEY = "insufficient_quota"  # a 429 that waiting does not put right
_FULL = ("context_length_exceeded", "maximum context length", "context length", "max_model_len")


def endpoint_digest(how: EngineParams) -> str:
    """What names an endpoint's model by content, as far as it can be named: where it is, what it is called, what is asked of it."""
    return digest_json({"url": how.url, "model": how.model, "options": dict(how.options)})


class OpenAIEngine:
    """Conversations as messages; a request for every answer, those of all slots at once, in a thread with an event loop of its own."""

    chat: ChatTokenizer | None = None

    def __init__(self, policy: Path | None, how: EngineParams, *, slots: int, context: int, usage: Usage, pause: float = _PAUSE) -> None:
        assert how.url is not None, "settings.Params lets no such engine through"
        self.how, self.slots, self.context, self.usage = how, slots, context, usage
        self.url = how.url
        self.model = how.model or (str(policy) if policy else "")
        self._key = _key(how.api_key_env)
        self._done: queue.SimpleQueue[tuple[int, GenerationResult | Exception]] = queue.SimpleQueue()
        self._asked: dict[int, tuple[int, Future[None]]] = {}
        """By slot: the number of its turn and the request; an answer to another turn than that is one that was forgotten."""
        self._turns = itertools.count()
        self._not_before = 0.0  # by the loop's clock; the rate limit, and what a server asks for
        self._has_answered = False
        if policy is not None and how.weight_sync is None:
            raise EngineError(f"engine.weight_sync: null given; {self.url} must be told how to load {policy} (engine.weight_sync=vllm)")
        if policy is not None:
            self._refresh(policy)
        self.digest = _policy_digest(policy) if policy else endpoint_digest(how)
        self._loop = asyncio.new_event_loop()
        self._client: httpx.AsyncClient | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def submit(self, turn: GenerationRequest) -> None:
        body = {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.content} for message in turn.messages],
            "temperature": turn.sampling.temperature,
            "top_p": turn.sampling.top_p,
            "max_tokens": turn.limit,
            "seed": int(turn.stream.integers(2**31)),
        }
        body = {name: value for name, value in {**body, **self.how.options}.items() if value is not None}
        number = next(self._turns)
        self._asked[turn.slot] = number, asyncio.run_coroutine_threadsafe(self._speak(number, turn.slot, body), self._loop)

    def poll(self) -> list[GenerationResult]:
        found: list[GenerationResult] = []
        while self._asked and (not found or not self._done.empty()):
            number, answer = self._done.get()
            if isinstance(answer, Exception):
                raise answer
            if number == self._asked.get(answer.slot, (None,))[0]:
                del self._asked[answer.slot]
                found.append(answer)
        return found

    def release(self, slot: int) -> None:
        if asked := self._asked.pop(slot, None):
            asked[1].cancel()

    def close(self) -> None:
        """End what is still on its way, and the thread."""

        async def end() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            if self._client is not None:
                await self._client.aclose()

        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _speak(self, number: int, slot: int, body: Mapping[str, Any]) -> None:
        try:
            answer: GenerationResult | Exception = await self._answer(slot, body)
        except EngineError as error:
            answer = error
        except Exception as error:  # named boundary: an error of this side must not leave the rollout waiting for ever
            answer = RuntimeError(f"asking {self.url}: {one_line_error(error)}")
        self._done.put((number, answer))

    async def _answer(self, slot: int, body: Mapping[str, Any]) -> GenerationResult:
        trouble = ""
        for attempt in range(self.how.max_retries + 1):
            await self._wait_for_turn()
            self.usage.requests += 1
            self.usage.repeated += attempt > 0
            pause = self._pause_after(attempt)
            try:
                reply = await self._connected().post(f"{self.url}/chat/completions", json=body)
            except httpx.ConnectError as error:
                trouble = f"cannot be reached: {one_line_error(error)}"
                if attempt == self.how.max_retries and not self._has_answered:
                    raise EngineError(f"{self.url} {trouble}; is it running, and is engine.url right?") from None
            except httpx.HTTPError as error:  # the connection broke, or there was no answer in time
                trouble = f"did not answer: {one_line_error(error)}"
            else:
                self._has_answered = True
                if reply.is_success:
                    if (answer := self._read(slot, reply)) is not None:
                        return answer
                    trouble = "answered with something else than a chat completion"
                elif _says(reply, *_FULL) and reply.status_code in (400, 413, 422):
                    return GenerationResult(slot, cut=f"the context of {self.model} at {self.url} is full")
                elif reply.status_code not in _PASSING or _says(reply, _NO_MONEY):
                    raise EngineError(self._refusal(reply))
                else:
                    trouble = f"answered {reply.status_code}"
                    pause = self._pause_for_all(reply, pause)
            if attempt < self.how.max_retries:
                await asyncio.sleep(pause)
        return GenerationResult(slot, fault=f"{self.url} {trouble}; asked {self.how.max_retries + 1} times (retries)")

    def _read(self, slot: int, reply: httpx.Response) -> GenerationResult | None:
        try:
            said = reply.json()
            choice, used = said["choices"][0], said.get("usage") or {}
            text = choice["message"].get("content") or ""
            read, wrote = int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or 0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return None
        if not isinstance(text, str):
            return None
        self.usage.tokens_in += read
        self.usage.tokens_out += wrote
        return GenerationResult(slot, text.strip(), ended=choice.get("finish_reason") != "length", tokens=read + wrote)

    def _refusal(self, reply: httpx.Response) -> str:
        """One line without the body where that may repeat a part of the key."""
        refused = f"{self.url} refused {self.model!r} with {reply.status_code}"
        if reply.status_code in (401, 403):
            sent = f"the key in {self.how.api_key_env} was sent" if self._key else f"no key was sent, for {self.how.api_key_env} is not set"
            return f"{refused}: {sent}; put the right one into the environment variable {self.how.api_key_env}"
        told = " ".join(reply.text.split())[:300]
        told = told.replace(self._key, "***") if self._key else told
        remedy = "; is the address right (it most often ends in /v1), and the model's name?" if reply.status_code in (404, 405) else ""
        return f"{refused}: {told}{remedy}"

    async def _wait_for_turn(self) -> None:
        """Until the rate limit, and what the server asked for, lets the next request pass; they pass one after another."""
        now = self._loop.time()
        at = max(now, self._not_before)
        if self.how.requests_per_minute:
            self._not_before = at + 60 / self.how.requests_per_minute
        if at > now:
            await asyncio.sleep(at - now)

    def _pause_after(self, attempt: int) -> float:
        return min(_LONGEST_PAUSE, _PAUSE * 2.0**attempt) * random.uniform(0.5, 1.0)

    def _pause_for_all(self, reply: httpx.Response, pause: float) -> float:
        """Where the server says when to come again, everybody waits for that, a minute at most."""
        try:
            asked = min(_LONGEST_PAUSE, float(reply.headers.get("retry-after", "")))
        except ValueError:  # none, or a date
            return pause
        self._not_before = max(self._not_before, self._loop.time() + asked)
        return max(pause, asked)

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            limits = httpx.Limits(max_connections=self.slots, max_keepalive_connections=self.slots)
            self._client = httpx.AsyncClient(timeout=self.how.timeout, headers=headers, limits=limits)
        return self._client

    def _refresh(self, policy: Path) -> None:
        """Load the policy's weights into vLLM's server, which sees the same folders, and forget what it has computed with others."""
        root = self.url.removesuffix("/v1")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        load = {"method": "reload_weights", "kwargs": {"weights_path": str(policy.resolve())}}
        try:
            with httpx.Client(base_url=root, headers=headers, timeout=600) as client:
                for path, body in (("/collective_rpc", load), ("/reset_prefix_cache", None)):
                    client.post(path, json=body).raise_for_status()
        except httpx.HTTPError as error:
            remedy = "engine.weight_sync vllm needs VLLM_SERVER_DEV_MODE=1 vllm serve, on a machine that sees the same folders"
            raise EngineError(f"{root} did not load {policy}: {one_line_error(error)}; {remedy}") from None


def _key(variable: str) -> str:
    """The key, "" where there is none. What could not be sent is refused here: the error of sending it would repeat it."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise EngineError(f"the environment variable {variable} holds no key: there are spaces or special characters in it")
    return key


def _says(reply: httpx.Response, *words: str) -> bool:
    return any(word in reply.text for word in words)


def _policy_digest(policy: Path) -> str:
    from agentevol.models import model_digest

    return model_digest(policy)
