"""BabyAI: forty levels of a grid world, told in words."""

from envs.babyai.levels import LEVELS
from envs.babyai.world import BabyAI

__all__ = ["LEVELS", "BabyAI"]
