"""A small OpenAI-compatible endpoint for tests: it counts well (or says what it is told), and can be full, slow, broken or strict."""

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


@dataclass
class Endpoint:
    """`before`: what happens to the first requests, before all is well: a status, "hang up", "slow" or "nonsense" each."""

    say: Callable[[list[dict[str, str]]], str] = lambda messages: count(messages)
    url: str = ""
    key: str = ""
    before: list[int | str] = field(default_factory=list)
    always: int | None = None
    error: dict[str, Any] = field(default_factory=dict)
    retry_after: str | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    pause: float = 0.0
    lock: Any = field(default_factory=threading.Lock)


@contextmanager
def serving(**how: Any) -> Iterator[Endpoint]:
    endpoint = Endpoint(**how)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "null")
            with endpoint.lock:
                endpoint.paths.append(self.path)
                if self.path != "/v1/chat/completions":
                    return self.reply(200, {})
                endpoint.seen.append(body)
                endpoint.at_once += 1
                endpoint.most_at_once = max(endpoint.most_at_once, endpoint.at_once)
                trouble = endpoint.before.pop(0) if endpoint.before else endpoint.always
            time.sleep(endpoint.pause)
            with endpoint.lock:
                endpoint.at_once -= 1
            if endpoint.key and self.headers.get("Authorization") != f"Bearer {endpoint.key}":
                return self.reply(401, {"error": {"message": f"Incorrect API key: {self.headers.get('Authorization')}"}})
            if trouble == "hang up":
                self.close_connection = True
                return self.connection.shutdown(socket.SHUT_RDWR)
            if trouble == "slow":
                time.sleep(3)
            if trouble == "nonsense":
                return self.reply(200, {"choices": []})
            if isinstance(trouble, int):
                return self.reply(trouble, {"error": {"message": "no", **endpoint.error}})
            return self.reply(200, completion(body, endpoint.say))

        def reply(self, status: int, body: dict[str, Any]) -> None:
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
                self.close_connection = True  # who asked has gone

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


def count(messages: list[dict[str, str]]) -> str:
    """The number after the last one that was told."""
    told = int(re.findall(r"(?:from|at) (\d+)", " ".join(message["content"] for message in messages))[-1])
    return f"Thought: After {told} comes the next.\nAction: {told + 1}"


def completion(body: dict[str, Any], say: Callable[[list[dict[str, str]]], str]) -> dict[str, Any]:
    """What is said, cut at `max_tokens` words; a word is a token."""
    text = say(body["messages"])
    cut = len(text.split()) > body["max_tokens"]
    text = " ".join(text.split()[: body["max_tokens"]]) if cut else text
    read = sum(len(message["content"].split()) for message in body["messages"])
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length" if cut else "stop"}],
        "usage": {"prompt_tokens": read, "completion_tokens": len(text.split()), "total_tokens": read + len(text.split())},
    }
