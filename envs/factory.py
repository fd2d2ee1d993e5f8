"""`make` creates an environment by its name: embedded in this process, or played on a server.

Invariant: the registry and the clients of servers do not know this module, so they do not depend on each other.
"""

from __future__ import annotations

from typing import Any

from envs.base import TextEnv
from envs.registry import environment_class


def make(name: str, *, server: str | None = None, **options: Any) -> TextEnv:
    """A new environment by its short name, without Gymnasium's wrappers.

    `server`: the URL of a server to play on; `agentgym+http://...` is one of AgentGym's servers. Raises UnknownEnvironment.
    """
    if server is None:
        return environment_class(name)(**options)
    # Imported when needed: most programs use no server and should not wait for the HTTP libraries.
    if server.startswith("agentgym+"):
        from envs.remote.agentgym import AgentGymEnv

        return AgentGymEnv(name, server, **options)
    from envs.remote.client import RemoteEnv

    return RemoteEnv(name, server, **options)
