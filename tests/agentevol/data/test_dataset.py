"""A folder is complete or absent, and a dataset has the rows of its digest."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agentevol.data import artifact_folder, dataset
from agentevol.data.artifact_folder import IncompleteFolder
from agentevol.data.trajectory import Message, Trajectory, content_digest
from envs.base import Instruction
from tests import ROOT


def trajectory(number: int = 1, **changes: object) -> Trajectory:
    messages = [Message("user", "prompt\n\nfirst"), Message("assistant", "Thought: é\nAction: go", True), Message("user", "")]
    values = {"reward": 1 / 3, "success": False, "rounds": 1, "status": "finished", "seconds": 0.25, **changes}
    return Trajectory(f"counting_{number}", "counting", "count", "train", "expert", "abc", 0, 0, messages, **values)  # type: ignore[arg-type]


ROWS = [
    trajectory(1, tokens=3, token_ids=[5, 0, 7], loss_mask=[False, True, True]),
    trajectory(2, status="error", error="the server went away"),
]
ITEM = Instruction("counting_1", "counting", "count", "easy", "count to\u2028three")


def test_written_trajectories_are_read_back_unchanged(tmp_path: Path) -> None:
    written = dataset.write_dataset(tmp_path / "set", ROWS, {"parents": ["p"]})
    assert dataset.read_dataset(tmp_path / "set") == ROWS
    assert dataset.open_dataset(tmp_path / "set") == written
    assert (written.rows, written.counts, written.lineage) == (2, {"counting": 2}, {"parents": ["p"]})


def test_an_empty_dataset_is_read_back_empty(tmp_path: Path) -> None:
    assert dataset.write_dataset(tmp_path / "set", [], {}).rows == 0
    assert dataset.read_dataset(tmp_path / "set") == []


def test_equal_rows_give_equal_bytes_and_seconds_are_not_in_the_digest(tmp_path: Path) -> None:
    first = dataset.write_dataset(tmp_path / "a", ROWS, {})
    second = dataset.write_dataset(tmp_path / "b", ROWS, {})
    slower = dataset.write_dataset(
        tmp_path / "c", [trajectory(1, seconds=9.0, tokens=3, token_ids=[5, 0, 7], loss_mask=[False, True, True]), ROWS[1]], {}
    )
    assert [path.read_bytes() for path in sorted((tmp_path / "a").iterdir())] == [
        path.read_bytes() for path in sorted((tmp_path / "b").iterdir())
    ]
    assert first.digest == second.digest == slower.digest
    assert dataset.write_dataset(tmp_path / "d", ROWS[:1], {}).digest != first.digest


def test_a_dataset_of_several_row_groups_is_read_back_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(dataset, "ROW_GROUP", 5)
    monkeypatch.setattr(dataset, "_BATCH_ROWS", 2)
    rows = [trajectory(number, token_ids=[number] * number, loss_mask=[True] * number) if number % 3 else ROWS[1] for number in range(12)]
    written = dataset.write_dataset(tmp_path / "set", iter(rows), {})
    assert list(dataset.stream_dataset(tmp_path / "set")) == rows
    assert written.digest == content_digest(rows)
    file = pq.ParquetFile(tmp_path / "set" / dataset.TRAJECTORIES)
    assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == [5, 5, 2]
    copied = dataset.write_dataset(tmp_path / "copy", dataset.stream_dataset(tmp_path / "set"), {})
    assert copied.digest == written.digest
    assert artifact_folder.folder_digest(tmp_path / "copy") == artifact_folder.folder_digest(tmp_path / "set")


def test_times_are_kept_where_they_are_wanted_and_change_no_digest_and_no_other_file(tmp_path: Path) -> None:
    timed = [replace(row, message_seconds=[0.5 * number for number in range(len(row.messages))]) for row in ROWS]
    plain, without = dataset.write_dataset(tmp_path / "plain", ROWS, {}), dataset.write_dataset(tmp_path / "without", timed, {})
    assert artifact_folder.folder_digest(tmp_path / "plain") == artifact_folder.folder_digest(tmp_path / "without")
    kept = dataset.write_dataset(tmp_path / "kept", [*timed, ROWS[0]], {}, with_times=True)
    assert dataset.write_dataset(tmp_path / "again", [*ROWS, ROWS[0]], {}).digest == kept.digest
    assert plain.digest == without.digest
    times = [row.message_seconds for row in dataset.read_dataset(tmp_path / "kept")]
    assert times == [*(row.message_seconds for row in timed), None]
    assert {row.message_seconds for row in dataset.read_dataset(tmp_path / "plain")} == {None}


def test_progress_is_read_back_and_changes_the_digest_only_of_rows_that_have_it(tmp_path: Path) -> None:
    measured = [replace(ROWS[0], progress=0.25), *ROWS]
    written = dataset.write_dataset(tmp_path / "measured", measured, {})
    assert [row.progress for row in dataset.read_dataset(tmp_path / "measured")] == [0.25, None, None]
    assert dataset.recorded_measures(tmp_path / "measured") == {"progress"}
    copied = dataset.write_dataset(tmp_path / "copy", dataset.stream_dataset(tmp_path / "measured"), {}, measures=["progress"])
    assert copied.digest == written.digest != content_digest([replace(measured[0], progress=0.5), *ROWS])
    assert measured[0].text_key() == ROWS[0].text_key()
    plain = dataset.write_dataset(tmp_path / "plain", ROWS, {})
    assert plain.digest == "02572e253723b707df861c2c652e02a28931b09754c8829ceeced40d994bf4e9", "as before there was such a column"
    assert not dataset.recorded_measures(tmp_path / "plain")


def test_a_streamed_row_does_not_lose_its_progress_silently(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"counting_1 has progress, which the file would lose: name it in `measures`"):
        dataset.write_dataset(tmp_path / "set", iter([replace(ROWS[0], progress=0.5)]), {})
    assert not (tmp_path / "set").exists()


def test_an_exception_while_writing_keeps_the_old_dataset(tmp_path: Path) -> None:
    dataset.write_dataset(tmp_path / "set", ROWS, {})

    def rows() -> Iterator[Trajectory]:
        yield ROWS[0]
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        dataset.write_dataset(tmp_path / "set", rows(), {})
    assert dataset.read_dataset(tmp_path / "set") == ROWS


def test_written_instructions_are_read_back_by_split(tmp_path: Path) -> None:
    written = dataset.write_instructions(tmp_path / "lists", {"eval": [ITEM], "explore": []})
    assert dataset.read_instructions(tmp_path / "lists") == {"eval": [ITEM], "explore": []}
    assert dataset.read_instruction_list(tmp_path / "lists") == [ITEM]
    assert written.counts == {"counting": 1}


def test_rows_that_do_not_agree_with_the_manifest_are_refused(tmp_path: Path) -> None:
    dataset.write_dataset(tmp_path / "set", ROWS, {})
    dataset.write_dataset(tmp_path / "other", ROWS[:1], {})
    (tmp_path / "other" / dataset.TRAJECTORIES).replace(tmp_path / "set" / dataset.TRAJECTORIES)
    assert not artifact_folder.is_complete(tmp_path / "set")
    with pytest.raises(IncompleteFolder, match=r"set is not complete: its rows do not agree.*Remove it and run"):
        dataset.read_dataset(tmp_path / "set")


def test_a_folder_that_does_not_exist_is_not_to_be_removed(tmp_path: Path) -> None:
    with pytest.raises(IncompleteFolder, match=r"nowhere is not complete: the folder does not exist\. Check its name") as caught:
        dataset.read_dataset(tmp_path / "nowhere")
    assert "Remove" not in str(caught.value)


@pytest.mark.parametrize("damage", ["truncated file", "no file", "no manifest", "broken manifest", "no folder", "other kind"])
def test_an_incomplete_folder_is_refused_and_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "set"
    if damage == "other kind":
        dataset.write_instructions(folder, {"eval": [ITEM]})
    elif damage != "no folder":
        dataset.write_dataset(folder, ROWS, {})
    if damage == "truncated file":
        os.truncate(folder / dataset.TRAJECTORIES, 100)
    elif damage == "no file":
        (folder / dataset.TRAJECTORIES).unlink()
    elif damage == "no manifest":
        (folder / artifact_folder.MANIFEST).unlink()
    elif damage == "broken manifest":
        (folder / artifact_folder.MANIFEST).write_text('{"kind": ')
    with pytest.raises(IncompleteFolder, match=r"set is not complete"):
        dataset.read_dataset(folder)
    assert artifact_folder.is_complete(folder) == (damage == "other kind")


def test_a_failed_write_keeps_the_old_folder_and_no_temporary_one(tmp_path: Path) -> None:
    dataset.write_dataset(tmp_path / "set", ROWS, {})
    with pytest.raises(IsADirectoryError), artifact_folder.atomic_folder(tmp_path / "set") as folder:
        folder.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert artifact_folder.is_complete(tmp_path / "set")


def test_an_unfinished_folder_is_replaced_completely(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "rubbish").write_text("x")
    dataset.write_dataset(tmp_path / "set", ROWS, {})
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [artifact_folder.MANIFEST, dataset.TRAJECTORIES]


def test_temporary_folders_of_killed_processes_are_removed_and_those_of_running_ones_are_not(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from agentevol.data.artifact_folder import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "set")], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    child.stdout.readline()
    dataset.write_dataset(tmp_path / "set", ROWS, {})
    assert len(list(tmp_path.iterdir())) == 2
    child.send_signal(signal.SIGKILL)
    child.communicate()
    dataset.write_dataset(tmp_path / "set", ROWS, {})
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_write_does_not_list_the_folders_next_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store may hold a million of them."""
    scandir = os.scandir

    def listing(path: Path | int) -> object:
        assert path != tmp_path
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listing)
    dataset.write_dataset(tmp_path / "set", ROWS, {})
    dataset.write_dataset(tmp_path / "set", ROWS[:1], {})
    assert dataset.read_dataset(tmp_path / "set") == ROWS[:1]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    dataset.write_dataset(tmp_path / "set", ROWS, {})
    code = (
        "import os, sys; from pathlib import Path; from agentevol.data.artifact_folder import atomic_folder\n"
        "rename = Path.rename\n"
        "Path.rename = lambda path, to: os.kill(os.getpid(), 9) if path.suffix == '.tmp' else rename(path, to)\n"
        "with atomic_folder(Path(sys.argv[1])) as folder: (folder / 'new').write_text('x')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "set")], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "set").exists()
    with artifact_folder.atomic_folder(tmp_path / "set") as folder:
        assert dataset.read_dataset(tmp_path / "set") == ROWS
        (folder / "new").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_of_a_container_image_is_replaced_although_it_cannot_be_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset.write_dataset(tmp_path / "set", ROWS, {})
    rename = Path.rename

    def rename_in_an_overlay(path: Path, target: Path) -> Path:
        if path == tmp_path / "set":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_in_an_overlay)
    dataset.write_dataset(tmp_path / "set", ROWS[:1], {})
    assert dataset.read_dataset(tmp_path / "set") == ROWS[:1]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_manifest_has_no_version_of_the_product(tmp_path: Path) -> None:
    dataset.write_dataset(tmp_path / "set", ROWS, {})
    assert set(artifact_folder.read_manifest(tmp_path / "set")) == {"kind", "files", "digest", "rows", "counts", "lineage"}


def test_a_folder_digest_covers_names_and_contents_but_not_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("1")
    before = artifact_folder.folder_digest(tmp_path)
    artifact_folder.write_manifest(tmp_path, "model", base="x")
    assert artifact_folder.folder_digest(tmp_path) == before
    assert artifact_folder.read_manifest(tmp_path)["base"] == "x"
    (tmp_path / "sub" / "a").rename(tmp_path / "sub" / "b")
    assert artifact_folder.folder_digest(tmp_path) != before


def test_a_json_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert artifact_folder.digest_json({"a": 1, "b": [2.5, None]}) == artifact_folder.digest_json({"b": [2.5, None], "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        artifact_folder.digest_json(float("nan"))
