"""From a digest to the exact content, on this machine and from a place that is shared: a folder, SSH and S3, over real connections."""

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
from tasks.artifact import Artifact, OtherSchema
from tasks.store_catalogue import DATA, MODEL, NotHere, ancestry, chosen, find, take
from tasks.store_exchange import Remote, RemoteFailed
from tasks.store_exchange import chosen as chosen_there
from tests.servers import s3, ssh

TALK = [Message("user", "?"), Message("assistant", "left", True), Message("user", "no")]


@pytest.fixture
def digests(project: Path) -> dict[str, str]:
    """A store with a model and what it played, in the form in which tasks write them."""
    model = keep("finetune", "model", lambda to: (to / "config.json").write_text("{}"), {"seed": 3})
    played = keep(
        "gather",
        "trajectories",
        lambda to: write_dataset(to, [Trajectory("maze_1", "maze", "maze", "eval", "p", "h", 0, 0, TALK, 1.0, True, 1, "finished")], {}),
        {"chunks": [{"kind": "model", "digest": model}]},
    )
    return {"model": model, "played": played}


def keep(task: str, kind: str, write: object, inputs: dict[str, object], **manifest: object) -> str:
    home = paths.store() / f"{task}-v1-0123456789abcdef"
    (home / "part").mkdir(parents=True)
    write(home / "part")  # type: ignore[operator]
    artifact = Artifact(kind=kind, path=paths.record(home / "part"), digest=folder_digest(home / "part"))
    write_manifest(
        home, kind, **{"schema": 1, "task": task, "version": "1", "inputs": inputs, "artifact": artifact.model_dump()} | manifest
    )
    return artifact.digest


@pytest.fixture(params=["folder", "ssh", "s3"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty place."""
    folder = tmp_path_factory.mktemp("place")
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


def test_what_is_pushed_comes_back_byte_for_byte(digests: dict[str, str], place: str) -> None:
    before = folder_digest(paths.store())
    remote = Remote(place)
    assert remote.push(chosen([])) == 2
    assert remote.push(chosen([])) == 0  # it is there
    shutil.rmtree(paths.store())
    with pytest.raises(NotHere, match=r"no such data set .* agentevol data pull URL"):
        find(digests["played"], DATA)
    remote = Remote(place)
    there = remote.known()
    assert set(there) == set(digests.values())
    wanted = chosen_there(there, [digests["played"][:8]], place)
    assert remote.pull(path for paths in wanted.values() for path in paths) == 1
    assert find(digests["played"][:8], DATA).artifact.digest == digests["played"]
    assert remote.pull(path for paths in there.values() for path in paths) == 1  # the model; the other one is whole
    assert folder_digest(paths.store()) == before


def test_what_is_damaged_there_does_not_come_down(digests: dict[str, str], tmp_path: Path) -> None:
    remote = Remote(str(tmp_path / "shared"))
    remote.push(chosen([]))
    shutil.rmtree(paths.store())
    next((tmp_path / "shared").glob("store/gather-*/*/part/*.parquet")).write_bytes(b"other")
    with pytest.raises(RemoteFailed, match="damaged there"):
        remote.pull(path for paths in remote.known().values() for path in paths)
    assert not [entry for entry in chosen([]) if entry.artifact.digest == digests["played"]]


def test_a_copy_is_the_content_itself_and_says_where_it_comes_from(digests: dict[str, str], tmp_path: Path) -> None:
    entry = find(f"sha256:{digests['played'][:10]}", DATA)
    take(entry, tmp_path / "copy")
    assert [episode.item_id for episode in read_dataset(tmp_path / "copy")] == ["maze_1"]
    assert [(name, digest) for _, name, digest, _ in ancestry(entry)] == [("chunks", digests["model"])]
    with pytest.raises(FileExistsError, match="is there already"):
        take(entry, tmp_path / "copy")
    with pytest.raises(NotHere, match="no such model"):
        find(digests["played"], MODEL)
    with pytest.raises(NotHere, match="at least 4"):
        find("xyz", DATA)


def test_a_merge_that_added_nothing_is_not_where_its_content_came_from(project: Path) -> None:
    def write(to: Path) -> None:
        (to / "rows").write_text("the same")

    taken = keep("take_trajectories", "trajectories", write, {"split": "train"})
    merged = keep("merge", "trajectories", write, {"initial": {"kind": "trajectories", "digest": taken}})
    assert merged == taken
    assert find(taken, DATA).origin["task"] == "take_trajectories"


def test_a_store_of_another_version_is_named_and_not_misread(project: Path) -> None:
    keep("finetune", "model", lambda to: (to / "x").write_text(""), {}, schema=9, created_by="agentevol 7.0")
    with pytest.raises(OtherSchema, match=r"written by agentevol 7\.0 \(schema 9; agentevol \S+ reads 1\).*move runs/store away"):
        chosen([])


@pytest.mark.parametrize(("url", "says"), [("nosuch://x", "give a folder"), ("/proc/no/such", "could not make")])
def test_a_place_that_cannot_be_used_is_named(digests: dict[str, str], url: str, says: str) -> None:
    with pytest.raises(RemoteFailed, match=says) as found:
        Remote(url).push(chosen([]))
    assert str(found.value).startswith(url)
