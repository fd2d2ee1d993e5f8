"""Clients: environments that are played on a server."""
