"""The environments: contract, registry, and one file or folder per environment. Importing this registers them with Gymnasium."""

from envs.base import ExpertStuck, Instruction, InvalidAction, Sizes, TextEnv, UnknownItem
from envs.factory import make
from envs.registry import ENVIRONMENTS, UnknownEnvironment, environment_class, environment_of, register

register()

__all__ = [
    "ENVIRONMENTS",
    "ExpertStuck",
    "Instruction",
    "InvalidAction",
    "Sizes",
    "TextEnv",
    "UnknownEnvironment",
    "UnknownItem",
    "environment_class",
    "environment_of",
    "make",
]
