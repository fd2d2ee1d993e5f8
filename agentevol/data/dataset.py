"""Datasets on disk, in folders that are whole or absent: trajectories as Parquet, instructions as JSON lines, named by their content.

Invariant: what is read is what was written, row for row, or IncompleteFolder is raised. Trajectories are
streamed: a set of any size takes the memory of a row group.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import atomic_folder, damaged, digest_json, read_manifest, sha256_file, write_manifest
from agentevol.data.parquet import from_batch, schema, to_table
from agentevol.data.trajectory import ContentDigest, Trajectory
from envs.base import Instruction

TRAJECTORIES = "trajectories.parquet"
ROW_GROUP = 16_384
"""Rows of a Parquet row group. It is part of what decides a file's bytes."""
_AT_ONCE = 512
"""Rows that are Python objects at a time."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset on disk by its description: content `digest`, `rows` in all, `counts` per environment, and what it was made from."""

    path: Path
    digest: str
    rows: int
    counts: dict[str, int]
    lineage: dict[str, Any] = field(default_factory=dict)


def write_dataset(folder: Path, trajectories: Iterable[Trajectory], lineage: Mapping[str, Any]) -> Dataset:
    """Write trajectories as one Parquet file (zstd) with its manifest, replacing what is there. Equal rows give equal bytes.

    The rows are taken as they come; what their iterator raises leaves the folder as it was. The digest is `trajectory.content_digest`: it
    leaves `seconds` out, the file keeps them.
    """
    digest, counts = ContentDigest(), Counter[str]()
    with atomic_folder(folder) as temporary:
        _write_rows(temporary / TRAJECTORIES, _counted(trajectories, digest, counts))
        dataset = _describe(folder, digest.hexdigest(), counts, lineage)
        _write_dataset_manifest(temporary, "trajectories", dataset)
    return dataset


def read_dataset(folder: Path) -> list[Trajectory]:
    """The trajectories of a dataset, in order. Raises IncompleteFolder unless its file is the one that the manifest was written for."""
    return list(stream_dataset(folder))


def stream_dataset(folder: Path) -> Iterator[Trajectory]:
    """The same one by one, with few in memory. The file is checked before the first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifest = _manifest_of_kind(folder, "trajectories")
    path = folder / TRAJECTORIES
    try:
        if sha256_file(path) != manifest["files"].get(TRAJECTORIES):
            raise damaged(folder, "its rows are not those that the manifest was written for")
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_AT_ONCE, columns=schema().names):
                yield from from_batch(batch)
    except (OSError, pa.ArrowException) as error:
        raise damaged(folder, f"{TRAJECTORIES} cannot be read: {error}") from None


def write_instructions(folder: Path, splits: Mapping[str, Sequence[Instruction]], lineage: Mapping[str, Any] | None = None) -> Dataset:
    """Write lists of instructions, one `<split>.jsonl` each, with a manifest. Equal lists give equal bytes."""
    everything = [instruction for instructions in splits.values() for instruction in instructions]
    rows = {split: [asdict(instruction) for instruction in instructions] for split, instructions in splits.items()}
    dataset = _describe(folder, digest_json(rows), Counter(instruction.env for instruction in everything), lineage or {})
    with atomic_folder(folder) as temporary:
        for split, entries in rows.items():
            lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
            (temporary / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        _write_dataset_manifest(temporary, "instructions", dataset, splits=list(splits))
    return dataset


def read_instructions(folder: Path) -> dict[str, list[Instruction]]:
    """The lists of instructions by split, in order. Raises IncompleteFolder unless their digest is the one in the manifest."""
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


def read_instruction_list(folder: Path) -> list[Instruction]:
    """The instructions of all splits of a folder in one list, split by split. Raises IncompleteFolder as `read_instructions`."""
    return [instruction for instructions in read_instructions(folder).values() for instruction in instructions]


def open_dataset(folder: Path) -> Dataset:
    """The description of a dataset of either kind, from its manifest alone. Raises IncompleteFolder when there is none."""
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


def _counted(trajectories: Iterable[Trajectory], digest: ContentDigest, counts: Counter[str]) -> Iterator[Trajectory]:
    for trajectory in trajectories:
        digest.add(trajectory)
        counts[trajectory.env] += 1
        yield trajectory


def _write_rows(path: Path, trajectories: Iterator[Trajectory]) -> None:
    """Row groups of ROW_GROUP rows; each is gathered as columns, which are a tenth of the objects they are made of."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema(), compression="zstd") as writer:
        whole = None
        while whole is None or whole.num_rows == ROW_GROUP:
            parts = [to_table([])]
            while rows := list(islice(trajectories, min(_AT_ONCE, ROW_GROUP - sum(part.num_rows for part in parts)))):
                parts.append(to_table(rows))
            first, whole = whole is None, pa.concat_tables(parts).combine_chunks()
            if first or whole.num_rows:
                writer.write_table(whole, row_group_size=ROW_GROUP)


def _describe(folder: Path, digest: str, counts: Counter[str], lineage: Mapping[str, Any]) -> Dataset:
    return Dataset(Path(folder), digest, counts.total(), dict(sorted(counts.items())), dict(lineage))


def _write_dataset_manifest(folder: Path, kind: str, dataset: Dataset, **fields: Any) -> None:
    described = {"digest": dataset.digest, "rows": dataset.rows, "counts": dataset.counts, "lineage": dataset.lineage}
    write_manifest(folder, kind, **described, **fields)
