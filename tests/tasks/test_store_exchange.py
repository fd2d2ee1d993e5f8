"""From a digest to the exact content, on this machine and in a shared location: a folder, SSH and S3, over real connections."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentevol.data.artifact_folder import folder_digest, write_manifest
from agentevol.data.dataset import read_dataset, write_dataset
from agentevol.data.trajectory import Message, Trajectory
from tasks import paths
from tasks.artifact import SCHEMA, Artifact, IncompatibleSchema
from tasks.store_catalogue import DATA, MODEL, NotFound, ancestry, copy_content, find, select
from tasks.store_exchange import Remote, RemoteError, select_remote
from tests.servers import s3, ssh

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
    root = paths.store() / f"{task}-v1-0123456789abcdef"
    (root / "part").mkdir(parents=True)
    write(root / "part")  # type: ignore[operator]
    artifact = Artifact(kind=kind, path=paths.record(root / "part"), digest=folder_digest(root / "part"))
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
        if s3.LACKING:
            pytest.skip(f"not installed: {', '.join(s3.LACKING)}")
        with s3.s3_server("team") as where:
            for name, value in where.items():
                monkeypatch.setenv(name, value)
            yield "s3://team/agentevol"


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
    wanted = select_remote(there, [digests["episodes"][:8]], location)
    assert remote.pull(path for paths in wanted.values() for path in paths) == 1
    assert find(digests["episodes"][:8], DATA).artifact.digest == digests["episodes"]
    assert remote.pull(path for paths in there.values() for path in paths) == 1  # the model; the other one is whole
    assert folder_digest(paths.store()) == before


def test_damaged_results_are_not_pulled(digests: dict[str, str], tmp_path: Path) -> None:
    remote = Remote(str(tmp_path / "shared"))
    remote.push(select([]))
    shutil.rmtree(paths.store())
    next((tmp_path / "shared").glob("store/concatenate_chunks-*/*/part/*.parquet")).write_bytes(b"other")
    with pytest.raises(RemoteError, match="damaged there"):
        remote.pull(path for paths in remote.read_index().values() for path in paths)
    assert not [entry for entry in select([]) if entry.artifact.digest == digests["episodes"]]


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
    def write(to: Path) -> None:
        (to / "rows").write_text("the same")

    subset = keep("subset_trajectories", "trajectories", write, {"split": "train"})
    merged = keep("merge", "trajectories", write, {"initial": {"kind": "trajectories", "digest": subset}})
    assert merged == subset
    assert find(subset, DATA).origin["task"] == "subset_trajectories"


def test_a_store_of_a_later_version_is_reported_and_not_misread(project: Path) -> None:
    keep("finetune", "model", lambda to: (to / "x").write_text(""), {}, schema=9, created_by="agentevol 7.0")
    with pytest.raises(IncompatibleSchema, match=r"written by agentevol 7\.0 \(schema 9; agentevol \S+ reads 2\).*move runs/store away"):
        select([])


@pytest.mark.parametrize(("url", "message"), [("nosuch://x", "give a folder"), ("/proc/no/such", "could not create")])
def test_an_unusable_location_is_reported(digests: dict[str, str], url: str, message: str) -> None:
    with pytest.raises(RemoteError, match=message) as caught:
        Remote(url).push(select([]))
    assert str(caught.value).startswith(url)
