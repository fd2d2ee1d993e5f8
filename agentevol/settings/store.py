"""The parameters of the store of results. Imports nothing but pydantic.

Invariant: a location never holds a credential, because parameters are logged. Credentials come from the environment.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from agentevol.settings.types import Section, parameter

OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss")
"""Locations in a bucket: what stands before @ there is a key, not a user."""
_ALLOWED = (
    "s3://bucket/folder, file:///shared/folder, any other URL that fsspec opens, or an absolute path; without a key, a password or a query"
    " in it: credentials come from the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_...)"
)


def holds_credentials(location: str) -> bool:
    """Whether a URL has a password, an object store's key or a query in it (a signed URL has its signature there)."""
    scheme, is_url, rest = location.partition("://")
    if not is_url:
        return False
    authority = rest.partition("/")[0]
    user, has_user, host = authority.rpartition("@")
    names_port = bool(re.fullmatch(r"[^:]*:\d+", host)) or host.startswith("[")
    if scheme.lower() in OBJECT_STORES and (has_user or ":" in authority or "@" in rest):
        return True
    return ":" in user or (":" in host and not names_port) or bool(re.search(r"[?#]", rest))


def check_store_location(location: str) -> str:
    """The location as it is given. Raises ValueError, which does not repeat it."""
    is_url = bool(re.fullmatch(r"[a-z][a-z0-9+.-]*://\S.*", location))
    if not (is_url or location.startswith("/")) or "::" in location or holds_credentials(location):
        raise ValueError(_ALLOWED)
    return location.rstrip("/")


class StoreParams(Section):
    """Where results are shared with other machines."""

    url: Annotated[str, AfterValidator(check_store_location)] | None = parameter(
        None,
        "A shared store, e.g. s3://bucket/folder or file:///shared/folder: results that are missing in runs/store are fetched from there,"
        " and every result is copied there. null: use only runs/store. Credentials come from the environment, never from here.",
        effect="none",
        added_later=True,
    )
