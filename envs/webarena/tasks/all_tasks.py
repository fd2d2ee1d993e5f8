"""The 812 tasks, generated from templates in the proportions of WebArena's kinds of sites.

Invariant: the number of a task is its position in `tasks()`, so neither the order of the templates nor their seeds may change.
"""

from __future__ import annotations

import random
from functools import lru_cache

from envs.webarena.sites.database import SiteDatabase
from envs.webarena.tasks import code_hosting, forum, maps_and_wiki, shop, shop_admin
from envs.webarena.tasks.task import Task, Template

_COUNTS: tuple[tuple[int, dict[str, Template]], ...] = (
    (187, shop.TEMPLATES),
    (182, shop_admin.TEMPLATES),
    (180, code_hosting.TEMPLATES),
    (109, maps_and_wiki.MAP_TEMPLATES),
    (106, forum.TEMPLATES),
    (48, maps_and_wiki.WIKI_TEMPLATES | forum.FORUM_AND_WIKI_TEMPLATES),
)
_ATTEMPTS = 60


@lru_cache(maxsize=1)
def tasks() -> tuple[Task, ...]:
    """All tasks in the order of their numbers. Their answers come from the data that every episode starts with."""
    database = SiteDatabase()
    all_tasks: dict[str, Task] = {}
    for count, templates in _COUNTS:
        site_tasks: dict[str, Task] = {}
        rngs = {seed: random.Random(f"webarena envs.webarena.tasks.{seed}") for seed in templates}
        while len(site_tasks) < count:
            for seed, template in templates.items():
                for _ in range(_ATTEMPTS):  # a template may run out of new tasks; the others then give more
                    task = template(database, rngs[seed])
                    if task.intent not in site_tasks:
                        site_tasks[task.intent] = task
                        break
                if len(site_tasks) == count:
                    break
        all_tasks |= site_tasks
    database.close()
    return tuple(all_tasks.values())
