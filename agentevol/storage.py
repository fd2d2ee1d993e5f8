"""Results on disk: folders that are written whole or not at all, and the datasets in them, named by their content.

Invariant: a folder whose manifest.json is there and agrees with its files is complete; the manifest is written last, and the folder gets
its final name by one rename after everything is on the disk. Whatever else lies there is taken for unfinished and made again.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agentevol.trajectory import Trajectory, content_digest
from envs.base import Instruction

MANIFEST = "manifest.json"
TRAJECTORIES = "trajectories.parquet"
TEMPORARY, ASIDE = ".tmp", ".old"


class Incomplete(RuntimeError):
    """A folder is missing, unfinished or damaged; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset on disk by its description: content `digest`, `rows` in all, `counts` per environment, and what it was made from."""

    path: Path
    digest: str
    rows: int
    counts: dict[str, int]
    lineage: dict[str, Any] = field(default_factory=dict)


# --- datasets ------------------------------------------------------------------------------------------------------------------------


def write_dataset(folder: Path, trajectories: Sequence[Trajectory], lineage: Mapping[str, Any]) -> Dataset:
    """Write trajectories as one Parquet file (zstd) with its manifest, replacing what is there. Equal rows give equal bytes.

    The digest is `trajectory.content_digest`: it leaves `seconds` out, the file keeps them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([trajectory.to_row() for trajectory in trajectories], schema=_schema())
    dataset = _describe(folder, content_digest(trajectories), trajectories, lineage)
    with atomic_folder(folder) as temporary:
        pq.write_table(table, temporary / TRAJECTORIES, compression="zstd")
        _write_dataset_manifest(temporary, "trajectories", dataset)
    return dataset


def read_dataset(folder: Path) -> list[Trajectory]:
    """The trajectories of a dataset, in order. Raises Incomplete unless their digest is the one in the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifest = _manifest_of_kind(folder, "trajectories")
    try:
        rows = pq.read_table(folder / TRAJECTORIES, schema=_schema(), partitioning=None).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise _damaged(folder, f"{TRAJECTORIES} cannot be read: {error}") from None
    trajectories = [Trajectory.from_row(row) for row in rows]
    if content_digest(trajectories) != manifest["digest"]:
        raise _damaged(folder, "its rows are not those that the manifest was written for")
    return trajectories


def write_instructions(folder: Path, splits: Mapping[str, Sequence[Instruction]], lineage: Mapping[str, Any] | None = None) -> Dataset:
    """Write lists of instructions, one `<split>.jsonl` each, with a manifest. Equal lists give equal bytes."""
    everything = [instruction for instructions in splits.values() for instruction in instructions]
    rows = {split: [asdict(instruction) for instruction in instructions] for split, instructions in splits.items()}
    dataset = _describe(folder, digest_json(rows), everything, lineage or {})
    with atomic_folder(folder) as temporary:
        for split, entries in rows.items():
            lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
            (temporary / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        _write_dataset_manifest(temporary, "instructions", dataset, splits=list(splits))
    return dataset


def read_instructions(folder: Path) -> dict[str, list[Instruction]]:
    """The lists of instructions by split, in order. Raises Incomplete unless their digest is the one in the manifest."""
    manifest = _manifest_of_kind(folder, "instructions")
    try:
        rows = {
            split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").split("\n") if line]
            for split in manifest["splits"]
        }
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"its lists cannot be read: {error}") from None
    if digest_json(rows) != manifest["digest"]:
        raise _damaged(folder, "its lists are not those that the manifest was written for")
    return {split: [Instruction(**entry) for entry in entries] for split, entries in rows.items()}


def open_dataset(folder: Path) -> Dataset:
    """The description of a dataset of either kind, from its manifest alone. Raises Incomplete when there is none."""
    manifest = read_manifest(folder)
    try:
        return Dataset(Path(folder), manifest["digest"], manifest["rows"], manifest["counts"], manifest["lineage"])
    except KeyError as error:
        raise _damaged(folder, f"its manifest is one of kind {manifest.get('kind')!r} without {error}, not a dataset's") from None


# --- folders -------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """A temporary folder beside `final` that takes its name, and its place, when the block ends without an exception.

    A reader sees the old folder or the new one, whole. What killed processes left here is put in order first: their temporary folders are
    removed, and a folder that one of them had set aside for its successor comes back where that never took its place.
    """
    final = Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    _clear_stale(final)
    temporary = _sibling(final)
    temporary.mkdir()
    try:
        yield temporary
        _to_disk(temporary)
        _take_place(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_manifest(folder: Path, kind: str, **fields: Any) -> dict[str, Any]:
    """Write manifest.json over all files of `folder`: call it last. `fields` must be JSON values.

    Nothing else is written into it (no time, no version of the product), so that equal data make equal folders.
    """
    manifest = {"kind": kind, "files": _hashes(folder), **fields}
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    temporary = Path(folder) / f"{MANIFEST}.tmp"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(Path(folder) / MANIFEST)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder. Raises Incomplete when the folder or the manifest is missing or unreadable."""
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _damaged(folder, f"there is no {MANIFEST}" if path.parent.is_dir() else "there is no such folder") from None
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{MANIFEST} cannot be read: {error}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise _damaged(folder, f"{MANIFEST} lists no files")
    return manifest


def is_complete(folder: Path) -> bool:
    """Whether the manifest is there and every file it lists exists with the hash it lists."""
    try:
        files = read_manifest(folder)["files"]
        return all(sha256_file(Path(folder) / name) == digest for name, digest in files.items())
    except (Incomplete, OSError):
        return False


# --- digests -------------------------------------------------------------------------------------------------------------------------


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a JSON value in one canonical form: keys sorted, no spaces, no NaN. Raises TypeError or ValueError for anything else."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below `folder`, its manifest left out."""
    return digest_json(_hashes(folder))


# --- helpers -------------------------------------------------------------------------------------------------------------------------


def _hashes(folder: Path) -> dict[str, str]:
    folder = Path(folder)
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return {name: sha256_file(path) for name, path in files if name != MANIFEST}


def _damaged(folder: Path, reason: str) -> Incomplete:
    return Incomplete(f"{folder} is not complete: {reason}. Remove it and run the step that makes it again.")


def _manifest_of_kind(folder: Path, kind: str) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if manifest.get("kind") != kind or "digest" not in manifest:
        raise _damaged(folder, f"it holds {manifest.get('kind')!r}, but {kind!r} are expected here")
    return manifest


def _describe(folder: Path, digest: str, items: Iterable[Trajectory | Instruction], lineage: Mapping[str, Any]) -> Dataset:
    counts = Counter(item.env for item in items)
    return Dataset(Path(folder), digest, counts.total(), dict(sorted(counts.items())), dict(lineage))


def _write_dataset_manifest(folder: Path, kind: str, dataset: Dataset, **fields: Any) -> None:
    described = {"digest": dataset.digest, "rows": dataset.rows, "counts": dataset.counts, "lineage": dataset.lineage}
    write_manifest(folder, kind, **described, **fields)


def _schema() -> Any:
    """The columns of a trajectory file, as Arrow types; a field is null only where the Trajectory may hold None."""
    import pyarrow as pa

    message = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string()), pa.field("loss", pa.bool_())])
    text = ["item_id", "env", "task_type", "split", "policy", "policy_hash"]
    return pa.schema(
        [pa.field(name, pa.string(), nullable=False) for name in text]
        + [pa.field(name, pa.int32(), nullable=False) for name in ("iteration", "sample")]
        + [
            pa.field("messages", pa.list_(message), nullable=False),
            pa.field("reward", pa.float64(), nullable=False),
            pa.field("success", pa.bool_(), nullable=False),
            pa.field("rounds", pa.int32(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("error", pa.string()),
            pa.field("tokens", pa.int32(), nullable=False),
            pa.field("seconds", pa.float64(), nullable=False),
            pa.field("token_ids", pa.list_(pa.int32())),
            pa.field("loss_mask", pa.list_(pa.bool_())),
        ]
    )


def _sibling(final: Path, suffix: str = TEMPORARY) -> Path:
    return final.with_name(f".{final.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}{suffix}")


def _clear_stale(final: Path) -> None:
    for path in final.parent.glob(glob.escape(f".{final.name}.{socket.gethostname()}.") + "*"):
        process = path.stem.split(".")[-2]
        if path.suffix not in (TEMPORARY, ASIDE) or not process.isdigit() or _alive(int(process)):
            continue
        if path.suffix == ASIDE and not final.exists():
            path.rename(final)  # killed between the two renames of _take_place
        else:
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _to_disk(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_place(temporary: Path, final: Path) -> None:
    # A folder that is not empty cannot be renamed over: the old one steps aside first. Another process may do the same at the same time.
    for attempt in range(10):
        aside = _sibling(final, ASIDE)
        with contextlib.suppress(FileNotFoundError):
            final.rename(aside)
        try:
            temporary.rename(final)
        except OSError:
            with contextlib.suppress(OSError):
                aside.rename(final)  # nothing is lost where it could not be replaced
            if attempt == 9:
                raise
            continue
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        break
    _fsync(final.parent)
