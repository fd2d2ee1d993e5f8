"""WebShop: buy the product that an instruction describes in an online shop."""

from envs.webshop.environment import WebShop

__all__ = ["WebShop"]
