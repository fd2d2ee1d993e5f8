"""SciWorld: primary school science experiments in a house described in text."""

from envs.sciworld.environment import SciWorld

__all__ = ["SciWorld"]
