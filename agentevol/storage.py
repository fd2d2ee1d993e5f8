"""Datasets on disk, in folders that are whole or absent: trajectories as Parquet, instructions as JSON lines, named by their content.

Invariant: what is read is what was written, row for row, or Incomplete is raised.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agentevol.folders import atomic_folder, damaged, digest_json, read_manifest, write_manifest
from agentevol.trajectory import Trajectory, content_digest
from envs.base import Instruction

TRAJECTORIES = "trajectories.parquet"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset on disk by its description: content `digest`, `rows` in all, `counts` per environment, and what it was made from."""

    path: Path
    digest: str
    rows: int
    counts: dict[str, int]
    lineage: dict[str, Any] = field(default_factory=dict)


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
        raise damaged(folder, f"{TRAJECTORIES} cannot be read: {error}") from None
    trajectories = [Trajectory.from_row(row) for row in rows]
    if content_digest(trajectories) != manifest["digest"]:
        raise damaged(folder, "its rows are not those that the manifest was written for")
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
        raise damaged(folder, f"its lists cannot be read: {error}") from None
    if digest_json(rows) != manifest["digest"]:
        raise damaged(folder, "its lists are not those that the manifest was written for")
    return {split: [Instruction(**entry) for entry in entries] for split, entries in rows.items()}


def open_dataset(folder: Path) -> Dataset:
    """The description of a dataset of either kind, from its manifest alone. Raises Incomplete when there is none."""
    manifest = read_manifest(folder)
    try:
        return Dataset(Path(folder), manifest["digest"], manifest["rows"], manifest["counts"], manifest["lineage"])
    except KeyError as error:
        raise damaged(folder, f"its manifest is one of kind {manifest.get('kind')!r} without {error}, not a dataset's") from None


def _manifest_of_kind(folder: Path, kind: str) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if manifest.get("kind") != kind or "digest" not in manifest:
        raise damaged(folder, f"it holds {manifest.get('kind')!r}, but {kind!r} are expected here")
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
