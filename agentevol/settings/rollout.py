"""The parameters of playing episodes. Imports nothing but pydantic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from agentevol.settings.environments import check_known_environments
from agentevol.settings.types import Count, Natural, Positive, Precision, Section, Temperature, TopP, check_server_url, parameter


def _check_addresses(value: object) -> object:
    """One address or a list of different ones, as given. Raises ValueError."""
    given = value if isinstance(value, list) else [value]
    addresses = [address for address in given if isinstance(address, str)]
    if not addresses or len(addresses) < len(given) or len(set(addresses)) < len(addresses):
        raise ValueError("an address, or a list of addresses, each once")
    for address in addresses:
        check_server_url(address)
    return value


_Servers = Annotated[str | list[str], BeforeValidator(_check_addresses)]


class RolloutParams(Section):
    """How episodes are played."""

    concurrency: Count = parameter(64, "Episodes played at the same time.", effect="numerics", formerly="slots")
    num_workers: Count = parameter(
        2,
        "Processes that share these episodes, with one CPU thread each. On GPUs `num_engines` decides instead.",
        effect="numerics",
        formerly="workers",
    )
    num_engines: Count | None = parameter(
        None,
        "Engines that share these episodes, each with its own GPU and process; null: one for each visible GPU (with vLLM's"
        " tensor_parallel_size and similar options: one for all GPUs). On a CPU null or 1.",
        effect="numerics",
        added_later=True,
    )
    max_new_tokens: Count = parameter(128, "At most this many tokens per answer.")
    context_length: Count = parameter(1280, "At most this many tokens per episode; a longer episode is truncated.", formerly="context")
    precision: Precision = parameter(
        "auto",
        "Number format of `transformers`: auto is float32 on a CPU, and on a GPU the model's own 16-bit type (or bfloat16).",
        effect="numerics",
    )
    kv_cache_gib: Positive | None = parameter(
        None,
        "GiB of GPU memory for the KV cache of `transformers`, allocated as episodes grow; null: 80 % of the memory that is free after"
        " the weights are loaded.",
        effect="numerics",
    )
    chunk_size: Count = parameter(512, "Episodes per task; a kill loses at most one such chunk.", effect="none", formerly="chunk")
    max_repeats: Annotated[int, Field(ge=2)] | None = parameter(
        3, "Truncate an episode when the same answer has the same outcome this many times in a row; null: never.", formerly="repeats"
    )
    max_retries: Natural = parameter(
        1,
        "How often an episode that ended in an error is played again. An error never counts as a failure.",
        effect="none",
        formerly="retries",
    )
    step_timeout: Positive | None = parameter(
        120.0,
        "Seconds that a reset or step of an environment in this process may take; a longer one ends the episode with an error. null: no"
        " limit.",
        effect="none",
    )
    concurrent_steps: Literal["none", "slow", "all"] = parameter(
        "none",
        "Environments that step while the engine generates for other episodes: none, slow (those on a server, and those declared as slow,"
        " such as webarena) or all.",
        effect="numerics",
        added_later=True,
    )
    servers: dict[str, _Servers] = parameter(
        {},
        "Environments that run on a server (`agentevol serve`): name and URL, e.g. {textcraft: http://127.0.0.1:36001}, or a list"
        " of URLs that share the episodes.",
        effect="numerics",
    )

    @field_validator("servers")
    @classmethod
    def _known_environments(cls, servers: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
        if servers:
            check_known_environments(servers)
        return servers

    def addresses(self) -> dict[str, list[str]]:
        """The servers of each environment that is played on servers."""
        return {env: [urls] if isinstance(urls, str) else list(urls) for env, urls in self.servers.items()}


class ExploreParams(Section):
    """How exploration samples actions."""

    temperature: Temperature = parameter(0.7, "Sampling temperature; 0 is greedy.")
    top_p: TopP = parameter(1.0, "Nucleus sampling: keep the most likely tokens that together have this probability.")
    record_logprobs: bool | None = parameter(
        None,
        "Record the log-probabilities of the sampled tokens; null: if evolve.rule is grpo, which needs them. With false, grpo computes them"
        " before training and shares its exploration with other rules.",
        added_later=True,
    )
