"""The environments by name. Adding one is one new file (or folder) and one line here; modules are imported when first used.

Another package adds its own by an entry point of the group `agentevol.environments` (name = "module:Class"), a program by `add`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import gymnasium

from envs.base import TextEnv

ENVIRONMENTS = {
    "academia": "envs.tools.academia:Academia",
    "alfworld": "envs.alfworld:ALFWorld",
    "babyai": "envs.babyai:BabyAI",
    "bird": "envs.bird:Bird",
    "maze": "envs.maze:Maze",
    "movie": "envs.tools.movie:Movie",
    "sciworld": "envs.sciworld:SciWorld",
    "sheet": "envs.tools.sheet:Sheet",
    "textcraft": "envs.textcraft:TextCraft",
    "todo": "envs.tools.todo:Todo",
    "weather": "envs.tools.weather:Weather",
    "webarena": "envs.webarena:WebArena",
    "webshop": "envs.webshop:WebShop",
    "wordle": "envs.wordle:Wordle",
}
ENVIRONMENTS |= {point.name: point.value for point in entry_points(group="agentevol.environments") if point.name not in ENVIRONMENTS}


class UnknownEnvironment(KeyError):
    """No such environment."""

    def __str__(self) -> str:
        return str(self.args[0])


def environment_class(name: str) -> type[TextEnv]:
    """The class of an environment. Raises UnknownEnvironment, naming those that exist."""
    try:
        module, _, attribute = ENVIRONMENTS[name].partition(":")
    except KeyError:
        raise UnknownEnvironment(f"unknown environment {name!r}; there are: {', '.join(sorted(ENVIRONMENTS))}") from None
    found: type[TextEnv] = getattr(import_module(module), attribute)
    return found


def add(name: str, place: str) -> None:
    """Make an environment known to this process: `place` is "module:Class". Raises ValueError where the name stands for another one."""
    if ENVIRONMENTS.setdefault(name, place) != place:
        raise ValueError(f"there is an environment {name!r} already: {ENVIRONMENTS[name]}; give yours another name")


def make(name: str, *, server: str | None = None, **options: Any) -> TextEnv:
    """A new environment by its short name, without Gymnasium's wrappers; with `server`, the URL of one, it is played there.

    `agentgym+http://...` is the URL of one of AgentGym's servers.
    """
    if server is None:
        return environment_class(name)(**options)
    if server.startswith("agentgym+"):
        from envs.remote.agentgym import AgentGymEnv

        return AgentGymEnv(name, server, **options)
    from envs.remote.client import RemoteEnv

    return RemoteEnv(name, server, **options)


def environment_of(item_id: str) -> str:
    """The environment's name in an item id such as `textcraft_31`."""
    return item_id.rpartition("_")[0]


def register() -> None:
    """Make every environment known to Gymnasium: `gymnasium.make("agentevol/TextCraft-v0")`."""
    for entry_point in ENVIRONMENTS.values():
        identifier = f"agentevol/{entry_point.partition(':')[2]}-v0"
        if identifier not in gymnasium.registry:
            gymnasium.register(id=identifier, entry_point=entry_point, disable_env_checker=True, order_enforce=False)
