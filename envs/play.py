"""A person at an environment: what it says goes to the screen, each line typed is an action."""

from __future__ import annotations

import sys
from typing import TextIO

from envs.base import ExpertStuck, TextEnv, UnknownItem
from envs.registry import UnknownEnvironment, environment_class, make
from envs.remote.client import ServerFailed

_HELP = "Each line is an action. ? lists the actions, ! lets the expert move, Ctrl-D ends."


class Unplayable(ValueError):
    """There is no such environment, instruction or server, or something is not installed; the message says what to do."""


def play(name: str, item_id: str | None, server: str | None, given: TextIO | None = None, out: TextIO | None = None) -> int:
    """Play until the episode or the input (by default the terminal's) ends. Returns 0 after a success, else 1. Raises Unplayable."""
    try:
        if server is None and (reason := environment_class(name).missing()):
            raise Unplayable(f"{name} cannot be played here: {reason}")
        env = make(name, server=server)
        try:
            return _played(env, item_id or env.instructions("eval")[0].item_id, server is None, given or sys.stdin, out or sys.stdout)
        finally:
            env.close()
    except (UnknownEnvironment, UnknownItem, ServerFailed) as error:
        raise Unplayable(str(error)) from None


def _played(env: TextEnv, item_id: str, here: bool, given: TextIO, out: TextIO) -> int:
    observation, info = env.reset(options={"item_id": item_id})
    expert = env.expert() if here else None
    print(f"{env.prompt}\n\n{_HELP}\n\n{item_id}\n{observation}", file=out)
    while not env.done:
        print("> ", end="", flush=True, file=out)
        try:
            line = given.readline()
        except KeyboardInterrupt:
            line = ""
        if not line:
            print(file=out)
            break
        typed = line.strip()
        if typed == "?":
            print("\n".join(info.get("available_actions") or ["this environment does not list its actions"]), file=out)
            continue
        if typed == "!":
            try:
                if expert is None:
                    raise ExpertStuck("on a server there is none")
                thought, typed = expert.act(observation)
            except ExpertStuck as error:
                print(f"(the expert has no move: {error})", file=out)
                continue
            print(f"(expert: {thought})\n> {typed}", file=out)
        observation, reward, _, _, info = env.step(typed)
        print(observation + (f"\n[reward {reward:g}]" if reward else ""), file=out)
    won = env.done and env.succeeded(env.reward)
    print(_verdict(env, won), file=out)
    return 0 if won else 1


def _verdict(env: TextEnv, won: bool) -> str:
    end = "success" if won else "no success" if env.done else "stopped"
    return f"{end}: reward {env.reward:g} after {env.rounds} rounds (at most {env.max_rounds})"
