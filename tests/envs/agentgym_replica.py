"""Servers that behave as AgentGym's do (commit 3ef9235), in a thread: what they parse, reply and fail at, rebuilt from reading them.

Each is as small as the behaviour that a test needs. Their errors have AgentGym's forms: status 200 with a field `error`, or status 500.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class Weather:
    """The parser of the tool servers, and a reward that is the best so far: one for the answer 7, also in a tool's result."""

    id_field = "env_idx"

    def __init__(self) -> None:
        self.received: list[str] = []

    def create(self, body: dict[str, Any]) -> Any:
        return body["id"]

    def reset(self, body: dict[str, Any]) -> Any:
        self.reward = 0.0
        return f"Now new trial starts.\nYou should perform actions to accomplish the goal: problem {body['id']}\nGive me one action."

    def step(self, body: dict[str, Any]) -> Any:
        self.received.append(body["action"])
        call = re.search(r"\s*(.*?)\s*with\s*Action Input:\s*(.*?)$", body["action"])
        if call is None:
            return {"observation": "Format error, please response in the form of ...", "reward": self.reward, "done": False}
        text = f"{call[1]} with Action Input: {call[2]}"
        match = re.match(r".*?Action:\s*(.*?)\s*with\s*Action Input:\s*(.*?)$", text, re.MULTILINE | re.DOTALL)
        if match is None:
            return self._reply("ERROR | TypeError(cannot unpack non-iterable NoneType object)")
        try:
            arguments = eval(match[2], {"__builtins__": {}})
        except Exception:
            return self._reply("ERROR | Exception(Parameters in action input are not valid, please change your action input.)")
        if str(arguments.get("answer", arguments.get("number"))) == "7":
            self.reward = 1.0
        return self._reply(f"{match[1]} {arguments}", done="finish" in text)

    def _reply(self, text: str, done: bool = False) -> dict[str, Any]:
        return {"observation": f"Observation: {text}\nGive me one action.", "reward": self.reward, "done": done}


class ALFWorld:
    """alfworld 0.3.3: only `put X in/on Y` puts something down."""

    id_field = "id"
    actions = ("look", "put mug 1 in/on shelf 1")

    def create(self, body: dict[str, Any]) -> Any:
        return {"id": 0}

    def reset(self, body: dict[str, Any]) -> Any:
        assert body["world_type"] == "Text"
        fields = {"available_actions": list(self.actions), "task_type": "pick_and_place"}
        return {"id": body["id"], "observation": f"You are in game {body['game']}.", **fields}

    def step(self, body: dict[str, Any]) -> Any:
        won = body["action"] == self.actions[-1]
        text = "You put the mug 1 in/on the shelf 1." if won else "Nothing happens."
        return {"observation": text, "reward": float(won), "available_actions": ["look"], "done": won}


class NewALFWorld(ALFWorld):
    """alfworld 0.4: only `move X to Y` does."""

    actions = ("look", "move mug 1 to shelf 1")


class BabyAI:
    """The end is cancelled where the reward is at most 0.5, and every further step gives the reward again, later a negative one."""

    id_field = "id"

    def __init__(self, rewards: tuple[float, ...] = (0.0, 0.4, 0.4, -0.2)) -> None:
        self.rewards = rewards

    def create(self, body: dict[str, Any]) -> Any:
        return {"id": 0}

    def reset(self, body: dict[str, Any]) -> Any:
        self.steps = 0
        return {"observation": self._text("Your goal: go to the red ball\n"), "reward": 0, "score": 0, "deleted": False, "done": False}

    def step(self, body: dict[str, Any]) -> Any:
        reward = self.rewards[self.steps]
        self.steps += 1
        return {"observation": self._text(body["action"]), "reward": reward, "score": sum(self.rewards[: self.steps]), "done": False}

    def _text(self, first: str) -> str:
        return f'{first}You see a red ball 1.\nAvailable actions: ["turn left", "pickup red ball 1"]'


class Wordle:
    """The reset does not show the words; /filtered_vocab has them."""

    id_field = "id"

    def create(self, body: dict[str, Any]) -> Any:
        return {"id": 0}

    def reset(self, body: dict[str, Any]) -> Any:
        return {"id": body["id"], "observation": "Let's start Wordle!"}

    def filtered_vocab(self, query: dict[str, str]) -> Any:
        return ["panic", "solar"]

    def step(self, body: dict[str, Any]) -> Any:
        solved = body["action"] == "p a n i c"
        return {"observation": "g g g g g\n" if solved else "invalid word", "reward": float(solved), "done": solved}


class TextCraft:
    """The goals in an order of its own; numbers wrap. A session that it does not know is an error with status 200."""

    id_field = "id"
    goals = ("bread", "diamond boots", "oak planks")

    def __init__(self) -> None:
        self.sessions: set[int] = set()
        self.closed: list[int] = []
        self.resets = 0

    def create(self, body: dict[str, Any]) -> Any:
        self.sessions.add(len(self.sessions))
        return {"id": len(self.sessions) - 1, **self._reply("", False)}

    def reset(self, body: dict[str, Any]) -> Any:
        if body["id"] not in self.sessions:
            return {"error": f"The id {body['id']} is not valid."}
        self.resets += 1
        goal = self.goals[body["data_idx"] % len(self.goals)]
        return {"id": body["id"], **self._reply(f"Crafting commands:\n...\n\nGoal: craft {goal}.", False)}

    def step(self, body: dict[str, Any]) -> Any:
        if body["id"] not in self.sessions:
            return {"error": f"The id {body['id']} is not valid."}
        return self._reply(f"Could not execute {body['action']}", False)

    def close(self, body: dict[str, Any]) -> Any:
        self.closed.append(body["id"])
        return True

    def _reply(self, text: str, done: bool) -> dict[str, Any]:
        return {"observation": text, "reward": 0, "done": done}


class WebArena:
    """The first block between fences is the action; an exception is an observation with `info` null. The goal is in /observation."""

    id_field = "env_idx"

    def create(self, body: dict[str, Any]) -> Any:
        return {"env_idx": 0}

    def reset(self, body: dict[str, Any]) -> Any:
        assert set(body) == {"env_idx", "seed", "idx"}
        return {"observation": "[1] RootWebArea 'Shop'", "sites": ["shopping"], "object": f"Find product {body['idx']}"}

    def observation(self, query: dict[str, str]) -> Any:
        return "OBSERVATION:\n[1] RootWebArea 'Shop'\nURL: http://shop\nOBJECTIVE: Find product 3\nPREVIOUS ACTION: None"

    def step(self, body: dict[str, Any]) -> Any:
        block = re.search(r"```((.|\n)*?)```", body["action"])
        if block is None:
            text = f"Cannot parse action from response {body['action']}"
        elif re.match(r"stop \[.+\]", block[1].strip()):
            return {"observation": "", "reward": 1.0, "terminated": True, "truncated": False, "info": {}}
        else:
            text = "Invalid action"
        return {"observation": text, "reward": 0, "terminated": False, "truncated": False, "info": None}


class Bird:
    """From the second session on it gives one that is in use already, as AgentGym's does from the ninth on."""

    id_field = "env_idx"

    def create(self, body: dict[str, Any]) -> Any:
        return 17

    def reset(self, body: dict[str, Any]) -> Any:
        return [f"question {body['item_id']}", None]

    def step(self, body: dict[str, Any]) -> Any:
        return {"state": "[(1,)]", "reward": 1.0, "done": True, "info": {"ground_truth": "SELECT 1"}}


@contextmanager
def serve(replica: Any, port: int = 0) -> Iterator[str]:
    """The URL of a server, as `envs.make` takes it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # no connection outlives the server

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
            self._reply(lambda: getattr(replica, self.path.strip("/"))(body))

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            self._reply(lambda: getattr(replica, url.path.strip("/"))(dict(parse_qsl(url.query))))

        def _reply(self, function: Any) -> None:
            try:
                status, reply = 200, function()
            except Exception as error:
                status, reply = 500, repr(error)
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the test's output stays readable."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"agentgym+http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
