"""Sampling parameters, and the random number generator of each episode.

Invariant: the generator of an episode is seeded by (seed, iteration, item_id, sample) and nothing else. Imports no torch.
"""

from __future__ import annotations

import hashlib

import numpy as np
from pydantic import BaseModel, ConfigDict

from agentevol.settings.types import parameter


class Sampling(BaseModel):
    """`temperature` 0 is greedy decoding; `top_p`: nucleus sampling (Holtzman et al., 2020), 1.0 samples from all tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    iteration: int = 0
    record_logprobs: bool = parameter(
        False, "Record log p of every sampled token under the model itself: at temperature 1 and without top_p.", added_later=True
    )

    def rng(self, item_id: str, sample: int) -> np.random.Generator:
        """The generator of one episode."""
        key = f"{self.seed}:{self.iteration}:{item_id}:{sample}".encode()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.sha256(key).digest()[:16], "little")))
