"""The names of environments in the parameters."""

from __future__ import annotations

from collections.abc import Iterable


def check_known_environments(names: Iterable[str]) -> list[str]:
    """All registered environments. Raises ValueError where one of `names` is not among them."""
    from envs.registry import ENVIRONMENTS, is_registered  # imports gymnasium: too slow for `--help`

    known = sorted(ENVIRONMENTS)
    if unknown := sorted(name for name in set(names) if not is_registered(name)):
        raise ValueError(f"names among {', '.join(known)}; {', '.join(unknown)} is not one")
    return known
