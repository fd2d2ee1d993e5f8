"""WebShop: buying what somebody describes in an online shop."""

from envs.webshop.environment import WebShop

__all__ = ["WebShop"]
