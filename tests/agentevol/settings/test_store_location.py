"""Where a store may be: a location without a credential in it, which is never repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentevol.settings.load import SettingsError, load_params
from agentevol.settings.schema import Params
from agentevol.settings.store import holds_credentials
from tasks.remote_files import RemoteError
from tasks.store_exchange import Remote


@pytest.mark.parametrize(
    "location",
    [
        *("s3://AKID:hunter2@bucket/x", "s3://AKID:hunt/er2@bucket/x", "ssh://user:hunter2@host/x", "ftp://user:hun/ter2@host/x"),
        *("https://host/x?X-Amz-Signature=hunter2", "file:///x#hunter2", "simplecache::s3://bucket/hunter2", "hunter2/relative", "store"),
    ],
)
def test_a_location_with_a_credential_or_without_a_root_is_refused_and_not_repeated(location: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    with pytest.raises(SettingsError, match=r"^store\.url: allowed: s3://bucket/folder.*credentials come from the environment") as caught:
        load_params(tmp_path / "params.yaml", [f"store.url={location}"])
    assert "unter2" not in str(caught.value)
    if holds_credentials(location):
        with pytest.raises(RemoteError, match="credentials come from the environment") as refused:
            Remote(location)
        assert "unter2" not in str(refused.value)


@pytest.mark.parametrize("location", ["s3://bucket/a/b", "file:///shared/my folder", "ssh://user@host:22/srv", "/mnt/team@home", "gs://b"])
def test_locations_without_credentials_are_accepted(location: str) -> None:
    assert Params.model_validate({"store": {"url": location}}).store.url == location
