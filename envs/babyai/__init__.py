"""BabyAI: forty levels of a grid world, told in words."""

from envs.babyai.environment import BabyAI
from envs.babyai.levels import LEVELS

__all__ = ["LEVELS", "BabyAI"]
