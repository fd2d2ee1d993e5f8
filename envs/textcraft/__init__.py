"""TextCraft: crafting in text with Minecraft's recipes, or with any other recipe book."""

from envs.textcraft.environment import TextCraft
from envs.textcraft.original import OriginalTextCraft
from envs.textcraft.recipes import Recipe, RecipeBook

__all__ = ["OriginalTextCraft", "Recipe", "RecipeBook", "TextCraft"]
