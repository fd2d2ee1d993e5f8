"""Results shared by machines (`store.url`): computed once, complete or absent, verified, and without a credential anywhere.

A machine is here a project folder of its own; the shared store is a folder and a real S3 server. Tasks run without Prefect.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import tasks.remote_files
from agentevol.data.artifact_folder import MANIFEST, folder_digest
from agentevol.settings.schema import Params
from flows.cli.store import data as commands
from tasks import paths, shared_store
from tasks.artifact import Artifact, store_folder
from tasks.remote_files import RemoteError, RemoteFiles
from tasks.run_identity import run_key
from tasks.shared_store import evict
from tasks.store_catalogue import select
from tasks.store_exchange import Remote
from tests.tasks.sharing import Machine, compute, job, letters


def test_two_machines_share_results_and_compute_nothing_twice(machine: Machine, url: str) -> None:
    first: list[str] = []
    machine("one", url)
    result, store = job(first), folder_digest(paths.store())
    assert first == ["a", "b", "joined"]
    second: list[str] = []
    machine("two", url)
    assert job(second) == result
    assert second == []
    assert folder_digest(paths.store()) == store
    assert (result.folder / "text").read_text() == "ab"
    machine("one", url)
    shutil.rmtree(result.folder)
    job(second)
    assert second == []


def test_without_a_shared_store_a_machine_computes_for_itself(machine: Machine, folder_url: str, tmp_path: Path) -> None:
    machine("one", folder_url)
    job([])
    machine("two", "")
    ran: list[str] = []
    job(ran)
    assert ran == ["a", "b", "joined"]


def test_many_results_are_looked_up_at_the_same_time_and_told_in_their_order(machine: Machine, url: str) -> None:
    machine("one", url)
    for letter in "aceg":
        compute(letters([]), letter=letter)
    machine("two", url)
    task = letters([])
    assert task.are_cached([{"letter": letter} for letter in "abcdefg"]) == [True, False] * 3 + [True]
    assert [task.is_stored(letter=letter) for letter in "abcdefg"] == [True, False] * 3 + [True]
    together = threading.Barrier(4)  # passes only where four wait at once

    def wait(number: int) -> int:
        together.wait(timeout=60)
        return -number

    assert shared_store.look_up_each(wait, range(8)) == [-number for number in range(8)]
    with pytest.raises(ZeroDivisionError):
        shared_store.look_up_each(lambda number: 1 // number, [1, 0, 2])


def test_results_from_before_the_shared_store_are_copied_there(machine: Machine, folder_url: str) -> None:
    machine("one", "")
    job([])
    machine("one", folder_url)
    job([])
    machine("two", folder_url)
    ran: list[str] = []
    job(ran)
    assert ran == []


def test_an_upload_that_was_killed_leaves_no_visible_result_and_is_finished_later(
    machine: Machine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    put, files = RemoteFiles.put, list[Path]()

    def put_once(self: RemoteFiles, file: Path, *parts: str) -> None:
        if files:
            raise Killed
        files.append(file)
        put(self, file, *parts)

    task = letters([])
    machine("one", url)
    monkeypatch.setattr(RemoteFiles, "put", put_once)
    with pytest.raises(Killed):
        task.compute(letter="a")
    monkeypatch.setattr(RemoteFiles, "put", put)
    remote = Remote(url)
    assert len(remote.files.find("store")) == 1
    assert remote.find(task.key({"letter": "a"})) is None
    assert remote.read_index() == {}
    ran: list[str] = []
    machine("two", url)
    assert not letters(ran).is_cached(letter="a")
    machine("one", url)
    compute(letters(ran), letter="a")  # kept here, and now also there
    machine("two", url)
    compute(letters(ran), letter="a")
    assert ran == []


def change_a_file(shared: Path) -> None:
    next(shared.glob("store/letters-*/*/part/text")).write_text("x")


def remove_a_file(shared: Path) -> None:
    next(shared.glob("store/letters-*/*/part/text")).unlink()


def forge_the_digest(shared: Path) -> None:
    """Other content with a manifest that fits it, but for the digest that others were promised."""
    [version] = shared.glob("store/letters-*/*")
    manifest = json.loads((version / MANIFEST).read_text())
    (version / "part" / "text").write_text("forged")
    manifest["files"]["part/text"] = hashlib.sha256(b"forged").hexdigest()
    offer(shared, version, manifest)


def give_another_key(shared: Path) -> None:
    """The result of another input under this key."""
    [version] = shared.glob("store/letters-*/*")
    offer(shared, version, json.loads((version / MANIFEST).read_text()) | {"inputs": {"letter": "b"}})


def lead_out_of_the_folder(shared: Path) -> None:
    [version] = shared.glob("store/letters-*/*")
    manifest = json.loads((version / MANIFEST).read_text())
    manifest["files"] |= {"../../../../escaped": "0" * 64}
    offer(shared, version, manifest)


def break_the_manifest(shared: Path) -> None:
    next(shared.glob("manifests/*.json")).write_text("{")


def offer(shared: Path, version: Path, manifest: object) -> None:
    content = json.dumps(manifest).encode()
    next(shared.glob("manifests/*.json")).write_bytes(content)
    (version / MANIFEST).write_bytes(content)
    version.rename(version.with_name(tasks.store_exchange.manifest_hash(content)))


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (change_a_file, r"store/letters-v1-\w+/\w+ is damaged there: part/text differs from its manifest"),
        (remove_a_file, r"store/letters-v1-\w+/\w+ is damaged there: part/text is missing"),
        (forge_the_digest, r"is not what it claims to be: its content has the digest \w+, its manifest says"),
        (give_another_key, r"is not what it claims to be: its manifest describes another result, letters-v1-"),
        (lead_out_of_the_folder, r"names \.\./\.\./\.\./\.\./escaped, which is outside of its folder"),
        (break_the_manifest, r"manifests/letters-v1-\w+\.json is not a manifest"),
    ],
)
def test_a_damaged_or_forged_result_is_refused_by_name(
    machine: Machine, folder_url: str, tmp_path: Path, attack: Callable[[Path], None], message: str
) -> None:
    machine("one", folder_url)
    compute(letters([]), letter="a")
    attack(tmp_path / "shared")
    machine("two", folder_url)
    ran: list[str] = []
    with pytest.raises(RemoteError, match=message) as caught:
        compute(letters(ran), letter="a")
    assert "\n" not in str(caught.value)
    assert not list(paths.store().glob("[!.]*"))
    assert ran == []


def test_two_writers_at_once_leave_one_complete_result(machine: Machine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked in vain before either publishes. Their facts differ, so they write different manifests."""
    roots = []
    for name, suffix in (("one", ""), ("two", "")):
        machine(name, "")
        ran = ["earlier"] if name == "two" else []
        compute(letters(ran, suffix), letter="a")
        roots.append(paths.store() / letters([]).key({"letter": "a"}))
    both_have_looked, find = threading.Barrier(2), Remote.find
    looked: set[int] = set()

    def find_together(self: Remote, name: str) -> object:
        found = find(self, name)
        if threading.get_ident() not in looked:
            looked.add(threading.get_ident())
            both_have_looked.wait(timeout=60)
        return found

    results: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(Remote, "find", find_together)
        threads = [threading.Thread(target=lambda root=root: results.append(Remote(url).publish(root))) for root in roots]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 2
    assert results[0] == results[1]
    machine("three", url)
    assert letters([]).is_cached(letter="a")


def test_of_two_different_results_the_first_stays_and_the_other_machine_keeps_its_own(
    machine: Machine, folder_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine("two", "")
    own = compute(letters([], "!"), letter="a")  # computed on another kind of machine
    machine("one", folder_url)
    first = compute(letters([]), letter="a")
    machine("two", folder_url)
    assert compute(letters([]), letter="a") == own != first
    message = " ".join(capsys.readouterr().err.split())
    assert f"already has a different result of this step (sha256 {first.digest[:12]}, here {own.digest[:12]})" in message
    machine("three", folder_url)
    assert compute(letters([]), letter="a") == first


def test_a_pull_says_which_digest_it_did_not_copy_because_the_step_has_another_result_here(
    machine: Machine, folder_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def pull(*arguments: str) -> Result:
        return CliRunner().invoke(commands, ["pull", folder_url, *arguments])

    machine("one", folder_url)
    first = compute(letters([]), letter="a")
    machine("two", "")
    own = compute(letters([], "!"), letter="a")  # computed on another kind of machine
    compute(letters([]), letter="b")
    remote = Remote(folder_url)
    assert remote.push(select([])) == 2  # now the step has two results there
    result = pull(first.digest[:12])
    assert result.exit_code == 1
    assert f"{first.digest[:12]} was not pulled: runs/store/{store_folder(own).name} has another result" in result.output
    result = pull()  # keeps what is here, and says so
    assert result.exit_code == 0
    assert "0 results pulled" in result.output
    assert first.digest[:12] in capsys.readouterr().err + result.output
    store_folder(own).rename(paths.root() / "moved")
    assert "1 results pulled" in pull(first.digest[:12]).output
    assert {entry.artifact.digest for entry in select([])} >= {first.digest}


def test_of_two_results_of_a_step_a_pull_of_everything_takes_the_one_that_runs_use(machine: Machine, folder_url: str) -> None:
    results = {}
    for name, suffix in (("one", "!"), ("two", "")):
        machine(name, "")
        results[name] = compute(letters([], suffix), letter="a").digest
    for first, second in (("one", "two"), ("two", "one")):  # one of them comes last in the order of the digests
        url = f"{folder_url}-{first}"
        for name in (first, second):
            machine(name, "")
            Remote(url).push(select([]))
        machine(f"pulls the one of {first}", "")
        remote = Remote(url)
        assert remote.pull(remote.read_index(), everything=True) == 1
        assert [entry.artifact.digest for entry in select([])] == [results[first]]
        with pytest.raises(RemoteError, match=f"{results[second][:12]} was not pulled: runs/store/letters-v1-"):
            remote.pull(remote.read_index([results[second]]))


def test_an_evicted_result_is_computed_again_everywhere(machine: Machine, url: str) -> None:
    machine("one", url)
    evict(compute(letters([]), letter="a"))
    ran: list[str] = []
    compute(letters(ran), letter="a")
    assert ran == ["a"]
    machine("two", url)
    compute(letters(ran), letter="a")
    assert ran == ["a"]


def test_the_shared_store_is_no_part_of_a_runs_identity() -> None:
    base = Artifact(kind="model", path="models/base", digest="d")
    shared = Params.model_validate({"store": {"url": "s3://bucket/x"}})
    assert run_key(shared, base, {}) == run_key(Params(), base, {})


def test_the_record_of_a_run_is_kept_beside_its_results(machine: Machine, folder_url: str, tmp_path: Path) -> None:
    machine("one", folder_url)
    report = tmp_path / "one" / "runs" / "M1-K1-s0-abcdef"
    report.mkdir(parents=True)
    (report / "run.json").write_text("{}")
    shared_store.publish_run(report)
    assert (tmp_path / "shared" / "runs" / "M1-K1-s0-abcdef" / "run.json").read_text() == "{}"
