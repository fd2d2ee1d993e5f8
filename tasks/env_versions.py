"""The code of the worlds as an input of the tasks in which it decides: playing, filtering by reward, the gate.

Invariant: a task whose result depends on how an environment behaves has the digest of that environment among its inputs, and of no other.
"""

from __future__ import annotations

from agentevol.data.experts import world_hash
from tasks.artifact import Artifact


def worlds(*data: Artifact) -> dict[str, str]:
    """The digest of every environment that occurs in the data, by name."""
    return {env: world_hash(env) for env in sorted({env for one in data for env in one.counts})}
