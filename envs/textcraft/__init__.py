"""TextCraft: crafting in text over Minecraft's recipes, or over any other book of recipes."""

from envs.textcraft.environment import TextCraft
from envs.textcraft.recipes import Recipe, RecipeBook

__all__ = ["Recipe", "RecipeBook", "TextCraft"]
