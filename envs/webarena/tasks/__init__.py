"""The 812 tasks, from templates in the proportions of WebArena's own kinds of sites."""

from __future__ import annotations

import random
from functools import lru_cache

from envs.webarena.sites.store import Store
from envs.webarena.tasks import admin, code, country, forum, shop
from envs.webarena.tasks.task import Task, Template

_SHARES: tuple[tuple[int, tuple[Template, ...]], ...] = (
    (187, shop.TEMPLATES),
    (182, admin.TEMPLATES),
    (180, code.TEMPLATES),
    (109, country.MAP_TEMPLATES),
    (106, forum.TEMPLATES),
    (48, (country.fact, forum.looked_up)),
)
_TRIES = 60


@lru_cache(maxsize=1)
def tasks() -> tuple[Task, ...]:
    """All tasks in the order of their numbers. Their answers come from the data that every episode starts with."""
    store = Store()
    found: dict[str, Task] = {}
    for count, templates in _SHARES:
        chosen: dict[str, Task] = {}
        draws = {template: random.Random(f"webarena {template.__module__} {template.__name__}") for template in templates}
        while len(chosen) < count:
            for template in templates:
                for _ in range(_TRIES):  # a template may have fewer tasks than it is asked for; the others then give more
                    task = template(store, draws[template])
                    if task.intent not in chosen:
                        chosen[task.intent] = task
                        break
                if len(chosen) == count:
                    break
        found |= chosen
    store.close()
    return tuple(found.values())
