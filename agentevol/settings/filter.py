"""The parameters of the filter of explored episodes. Imports nothing but pydantic."""

from __future__ import annotations

from typing import Literal

from agentevol.settings.types import Section, parameter

Keep = Literal["success", "positive", "all"]


class FilterParams(Section):
    """Which explored episodes a policy learns from."""

    keep: Keep = parameter(
        "success",
        "The episodes to keep: success (by the environment's rule), positive (a reward above 0, so partial rewards, too), all.",
        added_later=True,
    )
    deduplicate: bool = parameter(
        True,
        "Keep one of several episodes with the same answers; false counts each as often as it was sampled (filter and merging).",
        added_later=True,
    )


DEFAULT_FILTER = FilterParams()
