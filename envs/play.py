"""A person plays an environment in the terminal: observations are printed, and each line of input is an action.

Invariant: nothing is recorded; playing changes no dataset and no stored result.
"""

from __future__ import annotations

import sys
from typing import TextIO

from envs.base import ExpertStuck, TextEnv, UnknownItem
from envs.factory import make
from envs.registry import UnknownEnvironment, environment_class
from envs.remote.client import ServerFailed

_HELP = "Each line is an action. ? lists the actions, ! lets the expert move, Ctrl-D ends."


class Unplayable(ValueError):
    """The environment, instruction or server does not exist, or something is not installed; the message says what to do."""


def play(name: str, item_id: str | None, server: str | None, stdin: TextIO | None = None, stdout: TextIO | None = None) -> int:
    """Play until the episode or the input (by default the terminal's) ends. Returns 0 after a success, else 1. Raises Unplayable."""
    try:
        if server is None and (reason := environment_class(name).missing()):
            raise Unplayable(f"{name} cannot be played here: {reason}")
        env = make(name, server=server)
        try:
            item_id = item_id or env.instructions("eval")[0].item_id
            return _play_episode(env, item_id, stdin or sys.stdin, stdout or sys.stdout, is_local=server is None)
        finally:
            env.close()
    except (UnknownEnvironment, UnknownItem, ServerFailed) as error:
        raise Unplayable(str(error)) from None


def _play_episode(env: TextEnv, item_id: str, stdin: TextIO, stdout: TextIO, *, is_local: bool) -> int:
    observation, info = env.reset(options={"item_id": item_id})
    expert = env.expert() if is_local else None
    print(f"{env.prompt}\n\n{_HELP}\n\n{item_id}\n{observation}", file=stdout)
    while not env.done:
        print("> ", end="", flush=True, file=stdout)
        try:
            line = stdin.readline()
        except KeyboardInterrupt:
            line = ""
        if not line:
            print(file=stdout)
            break
        action = line.strip()
        if action == "?":
            print("\n".join(info.get("available_actions") or ["this environment does not list its actions"]), file=stdout)
            continue
        if action == "!":
            try:
                if expert is None:
                    raise ExpertStuck("there is no expert on a server")
                thought, action = expert.act(observation)
            except ExpertStuck as error:
                print(f"(the expert has no move: {error})", file=stdout)
                continue
            except Exception as error:  # a plan may assume that every action so far was its own
                print(f"(the expert has no move after these actions: {type(error).__name__}: {error})", file=stdout)
                continue
            print(f"(expert: {thought})\n> {action}", file=stdout)
        observation, reward, _, _, info = env.step(action)
        print(observation + (f"\n[reward {reward:g}]" if reward else ""), file=stdout)
    success = env.done and env.succeeded(env.reward)
    print(_summary(env, success), file=stdout)
    return 0 if success else 1


def _summary(env: TextEnv, success: bool) -> str:
    outcome = "success" if success else "no success" if env.done else "stopped"
    return f"{outcome}: reward {env.reward:g} after {env.rounds} rounds (at most {env.max_rounds})"
