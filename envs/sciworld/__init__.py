"""SciWorld: experiments of primary school science in a house of words."""

from envs.sciworld.environment import SciWorld

__all__ = ["SciWorld"]
