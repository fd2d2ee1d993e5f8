"""Protocols of other projects, as far as both a client and a server here need them."""
