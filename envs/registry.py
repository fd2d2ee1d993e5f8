"""The environments by name. Adding one is one new file (or folder) and one line here; modules are imported when first used.

Another package adds its own by an entry point of the group `agentevol.environments` (name = "module:Class"), a program by `add`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

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
_AGENTGYM = frozenset(ENVIRONMENTS)
ENVIRONMENTS |= {point.name: point.value for point in entry_points(group="agentevol.environments") if point.name not in ENVIRONMENTS}

VARIANTS = {"textcraft-original": "envs.textcraft:OriginalTextCraft"}
"""Other settings of environments. They are played where they are named; lists of all environments do not have them."""
VARIANT_OF = {"textcraft-original": "textcraft"}
"""The environment whose servers of AgentGym's play the variant."""

AGENTGYM_PREFIX = "agentgym-"
"""`agentgym-weather` is AgentGym's weather environment with its own problems (envs.agentgym_problems); it is played on a server."""


class UnknownEnvironment(KeyError):
    """No such environment."""

    def __str__(self) -> str:
        return str(self.args[0])


def environment_class(name: str) -> type[TextEnv]:
    """The class of an environment. Raises UnknownEnvironment, with the names that exist."""
    if name not in ENVIRONMENTS and name not in VARIANTS and is_registered(name):
        problems: type[TextEnv] = import_module("envs.agentgym_problems").problems_class(name.removeprefix(AGENTGYM_PREFIX))
        return problems
    try:
        module, _, attribute = (VARIANTS.get(name) or ENVIRONMENTS[name]).partition(":")
    except KeyError:
        raise UnknownEnvironment(f"unknown environment {name!r}; there are: {', '.join(sorted(ENVIRONMENTS))}") from None
    cls: type[TextEnv] = getattr(import_module(module), attribute)
    return cls


def is_registered(name: str) -> bool:
    """Whether `environment_class` knows it: one of ENVIRONMENTS or VARIANTS, or one of AgentGym's with its own problems."""
    return (
        name in ENVIRONMENTS
        or name in VARIANTS
        or (isinstance(name, str) and name.startswith(AGENTGYM_PREFIX) and name.removeprefix(AGENTGYM_PREFIX) in _AGENTGYM)
    )


def registered_environments() -> list[str]:
    """The names that `environment_class` knows."""
    return sorted({*ENVIRONMENTS, *VARIANTS, *(AGENTGYM_PREFIX + name for name in _AGENTGYM)})


def add(name: str, entry_point: str) -> None:
    """Register an environment ("module:Class") in this process. Raises ValueError if the name belongs to another one."""
    taken = VARIANTS.get(name) or ENVIRONMENTS.setdefault(name, entry_point)
    if taken != entry_point:
        raise ValueError(f"there is an environment {name!r} already: {taken}; give yours another name")


def environment_of(item_id: str) -> str:
    """The environment's name in an item id such as `textcraft_31`."""
    return item_id.rpartition("_")[0]


def register() -> None:
    """Register every environment with Gymnasium: `gymnasium.make("agentevol/TextCraft-v0")`."""
    for entry_point in (*ENVIRONMENTS.values(), *VARIANTS.values()):
        identifier = f"agentevol/{entry_point.partition(':')[2]}-v0"
        if identifier not in gymnasium.registry:
            gymnasium.register(id=identifier, entry_point=entry_point, disable_env_checker=True, order_enforce=False)
