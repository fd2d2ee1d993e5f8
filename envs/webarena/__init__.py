"""WebArena on small sites of the project's own, in the system's Chromium."""

from envs.webarena.environment import WebArena

__all__ = ["WebArena"]
