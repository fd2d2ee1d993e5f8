"""A store of another version of the product is reported in one line, and never misread or mixed with results of this version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentevol.data.artifact_folder import folder_digest, write_manifest
from agentevol.settings.schema import Params
from flows.pipeline import Pipeline
from tasks import paths
from tasks.artifact import SCHEMA, Artifact, IncompatibleSchema, check_store
from tasks.store_catalogue import select
from tasks.store_exchange import Remote, RemoteError

VERSION_1 = {
    "schema": 1,
    "task": "gather",
    "version": "4",
    "inputs": {"chunks": [{"kind": "trajectories", "digest": "c"}]},
    "created_by": "agentevol 0.1.0",
}
FACTS = {"seconds": 1.0, "episodes": 0, "tokens": 0, "errors": 0, "commonest_error": None, "cut": {"context": 0, "loop": 0}, "parts": []}
MESSAGE = (
    r"gather-v4-\w{16} was written by agentevol 0\.1\.0 \(schema 1; agentevol \S+ reads 2\): use that version, or move runs/store away"
)


def store_result(name: str, manifest: dict[str, Any], facts: dict[str, Any]) -> Artifact:
    """A result as a task stores it."""
    root = paths.store() / name
    (root / "dataset").mkdir(parents=True)
    (root / "dataset" / "rows").write_text("rows")
    artifact = Artifact(
        kind="trajectories", path=paths.record(root / "dataset"), digest=folder_digest(root / "dataset"), counts={"maze": 1}, facts=facts
    )
    write_manifest(root, "trajectories", **manifest, artifact=artifact.model_dump())
    return artifact


@pytest.fixture
def version_1(project: Path) -> None:
    store_result("gather-v4-0123456789abcdef", VERSION_1, FACTS)


@pytest.mark.usefixtures("version_1")
def test_a_store_of_the_previous_version_is_reported_and_not_misread() -> None:
    for read in (check_store, lambda: select([])):
        with pytest.raises(IncompatibleSchema, match=MESSAGE) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("version_1")
def test_a_run_stops_before_it_adds_to_a_store_of_the_previous_version() -> None:
    with pytest.raises(IncompatibleSchema, match=MESSAGE):
        Pipeline(Params())
    assert [folder.name for folder in paths.store().iterdir()] == ["gather-v4-0123456789abcdef"]


def test_a_manifest_without_a_schema_number_is_of_the_first_version(project: Path) -> None:
    manifest = {name: value for name, value in VERSION_1.items() if name != "schema"}
    store_result("gather-v4-0123456789abcdef", manifest, FACTS)
    with pytest.raises(IncompatibleSchema, match=MESSAGE):
        check_store()


def test_an_unfinished_folder_is_ignored_and_a_current_store_passes(project: Path) -> None:
    (paths.store() / "merge-v1-0123456789abcdef").mkdir(parents=True)
    check_store()
    store_result("score-v1-0123456789abcdef", VERSION_1 | {"schema": SCHEMA}, {})
    check_store()


def test_results_of_the_previous_version_are_not_pulled(project: Path, tmp_path: Path) -> None:
    store_result("gather-v4-0123456789abcdef", VERSION_1 | {"schema": SCHEMA}, FACTS)
    remote = Remote(str(tmp_path / "shared"))
    remote.push(select([]))
    for manifest in (tmp_path / "shared").glob("store/*/*/manifest.json"):  # as the previous version pushed it
        manifest.write_text(manifest.read_text().replace(f'"schema": {SCHEMA}', '"schema": 1'))
    paths.store().rename(project / "away")
    with pytest.raises(RemoteError, match=r"written by agentevol 0\.1\.0 \(schema 1; agentevol \S+ reads 2\): use that version"):
        remote.pull(remote.read_index())
    assert not list(paths.store().glob("gather-*"))
