"""ALFWorld: household tasks in text."""

from envs.alfworld.environment import ALFWorld

__all__ = ["ALFWorld"]
