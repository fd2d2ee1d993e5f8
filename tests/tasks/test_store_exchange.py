"""From a digest to the exact content, on this machine and in a shared location: a folder, SSH and S3, over real connections."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentevol.data.artifact_folder import MANIFEST, IncompleteFolder, folder_digest, sha256_file, write_manifest
from agentevol.data.dataset import Dataset, read_dataset, write_dataset
from agentevol.data.trajectory import Message, Trajectory
from agentevol.models import model_digest
from tasks import paths
from tasks.artifact import SCHEMA, Artifact, IncompatibleSchema, store_key
from tasks.store_catalogue import DATA, MODEL, NotFound, ancestry, copy_content, find, select
from tasks.store_exchange import Remote, RemoteError, select_remote
from tests.servers import ssh
from tests.servers.s3 import S3Server

MESSAGES = [Message("user", "?"), Message("assistant", "left", True), Message("user", "no")]


@pytest.fixture
def digests(project: Path) -> dict[str, str]:
    """A store with a model and its episodes, in the form in which tasks write them."""
    model = keep("finetune", "model", lambda to: (to / "config.json").write_text("{}"), {"seed": 3})
    episodes = keep(
        "concatenate_chunks",
        "trajectories",
        lambda to: write_dataset(
            to, [Trajectory("maze_1", "maze", "maze", "eval", "p", "h", 0, 0, MESSAGES, 1.0, True, 1, "finished")], {}
        ),
        {"chunks": [{"kind": "model", "digest": model}]},
    )
    return {"model": model, "episodes": episodes}


def keep(task: str, kind: str, write: object, inputs: dict[str, object], **manifest: object) -> str:
    root = paths.store() / store_key(task, "1", inputs)
    (root / "part").mkdir(parents=True)
    dataset = write(root / "part")  # type: ignore[operator]
    if isinstance(dataset, Dataset):
        digest, counts = dataset.digest, dataset.counts
    else:
        digest, counts = model_digest(root / "part") if kind == "model" else folder_digest(root / "part"), {}
    artifact = Artifact(kind=kind, path=paths.record(root / "part"), digest=digest, counts=counts)
    write_manifest(
        root, kind, **{"schema": SCHEMA, "task": task, "version": "1", "inputs": inputs, "artifact": artifact.model_dump()} | manifest
    )
    return artifact.digest


@pytest.fixture(params=["folder", "ssh", "s3"])
def location(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty shared location."""
    folder = tmp_path_factory.mktemp("shared")
    if request.param == "folder":
        yield str(folder / "shared")
    elif request.param == "ssh":
        pytest.importorskip("sshfs", reason="the extra ssh is not installed")
        if ssh.SSHD is None:
            pytest.skip("no sshd: `apt-get install openssh-server` brings it")
        with ssh.ssh_server(folder) as server:
            monkeypatch.setenv("FSSPEC_SSH_CLIENT_KEYS", str(server.key))
            monkeypatch.setenv("FSSPEC_SSH_KNOWN_HOSTS", str(server.known_hosts))
            reread_fsspec()
            yield server.url(folder / "shared")
    else:
        server: S3Server = request.getfixturevalue("s3_server")
        yield f"s3://{server.new_bucket()}/agentevol"


def reread_fsspec() -> None:
    """Its settings are read from the environment when it is imported, as a command's are."""
    import fsspec.config

    fsspec.config.conf.clear()
    fsspec.config.set_conf_env(fsspec.config.conf, os.environ)


def test_pushed_results_are_pulled_byte_for_byte(digests: dict[str, str], location: str) -> None:
    before = folder_digest(paths.store())
    remote = Remote(location)
    assert remote.push(select([])) == 2
    assert remote.push(select([])) == 0  # it is there
    shutil.rmtree(paths.store())
    with pytest.raises(NotFound, match=r"no such dataset .* agentevol data pull URL"):
        find(digests["episodes"], DATA)
    remote = Remote(location)
    there = remote.read_index()
    assert set(there) == set(digests.values())
    assert remote.read_index([digests["model"]]) == {digests["model"]: there[digests["model"]]}
    wanted = select_remote(there, [digests["episodes"][:8]], location)
    assert remote.pull(wanted) == 1
    assert find(digests["episodes"][:8], DATA).artifact.digest == digests["episodes"]
    assert remote.pull(there) == 1  # the model; the other one is whole
    assert folder_digest(paths.store()) == before


def test_what_a_killed_upload_left_in_the_index_is_no_result(digests: dict[str, str], tmp_path: Path) -> None:
    """Killed between the temporary file of an index entry and its name: after it, or instead of it."""
    remote = Remote(str(tmp_path / "shared"))
    remote.push(select([]))
    there = remote.read_index()
    for entry in list((tmp_path / "shared" / "index").glob("*/*/*")):
        entry.with_name(f"{entry.name}.ab12cd34.tmp").touch()
    assert remote.read_index() == there
    assert remote.read_index([digests["model"]]) == {digests["model"]: there[digests["model"]]}
    shutil.move(paths.store(), tmp_path / "store")
    assert remote.pull(remote.read_index()) == 2
    [entry] = (tmp_path / "shared" / "index" / digests["model"]).glob("*/????????????????")
    entry.unlink()
    shutil.rmtree(tmp_path / "shared" / "manifests")
    assert remote.push(select([])) == 1
    assert set(remote.read_index()) == set(digests.values())


def test_damaged_results_are_not_pulled(digests: dict[str, str], tmp_path: Path) -> None:
    remote = Remote(str(tmp_path / "shared"))
    remote.push(select([]))
    shutil.rmtree(paths.store())
    next((tmp_path / "shared").glob("store/concatenate-chunks-*/*/part/*.parquet")).write_bytes(b"other")
    with pytest.raises(RemoteError, match="damaged there"):
        remote.pull(remote.read_index())
    assert not [entry for entry in select([]) if entry.artifact.digest == digests["episodes"]]


def reseal(folder: Path, **changes: object) -> None:
    """Write the manifest of a changed result anew, as someone does who wants it to be believed."""
    manifest = json.loads((folder / MANIFEST).read_text()) | changes
    kind = manifest.pop("kind")
    del manifest["files"]
    write_manifest(folder, kind, **manifest)


def poison(root: Path, artifact: dict[str, Any]) -> None:
    """Other thoughts in the same episodes, with the former digest."""
    rows = read_dataset(root / "part")
    rows[0].messages[1] = Message("assistant", "poisoned", True)
    former = json.loads((root / "part" / MANIFEST).read_text())["digest"]
    write_dataset(root / "part", rows, {})
    reseal(root / "part", digest=former)
    reseal(root)


def name_another_key(root: Path, artifact: dict[str, Any]) -> None:
    reseal(root, inputs={"seed": 4})


def count_more(root: Path, artifact: dict[str, Any]) -> None:
    reseal(root, artifact=artifact | {"counts": {"maze": 2}})


def leave_the_store(root: Path, artifact: dict[str, Any]) -> None:
    reseal(root, artifact=artifact | {"path": "/etc/apt"})


def climb_out(root: Path, artifact: dict[str, Any]) -> None:
    reseal(root, artifact=artifact | {"path": f"runs/store/{root.name}/../../.."})


def change_the_kind(root: Path, artifact: dict[str, Any]) -> None:
    reseal(root, kind="model")


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (poison, "its content has the digest"),
        (name_another_key, "describes another result, concatenate-chunks-v1-"),
        (count_more, "it holds {'maze': 1} rows, its manifest says {'maze': 2}"),
        (leave_the_store, "names /etc/apt, which is not in it"),
        (climb_out, "which is not in it"),
        (change_the_kind, "says both model and trajectories"),
    ],
)
def test_a_result_that_is_not_what_it_claims_is_not_pulled(
    digests: dict[str, str], tmp_path: Path, attack: Callable[[Path, dict[str, Any]], None], message: str
) -> None:
    [root] = paths.store().glob("concatenate-chunks-*")
    attack(root, json.loads((root / MANIFEST).read_text())["artifact"])
    manifest_hash = sha256_file(root / MANIFEST)[:16]
    shared = tmp_path / "shared"
    shutil.copytree(root, shared / "store" / root.name / manifest_hash)
    index = shared / "index" / digests["episodes"] / root.name
    index.mkdir(parents=True)
    (index / manifest_hash).touch()
    shutil.rmtree(paths.store())
    remote = Remote(str(shared))
    with pytest.raises(RemoteError, match=re.escape(message)) as caught:
        remote.pull(remote.read_index())
    assert "\n" not in str(caught.value)
    assert list(paths.store().iterdir()) == []


def test_content_is_pulled_under_its_own_digest_only(digests: dict[str, str], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    Remote(str(shared)).push(select([]))
    (shared / "index" / digests["episodes"]).rename(shared / "index" / ("0" * 64))
    shutil.rmtree(paths.store())
    remote = Remote(str(shared))
    with pytest.raises(RemoteError, match="the index says 0000000000000000"):
        remote.pull(select_remote(remote.read_index(), ["0000"], str(shared)))


def test_a_path_out_of_the_store_is_not_followed(digests: dict[str, str]) -> None:
    """Also in a store that was copied by other means than `agentevol data pull`."""
    [root] = paths.store().glob("concatenate-chunks-*")
    leave_the_store(root, json.loads((root / MANIFEST).read_text())["artifact"])
    with pytest.raises(IncompleteFolder, match="names /etc/apt, which is not in it"):
        find(digests["episodes"], DATA)


def test_names_that_lead_out_of_the_store_are_not_pulled(project: Path, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="not a folder of a store"):
        Remote(str(tmp_path / "shared")).pull({"0" * 64: ["../0123456789abcdef"]})


def test_a_copy_has_the_same_content_and_a_known_ancestry(digests: dict[str, str], tmp_path: Path) -> None:
    entry = find(f"sha256:{digests['episodes'][:10]}", DATA)
    copy_content(entry, tmp_path / "copy")
    assert [episode.item_id for episode in read_dataset(tmp_path / "copy")] == ["maze_1"]
    assert [(name, digest) for _, name, digest, _ in ancestry(entry)] == [("chunks", digests["model"])]
    with pytest.raises(FileExistsError, match="already exists"):
        copy_content(entry, tmp_path / "copy")
    with pytest.raises(NotFound, match="no such model"):
        find(digests["episodes"], MODEL)
    with pytest.raises(NotFound, match="at least 4"):
        find("xyz", DATA)


def test_a_merge_that_added_nothing_is_not_the_origin_of_its_content(project: Path) -> None:
    def write(to: Path) -> Dataset:
        return write_dataset(to, [], {})

    subset = keep("subset_trajectories", "trajectories", write, {"split": "train"})
    merged = keep("merge", "trajectories", write, {"initial": {"kind": "trajectories", "digest": subset}})
    assert merged == subset
    assert find(subset, DATA).origin["task"] == "subset_trajectories"


def test_a_store_of_a_later_version_is_reported_and_not_misread(project: Path) -> None:
    keep("finetune", "model", lambda to: (to / "x").write_text(""), {}, schema=9, created_by="agentevol 7.0")
    with pytest.raises(IncompatibleSchema, match=r"written by agentevol 7\.0 \(schema 9; agentevol \S+ reads 2\).*move runs/store away"):
        select([])


@pytest.mark.parametrize(("url", "message"), [("nosuch://x", "give a folder"), ("/proc/no/such", "could not write")])
def test_an_unusable_location_is_reported(digests: dict[str, str], url: str, message: str) -> None:
    with pytest.raises(RemoteError, match=message) as caught:
        Remote(url).push(select([]))
    assert str(caught.value).startswith(url)
