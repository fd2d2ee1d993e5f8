"""The `openai` engine: a model behind an OpenAI-compatible chat endpoint, either hosted or vLLM's server with a policy of this project.

Invariant: a request that may succeed later (429, 5xx, a broken connection, a timeout) is retried with exponential backoff, and is then an
error of the episode. So is a prompt that the server refuses. A problem of every request (401, 404, a wrong model) ends the rollout with a
message of one line. The key comes from the environment and goes into the request header only.
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
from typing import Any

import httpx

from agentevol.chat.load import load_chat_tokenizer
from agentevol.chat.tokenize import ChatTokenizer
from agentevol.data.artifact_folder import digest_json
from agentevol.models import model_digest
from agentevol.rollout.engine import EngineError, GenerationRequest, GenerationResult, Usage, one_line_error
from agentevol.rollout.engines.openai_completion import has_empty_message, read_completion, without_empty_messages
from agentevol.rollout.engines.openai_errors import REQUEST_STATUS_CODES, is_about_one_request, is_context_full, is_retryable
from agentevol.rollout.engines.openai_limits import BoundedRequest
from agentevol.rollout.engines.openai_policy import load_weights, policy_fields, prompt_length
from agentevol.rollout.engines.openai_tools import chat_messages, plain_messages
from agentevol.settings.engines import EngineParams

_FIRST_RETRY_DELAY, _MAX_RETRY_DELAY = 1.0, 60.0  # seconds
_CONNECT_TIMEOUT = 10.0  # seconds; a server that is busy accepts a connection, and only answers later
_LOAD_TIMEOUT = 600.0  # seconds
_MAX_FIRST_REJECTIONS = 8  # so many refused requests before the first answer are no coincidence: a setting is wrong


def endpoint_digest(settings: EngineParams) -> str:
    """Names an endpoint's model as well as can be done from outside: its address, its name, the options of every request."""
    return digest_json({"url": settings.url, "model": settings.model, "options": dict(settings.options)})


class OpenAIEngine:
    """Conversations as messages, one HTTP request per answer; the requests of all slots run concurrently on an event loop in a thread."""

    chat: ChatTokenizer | None = None

    def __init__(
        self,
        model_folder: Path | None,
        settings: EngineParams,
        *,
        num_slots: int,
        context_length: int,
        usage: Usage,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        assert settings.url is not None, "settings.schema rejects such an engine"
        self.settings, self.num_slots, self.context_length, self.usage = settings, num_slots, context_length, usage
        self.url = settings.url
        self._policy_chat = load_chat_tokenizer(model_folder, template_kwargs) if model_folder else None
        self._policy_fields = {} if self._policy_chat is None else policy_fields(self._policy_chat, template_kwargs)
        self.model = settings.model or (str(model_folder) if model_folder else "")
        self._server_context = f"the context of {self.model} at {self.url}"
        self._api_key = _read_api_key(settings)
        self._finished: queue.SimpleQueue[tuple[int, GenerationResult | Exception]] = queue.SimpleQueue()
        self._open_requests: dict[int, tuple[int, Future[None]]] = {}
        """By slot: the number of its request, and the request. A result with another number is that of a released slot."""
        self._request_numbers = itertools.count()
        self._next_request_time = 0.0  # by the loop's clock: for the rate limit, and for what the server asks for
        self._has_responded = False
        self._has_answered = False
        self._first_rejections = 0  # conversations that were refused before the first answer
        if model_folder is not None and settings.weight_sync is None:
            raise EngineError(f"engine.weight_sync: null given; {self.url} must load {model_folder} (engine.weight_sync=vllm)")
        if model_folder is not None:
            load_weights(self.url, self._headers(), _timeout(_LOAD_TIMEOUT), model_folder)
        self.digest = model_digest(model_folder) if model_folder else endpoint_digest(settings)
        self._loop = asyncio.new_event_loop()
        self._client: httpx.AsyncClient | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest) -> None:
        body = {
            "model": self.model,
            **self._conversation(request),
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "max_tokens": request.max_new_tokens,
            "seed": int(request.rng.integers(2**31)),
            **self._policy_fields,
        }
        bounded = BoundedRequest({name: value for name, value in {**body, **self.settings.options}.items() if value is not None})
        if self._policy_chat is not None:
            room = self.context_length - prompt_length(self._policy_chat, request) - 1  # as for the engines of this process
            bounded = bounded.lowered(room, f"the context of {self.context_length} tokens")
        number = next(self._request_numbers)
        future = asyncio.run_coroutine_threadsafe(self._run_request(number, request.slot, bounded), self._loop)
        self._open_requests[request.slot] = number, future

    @property
    def _takes_tools(self) -> bool:
        """Whether functions go into requests: a hosted model takes them; a policy of this project only if its chat template does."""
        return self._policy_chat is None or self._policy_chat.writes_tools

    def _conversation(self, request: GenerationRequest) -> dict[str, Any]:
        """The messages, and the functions that the policy may call."""
        if request.tools is None or self._takes_tools:
            tools = {} if request.tools is None else {"tools": list(request.tools)}
            return {"messages": chat_messages(request.messages, request.tools), **tools}
        return {"messages": plain_messages(request.messages, request.tools)}

    def poll(self, timeout: float | None = None) -> list[GenerationResult]:
        results: list[GenerationResult] = []
        while self._open_requests and (not results or not self._finished.empty()):
            try:
                number, result = self._finished.get(timeout=timeout)
            except queue.Empty:
                break
            if isinstance(result, Exception):
                raise result
            if number == self._open_requests.get(result.slot, (None,))[0]:
                del self._open_requests[result.slot]
                results.append(result)
        return results

    def release(self, slot: int) -> None:
        if open_request := self._open_requests.pop(slot, None):
            open_request[1].cancel()

    def close(self) -> None:
        """Cancel the open requests, and end the thread."""

        async def cancel_all() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._client is not None:
                await self._client.aclose()

        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(cancel_all(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _run_request(self, number: int, slot: int, request: BoundedRequest) -> None:
        try:
            result: GenerationResult | Exception = await self._complete(slot, request)
        except EngineError as error:
            result = error
        except Exception as error:  # named boundary: a bug in this thread must not leave the rollout waiting for ever
            result = RuntimeError(f"a request to {self.url} failed: {one_line_error(error)}")
        self._finished.put((number, result))

    async def _complete(self, slot: int, request: BoundedRequest) -> GenerationResult:
        """Send the request until it succeeds or the retries are used up."""
        if request.limit is not None and request.limit < 1:
            return GenerationResult(slot, truncation_reason=f"{request.full_context} is full")
        problem = ""
        for attempt in range(self.settings.max_retries + 1):
            delay = _retry_delay(attempt)
            try:
                response = await self._post(request.body, is_retry=attempt > 0)
                # A server refuses a prompt that leaves no room for all tokens that are asked for, even if the answer needs few.
                while is_context_full(response) and (shorter := request.halved(self._server_context)) is not None:
                    request = shorter
                    response = await self._post(request.body, is_retry=True)
                if response.status_code in (400, 422) and not is_context_full(response) and has_empty_message(request.body):
                    response = await self._post(without_empty_messages(request.body), is_retry=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                problem = f"cannot be reached: {one_line_error(error)}"
                if attempt == self.settings.max_retries and not self._has_responded:
                    raise EngineError(f"{self.url} {problem}; is it running, and is engine.url right?") from None
            except httpx.HTTPError as error:  # the connection broke, or the request timed out
                problem = f"did not answer: {one_line_error(error)}"
            else:
                self._has_responded = True
                if response.is_success:
                    if (result := self._read_completion(slot, request, response)) is not None:
                        self._has_answered = True
                        return result
                    problem = "answered with something else than a chat completion"
                elif is_context_full(response):
                    remedy = "raise the server's context, or choose a model with a longer one"
                    self._check_first_rejections(f"{self._rejection_message(response)}; {remedy}")
                    return GenerationResult(slot, truncation_reason=f"{self._server_context} is full")
                elif is_retryable(response):
                    problem = f"answered {response.status_code}"
                    delay = self._apply_retry_after(response, delay)
                else:
                    return self._reject(slot, response)
            if attempt < self.settings.max_retries:
                await asyncio.sleep(delay)
        return GenerationResult(slot, error=f"{self.url} {problem}; asked {self.settings.max_retries + 1} times (retries)")

    async def _post(self, body: Mapping[str, Any], *, is_retry: bool) -> httpx.Response:
        """One request, when the rate limit allows it."""
        await self._wait_for_rate_limit()
        self.usage.requests += 1
        self.usage.repeated += is_retry
        return await self._http_client().post(f"{self.url}/chat/completions", json=body)

    def _reject(self, slot: int, response: httpx.Response) -> GenerationResult:
        """The error of one episode. Raises EngineError if the refusal concerns every request."""
        message = self._rejection_message(response)
        was_read = response.status_code in REQUEST_STATUS_CODES
        if not is_about_one_request(response) and not (was_read and self._has_answered):
            raise EngineError(message)
        self._check_first_rejections(message)
        return GenerationResult(slot, error=message)

    def _check_first_rejections(self, message: str) -> None:
        """Count a refused conversation. Raises EngineError if the server has refused several, and answered none."""
        if not self._has_answered:
            self._first_rejections += 1
            if self._first_rejections >= _MAX_FIRST_REJECTIONS:
                raise EngineError(f"{message} (so were the first {self._first_rejections} requests, and none was answered)")

    def _read_completion(self, slot: int, request: BoundedRequest, response: httpx.Response) -> GenerationResult | None:
        """The result, whose tokens are counted; None if the response is no chat completion."""
        completion = read_completion(response)
        if completion is None:
            return None
        self.usage.tokens_in += completion.prompt_tokens
        self.usage.tokens_out += completion.completion_tokens
        if request.full_context is not None and not completion.stopped:
            return GenerationResult(slot, truncation_reason=f"{request.full_context} is full")
        if error := completion.error(self.url):
            return GenerationResult(slot, error=error)
        if completion.total_tokens > self.context_length:  # the server may have a longer one
            return GenerationResult(slot, truncation_reason=f"the context of {self.context_length} tokens is full")
        return GenerationResult(slot, completion.text.strip(), stopped=completion.stopped, total_tokens=completion.total_tokens)

    def _rejection_message(self, response: httpx.Response) -> str:
        """One line; without the response's body if that may repeat a part of the key."""
        rejected = f"{self.url} rejected the request for {self.model!r} with {response.status_code}"
        variable = self.settings.api_key_env
        if response.status_code in (401, 403) and not is_about_one_request(response):
            if variable is None:
                return f"{rejected}: no key was sent; set api_key_env to the name of the environment variable that holds it"
            return f"{rejected}: the key in {variable} was sent; set the environment variable {variable} to the right one"
        details = " ".join(response.text.split())[:300]
        details = details.replace(self._api_key, "***") if self._api_key else details
        remedy = ""
        if response.status_code in (404, 405):
            remedy = "; is the address right (it most often ends in /v1), and the model's name?"
        return f"{rejected}: {details}{remedy}"

    async def _wait_for_rate_limit(self) -> None:
        """Wait until the rate limit, and what the server asked for, allow the next request; requests pass one after another."""
        now = self._loop.time()
        send_time = max(now, self._next_request_time)
        if self.settings.requests_per_minute:
            self._next_request_time = send_time + 60 / self.settings.requests_per_minute
        if send_time > now:
            await asyncio.sleep(send_time - now)

    def _apply_retry_after(self, response: httpx.Response, delay: float) -> float:
        """The delay before the retry. A Retry-After header, a minute at most, delays the requests of all slots."""
        try:
            retry_after = min(_MAX_RETRY_DELAY, float(response.headers.get("retry-after", "")))
        except ValueError:  # no header, or a date
            return delay
        self._next_request_time = max(self._next_request_time, self._loop.time() + retry_after)
        return max(delay, retry_after)

    def _http_client(self) -> httpx.AsyncClient:
        if self._client is None:
            limits = httpx.Limits(max_connections=self.num_slots, max_keepalive_connections=self.num_slots)
            self._client = httpx.AsyncClient(timeout=_timeout(self.settings.timeout), headers=self._headers(), limits=limits)
        return self._client

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}


def _timeout(seconds: float) -> httpx.Timeout:
    """The timeout of a request. A connection is given up earlier, because some addresses never answer (a firewall, a stopped machine)."""
    return httpx.Timeout(seconds, connect=min(_CONNECT_TIMEOUT, seconds))


def _retry_delay(attempt: int) -> float:
    """Seconds before the next attempt: exponential backoff with jitter."""
    return min(_MAX_RETRY_DELAY, _FIRST_RETRY_DELAY * 2.0**attempt) * random.uniform(0.5, 1.0)


def _read_api_key(settings: EngineParams) -> str:
    """The key, "" if none is sent. An unusable key is rejected here, because the error of sending it would repeat it."""
    variable = settings.api_key_env
    if variable is None:
        return ""
    if settings.sends_key_unencrypted():
        raise EngineError(f"{settings.url}: the key in {variable} is not sent over plain http; use https://")
    key = os.environ.get(variable, "").strip()
    if not key:
        raise EngineError(f"api_key_env: the environment variable {variable} is not set; set it to the key of {settings.url}")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise EngineError(f"the environment variable {variable} does not hold a key: it contains spaces or special characters")
    return key
