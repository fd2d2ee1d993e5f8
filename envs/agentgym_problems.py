"""AgentGym's own problems as environments: `agentgym-weather_17` is problem 17 of its weather server.

Most of AgentGym's problems are others than this project's of the same number, so they have names of their own. Invariant: the number in the
item id is the selector that AgentGym's client sends; such an environment can only be played on a server that speaks AgentGym's protocol.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from envs.base import Instruction, Sizes, TextEnv, UnknownItem
from envs.registry import AGENTGYM_PREFIX, environment_class

_COUNTS = {
    "academia": 20,
    "alfworld": 2_620,
    "babyai": 900,
    "bird": 10_962,
    "maze": 25,
    "movie": 238,
    "sciworld": 4_639,
    "sheet": 20,
    "textcraft": 544,
    "todo": 155,
    "weather": 343,
    "webarena": 812,
    "webshop": 6_910,
    "wordle": 980,
}
"""The problems of each server. BabyAI and Wordle take any number: these are the counts of the paper's Table 2."""
_ALFWORLD_TRAINING_GAMES = 2_420
_CARD = ("version", "task_types", "max_rounds", "lowest_reward", "highest_reward", "waiting_actions")


@lru_cache(maxsize=None)
def problems_class(name: str) -> type[TextEnv]:
    """The environment `agentgym-{name}`: the card of this project's environment, with AgentGym's problems as its instructions.

    The server's numbers do not say which problems AgentEval has, so all are in `eval`; ALFWorld's server has its training games first,
    which are in `explore`.
    """
    base, full_name, count = environment_class(name), AGENTGYM_PREFIX + name, _COUNTS[name]
    training = _ALFWORLD_TRAINING_GAMES if name == "alfworld" else 0

    def instruction(number: int) -> Instruction:
        return Instruction(f"{full_name}_{number}", full_name, name, "not known", f"AgentGym's {name} problem {number}")

    def catalogue(cls: type[TextEnv]) -> tuple[tuple[Instruction, ...], tuple[Instruction, ...]]:
        return tuple(map(instruction, range(training))), tuple(map(instruction, range(training, count)))

    def missing(cls: type[TextEnv]) -> str:
        return f"a server of AgentGym's: rollout.servers={{{full_name}: 'agentgym+http://host:port'}}"

    def begin(self: TextEnv, item_id: str) -> str:
        raise UnknownItem(f"{full_name} is played on a server: envs.make({full_name!r}, server='agentgym+http://host:port')")

    members: dict[str, Any] = {attribute: getattr(base, attribute) for attribute in _CARD}
    members |= {
        "__doc__": f"{base.__name__} on AgentGym's server: its problems, texts and rewards.",
        "name": full_name,
        "task_types": (name,),
        "prompt": _prompt(name, base.prompt),
        "sizes": Sizes(count, count - training, 0, 0),
        "succeeded": staticmethod(base.succeeded),
        "parse_action": staticmethod(base.parse_action),
        "functions": base.functions,
        "catalogue": classmethod(catalogue),
        "missing": classmethod(missing),
        "begin": begin,
    }
    return type(f"AgentGym{base.__name__}", (TextEnv,), members)


def problem_number(item_id: str) -> tuple[str, int]:
    """(`weather`, 17) of `agentgym-weather_17`. Raises UnknownItem."""
    name, _, number = item_id.rpartition("_")
    if not name.startswith(AGENTGYM_PREFIX) or not (number.isascii() and number.isdecimal()):
        raise UnknownItem(f"{item_id!r} is no problem of an AgentGym server; an id is {AGENTGYM_PREFIX}weather_17, for example")
    return name.removeprefix(AGENTGYM_PREFIX), int(number)


def _prompt(name: str, prompt: str) -> str:
    """ALFWorld's prompt has the wording of the version that AgentGym pins."""
    return prompt.replace("move mug 1 to shelf 1", "put mug 1 in/on shelf 1") if name == "alfworld" else prompt
