"""The versions of the environments as an input of the tasks that depend on them: rollouts, filtering by reward, the gate.

Invariant: a task whose result depends on how an environment behaves has the version of that environment among its inputs, and no other.
"""

from __future__ import annotations

from agentevol.data.artifact_folder import digest_json
from agentevol.data.function_calling import tools
from agentevol.data.trajectory import TEXT_ONLY
from envs.registry import environment_class
from tasks.artifact import Artifact


def env_versions(*data: Artifact) -> dict[str, int]:
    """The version of every environment that occurs in the data, by name. Trajectories that are text only have none."""
    return {env: environment_class(env).version for env in _names(data)}


def functions_digest(*data: Artifact) -> str:
    """The digest of the functions that the environments of these datasets offer: not part of an environment's version."""
    return digest_json({env: tools(environment_class(env)) for env in _names(data)})


def _names(data: tuple[Artifact, ...]) -> list[str]:
    return sorted({env for artifact in data for env in artifact.counts} - {TEXT_ONLY})
