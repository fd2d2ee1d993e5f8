"""BabyAI: forty levels of a gridworld, described in text."""

from envs.babyai.environment import BabyAI
from envs.babyai.levels import LEVELS

__all__ = ["LEVELS", "BabyAI"]
