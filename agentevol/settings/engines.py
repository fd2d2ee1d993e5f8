"""The parameters of inference engines: one in this process, a server, or a hosted model to compare with.

Invariant: none of them is a secret; a key stays in the environment variable that is named. Imports nothing but pydantic.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, field_validator

from agentevol.settings.types import Count, Natural, Positive, Section, Text, Url, parameter

_SECRETS = ("api_key", "apikey", "authorization", "headers", "extra_headers", "key", "token", "password")


def _check_variable_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("the name of an environment variable, e.g. OPENAI_API_KEY (not the key itself)")
    return value


def _check_column_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", value):
        raise ValueError("a name of letters, digits, spaces and . _ -, e.g. GPT-4-Turbo")
    return value


_VariableName = Annotated[str, AfterValidator(_check_variable_name)]
_ColumnName = Annotated[str, AfterValidator(_check_column_name)]


class EndpointParams(Section):
    """An OpenAI-compatible endpoint."""

    url: Url | None = parameter(None, "The server's address, e.g. http://127.0.0.1:8000/v1.", effect="numerics")
    model: Text | None = parameter(
        None, "The model's name on the server; null: the policy's folder. `agentevol evaluate NAME` overrides it."
    )
    api_key_env: _VariableName | None = parameter(
        None,
        "The environment variable that holds the API key, e.g. OPENAI_API_KEY; null: no key is sent. Never write the key itself here.",
        effect="none",
        formerly="key_from",
    )
    requests_per_minute: Count | None = parameter(
        None, "At most this many requests per minute; null: no limit.", effect="none", formerly="per_minute"
    )
    timeout: Positive = parameter(120.0, "Seconds for one request.", effect="none")
    max_retries: Natural = parameter(
        6,
        "How often a request that may succeed later is repeated (429, 5xx, a broken connection), with growing pauses.",
        effect="none",
        formerly="retries",
    )
    options: dict[str, Any] = parameter({}, "Additional fields of each request (openai), or engine arguments (vllm). null removes a field.")

    @field_validator("options")
    @classmethod
    def _without_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        if secret := [name for name in options if name.lower().replace("-", "_") in _SECRETS]:
            raise ValueError(f"no secrets ({', '.join(secret)}): a key is read from the environment variable that api_key_env names")
        return options

    def sends_key_unencrypted(self) -> bool:
        """Whether a key would go over plain http to another machine."""
        return bool(
            self.api_key_env and self.url and self.url.startswith("http://") and not _is_loopback(urlsplit(self.url).hostname or "")
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class EngineParams(EndpointParams):
    """The inference engine that generates the policies' answers."""

    kind: Literal["transformers", "vllm", "openai"] = parameter(
        "transformers",
        "transformers or vllm (both in this process), or openai (a server). The other keys, except `options`, apply only to openai.",
    )
    weight_sync: Literal["vllm"] | None = parameter(
        None,
        "How the server loads a new policy: vllm (`VLLM_SERVER_DEV_MODE=1 vllm serve`); null: it does not, so its model can only be"
        " evaluated.",
        effect="numerics",
        formerly="refresh",
    )


class BaselineParams(EndpointParams):
    """A hosted model to compare with."""

    name: _ColumnName = parameter(..., "The title of its column in the report.")
    url: Url = parameter(..., "The server's address, e.g. https://api.example.com/v1.", effect="numerics")
    model: Text = parameter(..., "The model's name on the server.")
    concurrency: Count = parameter(
        16, "Episodes that are played at the same time, with one request each.", effect="numerics", formerly="at_once"
    )
    max_new_tokens: Count = parameter(512, "At most this many tokens per answer.")
    context_length: Count = parameter(32768, "At most this many tokens per episode.", formerly="context")

    def engine(self) -> EngineParams:
        return EngineParams(kind="openai", **self.model_dump(include=set(EndpointParams.model_fields)))
