"""Options of a model's attention that the attention functions of this project do not compute.

Invariant: an option that would change the result is refused and never ignored. Imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

_UNSUPPORTED = ("softcap", "s_aux", "position_bias")


def check_attention_options(options: Mapping[str, object], problem: str) -> None:
    """Raises NotImplementedError with `problem`, followed by the names of the options that are set and not supported."""
    if unsupported := [name for name in _UNSUPPORTED if options.get(name) is not None]:
        raise NotImplementedError(f"{problem} {', '.join(unsupported)}")
