"""A small OpenAI-compatible endpoint for tests. It counts correctly (or gives scripted answers), and can be slow, broken or strict."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ChatMessages = list[dict[str, Any]]


@dataclass
class Endpoint:
    """The behaviour of an endpoint, and a record of the requests that it got.

    `answer`: the text of an answer, or a message with `tool_calls`. `first_problems`: what happens to the first requests, one each: a
    status code, "hang up", "slow" or "nonsense". `always`: the status code of all other requests, None for completions. `error`: further
    fields of error responses. `response_delay`: seconds. `refuse`: the status code and the message with which a conversation is refused,
    None if it is answered. `context`: at most so many tokens of a prompt and `max_tokens` together; more are refused in vLLM's words.
    `choice`: fields of every choice that replace those of a completion. `usage`: the counts of every completion, None for the true ones.
    """

    answer: Callable[[ChatMessages], str | dict[str, Any]] = lambda messages: count(messages)
    url: str = ""
    api_key: str = ""
    first_problems: list[int | str] = field(default_factory=list)
    always: int | None = None
    error: dict[str, Any] = field(default_factory=dict)
    refuse: Callable[[ChatMessages], tuple[int, str] | None] = lambda messages: None
    usage: dict[str, Any] | None = None
    context: int | None = None
    choice: dict[str, Any] = field(default_factory=dict)
    retry_after: str | None = None
    response_delay: float = 0.0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    concurrent: int = 0
    max_concurrent: int = 0
    lock: Any = field(default_factory=threading.Lock)


@contextmanager
def serve_endpoint(**behaviour: Any) -> Iterator[Endpoint]:
    endpoint = Endpoint(**behaviour)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "null")
            with endpoint.lock:
                endpoint.paths.append(self.path)
                if self.path != "/v1/chat/completions":
                    return self.respond(200, {})
                endpoint.bodies.append(body)
                endpoint.authorizations.append(self.headers.get("Authorization"))
                endpoint.concurrent += 1
                endpoint.max_concurrent = max(endpoint.max_concurrent, endpoint.concurrent)
                problem = endpoint.first_problems.pop(0) if endpoint.first_problems else endpoint.always
            time.sleep(endpoint.response_delay)
            with endpoint.lock:
                endpoint.concurrent -= 1
            if endpoint.api_key and self.headers.get("Authorization") != f"Bearer {endpoint.api_key}":
                return self.respond(401, {"error": {"message": f"Incorrect API key: {self.headers.get('Authorization')}"}})
            if problem == "hang up":
                self.close_connection = True
                return self.connection.shutdown(socket.SHUT_RDWR)
            if problem == "slow":
                time.sleep(3)
            if problem == "nonsense":
                return self.respond(200, {"choices": []})
            if isinstance(problem, int):
                return self.respond(problem, {"error": {"message": "no", **endpoint.error}})
            if refusal := endpoint.refuse(body["messages"]):
                return self.respond(refusal[0], {"error": {"message": refusal[1]}})
            if endpoint.context is not None and prompt_tokens(body) + body["max_tokens"] > endpoint.context:
                message = f"This model's maximum context length is {endpoint.context} tokens. However, you requested more output tokens."
                return self.respond(400, {"error": {"message": message}})
            reply = completion(body, endpoint.answer)
            reply["choices"][0].update(endpoint.choice)
            reply["usage"] = reply["usage"] if endpoint.usage is None else endpoint.usage
            return self.respond(200, reply)

        def respond(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if endpoint.retry_after and status >= 400:
                    self.send_header("Retry-After", endpoint.retry_after)
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                self.close_connection = True  # the client has closed the connection

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()


def count(messages: ChatMessages) -> str:
    """The next number after the last one in the conversation, as an answer of the counting environment."""
    number = int(re.findall(r"(?:from|at) (\d+)", " ".join(message["content"] for message in messages))[-1])
    return f"Thought: After {number} comes the next.\nAction: {number + 1}"


def prompt_tokens(body: dict[str, Any]) -> int:
    """The length of a prompt; a word is a token."""
    return sum(len(message["content"].split()) for message in body["messages"])


def completion(body: dict[str, Any], answer: Callable[[ChatMessages], str | dict[str, Any]]) -> dict[str, Any]:
    """A chat completion, cut at `max_tokens`; a word is a token."""
    text = answer(body["messages"])
    if isinstance(text, dict):
        return {"choices": [{"index": 0, "message": {"role": "assistant", **text}, "finish_reason": "tool_calls"}], "usage": {}}
    cut = len(text.split()) > body["max_tokens"]
    text = " ".join(text.split()[: body["max_tokens"]]) if cut else text
    completion_tokens = len(text.split())
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length" if cut else "stop"}],
        "usage": {
            "prompt_tokens": prompt_tokens(body),
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens(body) + completion_tokens,
        },
    }
