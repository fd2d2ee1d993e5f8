"""What `agentevol data gc` removes: only what no run, no registered model and no recent work reaches."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from typer.testing import CliRunner

from agentevol.data.artifact_folder import MANIFEST
from agentevol.data.dataset import write_dataset
from agentevol.data.trajectory import Message, Trajectory
from agentevol.evaluation.scores import score
from agentevol.settings.schema import Params
from flows.cli.store import data as commands
from tasks import paths
from tasks.artifact import Artifact
from tasks.cached_task import TaskOutput, cached_task
from tasks.policy_record import PolicyRecord, References
from tasks.remote_files import RemoteError
from tasks.report import report as write_report
from tasks.shared_store import publish_run, use_shared_store
from tasks.store_exchange import Remote
from tasks.store_gc import DAY, list_location, list_store, report_digests, shared_digests, unreachable
from tests.servers.s3 import S3Server


@cached_task("model", version="1")
def learn(out: Path, *, name: str, start: Artifact | None = None) -> TaskOutput:
    (out / "weights").write_text(f"{name} from {start.digest if start else 'nothing'}")
    return TaskOutput()


@cached_task("scores", version="1")
def judge(out: Path, *, model: Artifact) -> TaskOutput:
    (out / "scores").write_text(model.digest)
    return TaskOutput()


def compute(task: object, **inputs: object) -> Artifact:
    return Artifact(**task.compute(**inputs))  # type: ignore[attr-defined]


def folder(artifact: Artifact) -> Path:
    return paths.store() / Path(artifact.path).parts[2]


def report(name: str, *artifacts: Artifact) -> Path:
    """The record of a run whose report refers to these."""
    page = paths.root() / "runs" / name
    page.mkdir(parents=True)
    lineage = {"Iteration 1": {str(number): {"path": part.path, "sha256": part.digest} for number, part in enumerate(artifacts)}}
    (page / "run.json").write_text(json.dumps(lineage))
    return page


def grow_old(*parts: Path, days: float = 30) -> None:
    for part in parts or [part for part in paths.store().rglob("*") if part.exists()] + list(paths.store().iterdir()):
        os.utime(part, (time.time() - days * DAY,) * 2)


def gc(*arguments: str) -> str:
    result = CliRunner().invoke(commands, ["gc", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def run(project: Path) -> Iterator[dict[str, Artifact]]:
    """A run: a model, the one that it started from and its scores; and a model that no run refers to any more, with its scores."""
    base = compute(learn, name="base")
    model = compute(learn, name="policy", start=base)
    other = compute(learn, name="other", start=base)
    yield {"base": base, "model": model, "scores": compute(judge, model=model), "other": other, "judged": compute(judge, model=other)}
    use_shared_store(None)


@pytest.mark.parametrize("queued", [False, True])
def test_the_report_of_a_run_protects_its_results_even_if_dvc_ran_it_in_a_copy_that_is_gone(
    run: dict[str, Artifact], project: Path, monkeypatch: pytest.MonkeyPatch, queued: bool
) -> None:
    copy = project / ".dvc" / "tmp" / "exps" / "one" if queued else project
    copy.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("DVC_ROOT", str(project))  # DVC sets it for every stage
    monkeypatch.chdir(copy)
    words = [Message("user", "?"), Message("assistant", "left", True)]
    episodes = [Trajectory("maze_0", "maze", "maze", "eval", "bc-base", "h", 0, 0, words, 1.0, True, 1, "finished")]
    write_dataset(project / "episodes", episodes, {})
    played = Artifact(kind="trajectories", path="episodes", digest="e", counts={"maze": 1}, facts={"seconds": 1.0, "truncated": {}})
    scores = Artifact(kind="scores", path="s", digest="s", facts={env: asdict(one) for env, one in score(episodes).items()})
    model = run["model"].model_copy(update={"facts": {"seconds": 1.0}})
    policy = PolicyRecord("bc-base", 0, model, run["base"], played, scores)
    page = write_report.fn(Params(), run["base"], [policy], policy, "M1-K1-s0-abcdef", References())
    assert (page / "run.json").is_file()
    assert page.is_absolute() == queued
    for output in ("latest/model/weights", "metrics.json"):  # where dvc.yaml has them
        assert (copy / "runs" / output).is_file()

    monkeypatch.chdir(project)
    if queued:
        shutil.rmtree(copy)
    assert run["model"].digest in report_digests()
    grow_old()
    gc("--delete")
    assert (folder(run["model"]) / "weights").is_file()
    assert not folder(run["other"]).exists()


def test_nothing_is_removed_without_the_option_and_then_only_what_no_run_reaches(run: dict[str, Artifact]) -> None:
    report("M1-K1-s0-abcdef", run["model"])
    grow_old()
    listed = gc()
    assert "2 of 5 results would be removed (unreachable)" in listed
    assert "--delete removes them" in listed
    for name in ("other", "judged"):
        assert folder(run[name]).name in listed
        assert folder(run[name]).exists()
    assert "2 of 5 results removed" in gc("--delete")
    assert {part.name for part in paths.store().iterdir()} == {folder(run[name]).name for name in ("base", "model", "scores")}


def test_what_was_used_lately_stays_with_all_that_it_was_made_from(run: dict[str, Artifact]) -> None:
    grow_old()
    compute(judge, model=run["other"])  # a run in progress found it in the store
    assert "2 of 5 results removed" in gc("--delete")
    assert {part.name for part in paths.store().iterdir()} == {folder(run[name]).name for name in ("base", "other", "judged")}


def test_unfinished_folders_of_killed_processes_go_once_they_are_old(project: Path) -> None:
    left = [paths.store() / name for name in ("learn-v1-0123456789abcdef", ".learn-v1-0123456789abcdef.host.1.abcdef01.tmp")]
    for part in left:
        part.mkdir(parents=True)
        (part / "weights").write_text("half")
    assert "0 of 2 results removed" in gc("--delete")
    grow_old()
    assert "2 of 2 results removed" in gc("--delete")
    assert not list(paths.store().iterdir())


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_shared_store_keeps_what_the_runs_of_other_machines_reach(
    run: dict[str, Artifact], kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        url = f"s3://{server.new_bucket()}/agentevol"
    else:
        url = f"file://{tmp_path}/shared"
    use_shared_store(url)
    compute(judge, model=run["model"])  # publishes what was computed before
    compute(judge, model=run["other"])
    compute(learn, name="policy", start=compute(learn, name="base"))
    compute(learn, name="other", start=run["base"])
    publish_run(report("M1-K1-s0-abcdef", run["model"]))
    use_shared_store(None)
    (tmp_path / "another machine").mkdir()
    monkeypatch.chdir(tmp_path / "another machine")
    remote = Remote(url)
    listing, roots = list_location(remote), shared_digests(remote)
    assert len(listing) == 5
    assert report_digests() == set()
    assert unreachable(listing, roots, 14 * DAY, time.time()) == []  # just written
    goes = {folder(run[name]).name for name in ("other", "judged")}
    assert {result.name for result in unreachable(listing, roots, 14 * DAY, time.time() + 15 * DAY)} == goes
    assert "2 of 5 results would be removed" in gc(url, "--min-age", "0")
    assert "2 of 5 results removed" in gc(url, "--min-age", "0", "--delete")
    assert {result.name for result in list_location(remote)} == {folder(run[name]).name for name in ("base", "model", "scores")}
    assert remote.find(folder(run["other"]).name) is None
    assert run["other"].digest not in remote.read_index()
    assert not [file.path for file in remote.files.find("") if any(name in file.path for name in goes)]


def test_what_a_killed_upload_left_is_removed_from_a_shared_store(run: dict[str, Artifact], tmp_path: Path) -> None:
    remote = Remote(f"file://{tmp_path}/shared")
    remote.publish(folder(run["base"]))
    left = tmp_path / "shared" / "store" / folder(run["model"]).name / "0123456789abcdef"
    left.mkdir(parents=True)
    (left / "weights").write_text("half")
    report("M1-K1-s0-abcdef", *run.values())
    assert "0 of 2 results removed" in gc(remote.url, "--delete")
    grow_old(left / "weights")
    assert "1 of 2 results removed (unreachable)" in gc(remote.url, "--delete")
    assert not left.exists()
    assert remote.find(folder(run["base"]).name)


def test_the_local_copy_can_be_bounded_by_what_the_shared_store_has(run: dict[str, Artifact], tmp_path: Path) -> None:
    url = f"file://{tmp_path}/shared"
    remote = Remote(url)
    report("M1-K1-s0-abcdef", *run.values())
    for name in ("base", "model", "other"):
        remote.publish(folder(run[name]))
    grow_old(days=2)
    grow_old(folder(run["model"]))
    size = {result.name: result.size for result in list_store()}
    keep = (sum(size.values()) - 1) / 1e9  # one result too many
    bounded = gc(url, "--keep-gb", f"{keep:.9f}", "--delete")
    assert "1 of 5 results removed (also in the shared store)" in bounded
    assert "over --keep-gb" not in bounded
    assert not folder(run["model"]).exists()
    assert "2 of 4 results removed (also in the shared store)" in gc(url, "--keep-gb", "0", "--delete")
    assert {part.name for part in paths.store().iterdir()} == {folder(run[name]).name for name in ("scores", "judged")}


def test_a_bound_removes_nothing_that_a_run_uses_at_this_moment(run: dict[str, Artifact], tmp_path: Path) -> None:
    """`model` was stored just now, from `base`; only `other` may go. Where nothing runs, `--min-age 0` lets all go."""
    url = f"file://{tmp_path}/shared"
    for name in ("base", "model", "other"):
        Remote(url).publish(folder(run[name]))
    report("M1-K1-s0-abcdef", *run.values())
    grow_old(days=2)
    grow_old(folder(run["model"]), days=0)
    limited = gc(url, "--keep-gb", "0", "--delete")
    assert "1 of 5 results removed (also in the shared store)" in limited
    left = sum(result.size for result in list_store()) / 1e6
    assert f"runs/store: {left:.2f} MB over --keep-gb 0: the rest is not in the shared store with the same digest, was used" in limited
    assert {part.name for part in paths.store().iterdir()} == {folder(run[name]).name for name in ("base", "model", "scores", "judged")}
    assert "2 of 4 results removed (also in the shared store)" in gc(url, "--keep-gb", "0", "--delete", "--min-age", "0")


def test_a_bound_needs_a_place_to_fetch_from(project: Path) -> None:
    result = CliRunner().invoke(commands, ["gc", "--keep-gb", "1"])
    assert result.exit_code == 1
    assert "--keep-gb needs the URL of a shared store" in result.output


def test_a_record_that_cannot_be_read_stops_the_removal(run: dict[str, Artifact]) -> None:
    grow_old()
    (report("M1-K1-s0-abcdef", run["model"]) / "run.json").write_text("{")
    result = CliRunner().invoke(commands, ["gc", "--delete"])
    assert result.exit_code == 1
    assert "run.json is not a valid record of a run, so nothing was removed" in result.output
    assert len(list(paths.store().iterdir())) == 5


class OverloadedFolder(LocalFileSystem):  # type: ignore[misc]
    """The first read of every file fails, as many reads of S3 at once do; one folder cannot be listed."""

    cachable = False
    closed = "none"

    def __init__(self) -> None:
        super().__init__()
        self.failed: set[str] = set()

    def cat_file(self, path: str, **options: Any) -> bytes:
        if path not in self.failed:
            self.failed.add(path)
            raise OSError(errno.EBUSY, "Please reduce your request rate.")
        return bytes(super().cat_file(path, **options))

    def ls(self, path: str, detail: bool = False, **options: Any) -> list[Any]:
        if path.endswith(self.closed):
            raise PermissionError(errno.EACCES, "Permission denied")
        return list(super().ls(path, detail, **options))


@pytest.fixture
def overloaded(run: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """A shared store that is hard to read, with a model that the report of a run protects; its name has the form of a pattern."""
    monkeypatch.setattr("tasks.remote_files.FIRST_PAUSE", 0.001)
    use_shared_store(f"file://{tmp_path}/shared")
    compute(learn, name="policy", start=compute(learn, name="base"))
    publish_run(report("M1-K[1]-s0-abcdef", run["model"]))
    remote = Remote(f"file://{tmp_path}/shared")
    remote.files._files = OverloadedFolder()
    return remote


def test_a_read_that_fails_once_makes_nothing_unreachable(overloaded: Remote, run: dict[str, Artifact]) -> None:
    results, roots = list_location(overloaded), shared_digests(overloaded)
    assert {result.digest for result in results} == {run["base"].digest, run["model"].digest}
    assert roots == {run["model"].digest}
    assert unreachable(results, roots, 0, time.time() + DAY) == []


@pytest.mark.parametrize("closed", ["/runs", "/runs/M1-K[1]-s0-abcdef"])
def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(overloaded: Remote, closed: str) -> None:
    overloaded.files._files.closed = closed
    with pytest.raises(RemoteError, match=r"shared: could not list runs\S*: Permission denied$"):
        shared_digests(overloaded)


def test_a_run_whose_folder_is_a_link_protects_its_results(overloaded: Remote, run: dict[str, Artifact], tmp_path: Path) -> None:
    folder = tmp_path / "shared" / "runs" / "M1-K[1]-s0-abcdef"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert shared_digests(overloaded) == {run["model"].digest}


def test_a_shared_store_on_s3_that_is_overloaded_while_it_is_cleaned_loses_nothing(
    run: dict[str, Artifact], s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.remote_files.FIRST_PAUSE", 0.001)
    url, failed = f"s3://{s3_server.new_bucket()}/agentevol", set[str]()
    use_shared_store(url)
    compute(learn, name="policy", start=compute(learn, name="base"))
    publish_run(report("M1-K1-s0-abcdef", run["model"]))
    s3_server.fails = lambda request: request not in failed and not failed.add(request)  # type: ignore[func-returns-value]
    remote = Remote(url)
    results, roots = list_location(remote), shared_digests(remote)
    assert len(results) == 2
    assert len(failed) > 5
    assert unreachable(results, roots, 0, time.time() + DAY) == []


def close_the_run(page: Path, model: Path) -> None:
    page.rename(page.parent.parent / "moved")
    page.symlink_to(page.name)  # leads to itself: whatever is in it cannot be read


def make_the_record_a_folder(page: Path, model: Path) -> None:
    (page / "run.json").rename(page / "moved.json")
    (page / "run.json").mkdir()


def make_the_manifest_a_folder(page: Path, model: Path) -> None:
    (model / MANIFEST).rename(model / "moved.json")
    (model / MANIFEST).mkdir()


@pytest.mark.parametrize("hide", [close_the_run, make_the_record_a_folder, make_the_manifest_a_folder])
def test_what_cannot_be_read_here_stops_the_removal(run: dict[str, Artifact], hide: Callable[[Path, Path], None]) -> None:
    hide(report("M1-K1-s0-abcdef", run["model"]), folder(run["model"]))
    grow_old()
    result = CliRunner().invoke(commands, ["gc", "--delete"])
    assert result.exit_code == 1, result.output
    assert "cannot be read" in result.output
    assert len(list(paths.store().iterdir())) == 5


def test_files_that_are_no_results_and_no_records_change_nothing_at_a_location(run: dict[str, Artifact], tmp_path: Path) -> None:
    remote = Remote(f"file://{tmp_path}/shared")
    remote.publish(folder(run["base"]))
    before = list_location(remote)
    [entry] = (tmp_path / "shared" / "index").glob("*/*/*")
    other = [entry.with_name(f"{entry.name}.ab12cd34.tmp"), tmp_path / "shared" / "index" / ".DS_Store"]  # of a killed upload, of macOS
    other += [tmp_path / "shared" / "store" / name for name in (".DS_Store", f"{folder(run['base']).name}/.DS_Store", "notes/old/text")]
    other += [tmp_path / "shared" / "manifests" / "x.json.ab12cd34.tmp", tmp_path / "shared" / "runs" / "M1" / "run.json.ab12cd34.tmp"]
    for file in other:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{")
    assert list_location(remote) == before
    assert shared_digests(remote) == set()
    assert "0 of 1 results removed" in gc(remote.url, "--delete")


@pytest.mark.parametrize("what", ["run", "digests", "everything"])
def test_what_was_pushed_stays_when_another_machine_cleans_up(
    run: dict[str, Artifact], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "shared")
    report("M1-K1-s0-abcdef", run["base"], run["model"])
    names = {"run": ["--run", "runs/M1-K1-s0-abcdef/"], "digests": [run["base"].digest, run["model"].digest[:12]], "everything": []}
    for _ in range(2):  # the second time, all is there
        result = CliRunner().invoke(commands, ["push", url, *names[what]])
        assert result.exit_code == 0, result.output
    grow_old(*(part for part in (tmp_path / "shared").rglob("*") if part.is_file()))
    (tmp_path / "another machine").mkdir()
    monkeypatch.chdir(tmp_path / "another machine")
    gc(url, "--delete")
    stays = {"base", "model", "scores"} if what == "everything" else {"base", "model"}  # what describes a model stays with it
    assert {entry.name for entry in list_location(Remote(url))} == {folder(run[name]).name for name in stays}
    for record in (tmp_path / "shared" / "runs").iterdir():
        assert record.name in ("M1-K1-s0-abcdef", f"pushed-{run['base'].digest[:12]}", f"pushed-{run['model'].digest[:12]}")
        shutil.rmtree(record)
    assert f"{len(stays)} of {len(stays)} results removed" in gc(url, "--delete")


def test_runs_of_the_same_name_on_two_machines_protect_the_results_of_both(run: dict[str, Artifact], tmp_path: Path) -> None:
    use_shared_store(f"file://{tmp_path}/shared")
    page = report("M1-K1-s0-abcdef", run["model"])
    for _ in range(2):
        publish_run(page)
    shutil.rmtree(page)
    publish_run(report("M1-K1-s0-abcdef", run["other"]))  # other bits on another kind of machine
    assert shared_digests(Remote(f"file://{tmp_path}/shared")) == {run["model"].digest, run["other"].digest}
    assert len(list((tmp_path / "shared" / "runs").glob("*/*"))) == 2
