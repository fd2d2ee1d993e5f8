"""The parameters of what speaks for a policy: an engine in this process, a server, a hosted model to compare with.

Invariant: no secret is among them; a key stays in the environment variable that is named. Imports nothing but pydantic.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from agentevol.settings.types import Count, Natural, Positive, Section, Text, Url

_SECRETS = ("api_key", "apikey", "authorization", "headers", "extra_headers", "key", "token", "password")


class EndpointParams(Section):
    """An OpenAI-compatible endpoint. `api_key_env`: the environment variable that holds its key; where that is not set none is sent.

    `requests_per_minute`: requests at most; null knows no limit. `timeout`: seconds for one request. `max_retries`:
    of a request that was not answered
    (429, 5xx, a broken connection), with growing pauses. `options`: further fields of every request; null takes one out.
    """

    url: Url | None = None
    model: Text | None = None
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "OPENAI_API_KEY"
    requests_per_minute: Count | None = None
    timeout: Positive = 120.0
    max_retries: Natural = 6
    options: dict[str, Any] = {}

    @field_validator("options")
    @classmethod
    def _without_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        if secret := [name for name in options if name.lower().replace("-", "_") in _SECRETS]:
            raise ValueError(f"no secrets ({', '.join(secret)}): a key is read from the environment variable that api_key_env names")
        return options


class EngineParams(EndpointParams):
    """What speaks for the policies of the run: `kind` transformers, vllm (both in this process) or openai (a server).

    `url`, `model`, `api_key_env`, `requests_per_minute`, `timeout`, `max_retries` are the server's.
    `weight_sync`: how it is given a new policy (vllm:
    by its
    own requests, `VLLM_SERVER_DEV_MODE=1 vllm serve`); null: it never is, and can only be evaluated. `options`: fields of the requests,
    or vLLM's engine arguments.
    """

    kind: Literal["transformers", "vllm", "openai"] = "transformers"
    weight_sync: Literal["vllm"] | None = None


class BaselineParams(EndpointParams):
    """A hosted model to compare with: `name` heads its column in the report. `concurrency`: episodes, and so requests, under way.

    `max_new_tokens`, `context_length`: as in rollout.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
    url: Url
    model: Text
    concurrency: Count = 16
    max_new_tokens: Count = 512
    context_length: Count = 32768

    def engine(self) -> EngineParams:
        return EngineParams(kind="openai", **self.model_dump(include=set(EndpointParams.model_fields)))
