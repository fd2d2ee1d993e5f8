"""Requests that no client of ours sends: from web pages, too large, too slow, malformed. Each is refused and affects nobody else."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from envs import make
from envs.checks import replace_surrogates
from envs.protocols.agentgym import PROTOCOLS
from envs.registry import ENVIRONMENTS
from envs.server import request_limits
from envs.server.request_limits import MAX_BODY_BYTES, MAX_HEAD_BYTES, BoundedHttpProtocol, LimitBodies
from tests.envs.served import PLAIN, session, start, step, stop


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process, url = start("1800", "400", "60")
    yield url
    stop(process)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:9"}, 200),  # a forwarded port
        ({"Host": "[::1]"}, 200),
        ({"Host": "attacker.example:36001"}, 403),
        ({"Host": "127.0.0.1.attacker.example"}, 403),
        ({"Host": "localhost.attacker.example:80"}, 403),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Host": "attacker.example", "Origin": "http://attacker.example"}, 403),
        ({"Origin": "SAME"}, 200),  # the page /docs
    ],
)
@pytest.mark.parametrize("path", ["/sessions", "/sessions/KEY/step", "/agentgym/textcraft/create"])
def test_only_requests_to_this_machine_are_answered(server: str, path: str, headers: dict[str, str], status: int) -> None:
    key = session(server)
    headers = {name: server if value == "SAME" else value for name, value in headers.items()}
    body = {"action": "x"} if path.endswith("step") else {"environment": "faulty"}
    reply = httpx.post(server + path.replace("KEY", key), json=body, headers=headers, timeout=180)
    assert reply.status_code in ((200, 201) if status == 200 else (status,)), reply.text
    taken = httpx.get(f"{server}/sessions/{key}").json()["turn"]
    assert taken == (status == 200 and path.endswith("step"))


def test_a_web_page_cannot_open_a_websocket_but_other_clients_can(server: str) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    url = f"{server.replace('http', 'ws')}/openenv/textcraft/ws"
    for origin in ("http://attacker.example", None):
        try:
            with connect(url, origin=origin) as connection:  # type: ignore[arg-type]  # a plain string will do
                connection.send('{"type": "state"}')
                assert json.loads(connection.recv())["type"] == "state"
                opened = True
        except InvalidStatus as error:
            opened, status = False, error.response.status_code
            assert status == 403
        assert opened == (origin is None)


def test_with_a_token_any_host_and_origin_are_answered() -> None:
    process, url = start("1800", "2", "60", AGENTEVOL_TOKEN="secret")
    try:
        headers = {"Host": "environments.example", "Origin": "http://notebook.example", "Authorization": "Bearer secret"}
        assert httpx.get(f"{url}/metrics", headers=headers).status_code == 200
    finally:
        stop(process)


@pytest.mark.parametrize("path", ["/sessions", "/sessions/KEY/step", "/sessions/KEY/reset", "/agentgym/textcraft/step", "/nowhere"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(server: str, path: str, chunked: bool) -> None:
    key = session(server)
    content: Any = b" " * (MAX_BODY_BYTES + 1)
    if chunked:
        content = itertools.repeat(b" " * 65_536, MAX_BODY_BYTES // 65_536 + 2)
    reply = httpx.post(server + path.replace("KEY", key), content=content, headers={"Content-Type": "application/json"})
    assert (reply.status_code, str(MAX_BODY_BYTES) in reply.text) == (413, True)
    assert step(server, key, action="x").status_code == 200


def test_a_head_without_end_is_refused(server: str) -> None:
    host, port = server.removeprefix("http://").split(":")
    for line in (b"x-%d: " + b"a" * 1_000 + b"\r\n", b"a" * 1_000):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: ")
            sent, reply = 0, b""
            try:
                while sent < 100 * MAX_HEAD_BYTES:
                    connection.sendall(line)
                    sent += len(line)
                reply = connection.recv(1_000)
            except ConnectionError:
                pass
            assert sent < 100 * MAX_HEAD_BYTES or b" 400 " in reply
    assert httpx.get(f"{server}/health").status_code == 200


def test_a_body_that_does_not_arrive_gets_408() -> None:
    sent: list[dict[str, Any]] = []

    async def app(*_: Any) -> None:
        raise AssertionError("the request is not complete")

    async def receive() -> dict[str, Any]:
        if not sent_first:
            sent_first.append(True)
            return {"type": "http.request", "body": b"{", "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    sent_first: list[bool] = []
    scope = {"type": "http", "method": "POST", "path": "/steps", "headers": []}
    asyncio.run(LimitBodies(app, seconds=0.05)(scope, receive, send))
    assert sent[0]["status"] == 408


def test_a_connection_without_a_complete_head_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "RECEIVE_SECONDS", 0.2)
    app = FastAPI()
    app.get("/")(lambda: "here")
    listener = socket.create_server(("127.0.0.1", 0))
    uvicorn_server = uvicorn.Server(uvicorn.Config(app, http=BoundedHttpProtocol, log_level="error", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(uvicorn_server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        for start_of_request in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HTTP/1.1\r\n"):
            with socket.create_connection(listener.getsockname(), timeout=60) as connection:
                connection.sendall(start_of_request)
                reply = b"".join(iter(lambda: connection.recv(1_000), b""))
                assert (b"here" in reply) == (b"\r\n\r\n" in start_of_request)
    finally:
        uvicorn_server.should_exit = True
        thread.join(20)


def test_surrogates_are_replaced_by_the_same_rule_as_in_local_play(server: str) -> None:
    remote = make("faulty", server=server)
    remote.reset(options={"item_id": "faulty_0"})
    text = "a\ud83d\udc38\ud800"  # a character in two halves, and a half
    assert remote.step(text)[0] == f"did {len(replace_surrogates(text))} characters"
    remote.close()


MALFORMED = [
    b"", b"null", b"[]", b"1", b'"x"', b"\xff\xfe", b'{"id"', b"NaN",
    b"[" * 50_000, b'{"a":' * 50_000, b'{"id":' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"id":' + b"9" * 5_000 + b"}", b'{"id":' + b"9" * 4_000 + b', "action": "x", "data_idx": 0}',
    b'{"id": 1e400}', b'{"id": NaN}', b'{"id": "x"}', b'{"id": [1]}', b'{"id": {}}', b'{"id": -1}', b'{"id": true}', b'{"id": 0.5}',
    b'{"action": "\\ud800", "id": 0}', b'{"action": "\\u0000", "turn": 1e400}', b'{"item_id": "\\ud800"}', b'{"seed": 1e400}',
    b'{"environment": "\\ud800"}', b'{"environment": "faulty", "\\ud800": 1}', b'{"steps": [{"session": "\\ud800", "action": "x"}]}',
    b'{"steps": [null]}', b'{"steps": {"a": []}}',
]  # fmt: skip
SELECTORS = [b"1" + b"0" * 4_000, b"-1", b"1e400", b"true", b'"0"', b"null", b"[]", b"0.5", b"NaN"]


@pytest.mark.parametrize("path", ["/sessions", "/sessions/KEY/step", "/sessions/KEY/reset", "/steps"])
def test_a_malformed_body_gets_a_client_error(server: str, path: str) -> None:
    key = session(server)
    for content in MALFORMED:
        reply = httpx.post(server + path.replace("KEY", key), content=content, headers={"Content-Type": "application/json"})
        assert reply.status_code in (400, 404, 409, 422) or (reply.is_success and b"action" in content + path.encode()), (content, reply)
        assert reply.is_success or reply.json()["error"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted((set(PLAIN) & set(ENVIRONMENTS)) - {"sciworld", "webarena"}))  # one program per session
def test_a_malformed_body_is_no_server_error_in_agentgyms_protocol(server: str, name: str) -> None:
    protocol = PROTOCOLS[name]
    headers = {"Content-Type": "application/json"}
    with httpx.Client(base_url=f"{server}/agentgym/{protocol.path}", timeout=180, headers=headers) as client:
        created = client.post("/create", json={"id": 0}).json()
        number = created if isinstance(created, int) else created[protocol.id_field]
        session_field, selector_field = protocol.id_field.encode(), protocol.selector_field.encode()
        selections = [b'{"%s": %d, "%s": %s}' % (session_field, number, selector_field, selector) for selector in SELECTORS]
        selections.append(b'{"%s": %d, "action": "%s"}' % (session_field, number, b"a" * 100_001))
        for path in ("create", "reset", "step", "close"):
            for content in [*MALFORMED, *(selections if path in ("reset", "step") else [])]:
                reply = client.post(f"/{path}", content=content)
                assert reply.status_code < 500, (path, content[:80], reply.text)
                for made in [reply.json()] if path == "create" and reply.is_success else []:
                    client.post("/close", json={protocol.id_field: made if isinstance(made, int) else made.get(protocol.id_field)})
        for query in ("", "?id=x&env_idx=x", "?id=1e400&env_idx=1e400", f"?id={'9' * 5_000}&env_idx={'9' * 5_000}"):
            assert client.get(f"/observation{query}").status_code < 500
