"""BIRD: questions about databases, answered in SQL."""

from envs.bird.environment import Bird

__all__ = ["Bird"]
