"""ALFWorld: household tasks in words."""

from envs.alfworld.environment import ALFWorld

__all__ = ["ALFWorld"]
