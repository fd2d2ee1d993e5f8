"""WebArena: tasks on web sites, in a real browser."""

from envs.webarena.environment import WebArena

__all__ = ["WebArena"]
