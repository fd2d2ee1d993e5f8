"""Datasets on disk as artifact folders: trajectories as Parquet, instructions as JSON lines, identified by the digest of their contents.

Invariant: reading returns exactly the rows that were written, or raises IncompleteFolder. Trajectories are streamed: a dataset of any
size needs the memory of one row group.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from agentevol.data.artifact_folder import atomic_folder, digest_json, incomplete_folder_error, read_manifest, sha256_file, write_manifest
from agentevol.data.parquet import from_batch, known_columns, schema, to_table
from agentevol.data.trajectory import MEASURES, ContentDigest, Trajectory
from envs.base import Instruction

TRAJECTORIES = "trajectories.parquet"
ROW_GROUP = 16_384
"""Rows of a Parquet row group. The bytes of a file depend on it."""
_BATCH_ROWS = 512
"""Rows that are in memory as Python objects."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The description of a dataset on disk.

    `digest`: SHA-256 of the contents; `rows`: in all; `counts`: rows per environment; `lineage`: policy, parameters, parent datasets.
    """

    path: Path
    digest: str
    rows: int
    counts: dict[str, int]
    lineage: dict[str, Any] = field(default_factory=dict)


def write_dataset(
    folder: Path,
    trajectories: Iterable[Trajectory],
    lineage: Mapping[str, Any],
    *,
    with_times: bool = False,
    measures: Collection[str] | None = None,
    with_logprobs: bool = False,
) -> Dataset:
    """Write trajectories as one Parquet file (zstd) with its manifest, replacing an existing folder. Equal rows give equal bytes.

    The rows are written as the iterator yields them; if it raises, the folder stays as it was. The digest is
    `trajectory.content_digest`, which ignores `seconds`; the file has them. `with_times`: also keep `message_seconds`, for rollouts: a
    time would change the bytes of a dataset that is rebuilt. `measures`: the columns of MEASURES that the file has, which rows that are
    streamed must say (see `recorded_measures`); None: a list has those of its rows. `with_logprobs`: also keep `token_logprobs`, for rules
    that learn from the policy's own episodes. Raises ValueError for a row with a measure that the file would lose.
    """
    if measures is None:
        measures = {name for row in trajectories for name in row.measures()} if isinstance(trajectories, Sequence) else ()
    lists = {"message_seconds": with_times, "token_logprobs": with_logprobs}
    optional = frozenset(measures) | {name for name, is_kept in lists.items() if is_kept}
    digest, counts = ContentDigest(), Counter[str]()
    with atomic_folder(folder) as temporary:
        _write_rows(temporary / TRAJECTORIES, _counted(trajectories, digest, counts, optional), optional)
        dataset = _describe(folder, digest.hexdigest(), counts, lineage)
        _write_dataset_manifest(temporary, "trajectories", dataset)
    return dataset


def read_dataset(folder: Path) -> list[Trajectory]:
    """The trajectories of a dataset, in order. Raises IncompleteFolder if the file does not agree with the manifest."""
    return list(stream_dataset(folder))


def stream_dataset(folder: Path) -> Iterator[Trajectory]:
    """As `read_dataset`, one by one, with few in memory. The file is checked before the first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifest = _manifest_of_kind(folder, "trajectories")
    path = folder / TRAJECTORIES
    try:
        if sha256_file(path) != manifest["files"].get(TRAJECTORIES):
            raise incomplete_folder_error(folder, "its rows do not agree with its manifest")
        with pq.ParquetFile(path) as file:
            known = known_columns()
            for batch in file.iter_batches(_BATCH_ROWS, columns=[name for name in file.schema_arrow.names if name in known]):
                yield from from_batch(batch)
    except (OSError, pa.ArrowException) as error:
        raise incomplete_folder_error(folder, f"{TRAJECTORIES} cannot be read: {error}") from None


def recorded_measures(*folders: Path) -> frozenset[str]:
    """The columns of MEASURES that the files of these datasets of trajectories have. Raises IncompleteFolder."""
    return frozenset(name for folder in folders for name in _column_names(folder) if name in MEASURES)


def has_logprobs(folder: Path) -> bool:
    """Whether the file of a dataset of trajectories has a column for the log-probabilities of tokens. Raises IncompleteFolder."""
    return "token_logprobs" in _column_names(folder)


def _column_names(folder: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    _manifest_of_kind(folder, "trajectories")
    try:
        return list(pq.read_schema(folder / TRAJECTORIES).names)
    except (OSError, pa.ArrowException) as error:
        raise incomplete_folder_error(folder, f"{TRAJECTORIES} cannot be read: {error}") from None


def write_instructions(folder: Path, splits: Mapping[str, Sequence[Instruction]], lineage: Mapping[str, Any] | None = None) -> Dataset:
    """Write lists of instructions, one `<split>.jsonl` each, with a manifest. Equal lists give equal bytes."""
    all_instructions = [instruction for instructions in splits.values() for instruction in instructions]
    rows = {split: [asdict(instruction) for instruction in instructions] for split, instructions in splits.items()}
    dataset = _describe(folder, digest_json(rows), Counter(instruction.env for instruction in all_instructions), lineage or {})
    with atomic_folder(folder) as temporary:
        for split, entries in rows.items():
            lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
            (temporary / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        _write_dataset_manifest(temporary, "instructions", dataset, splits=list(splits))
    return dataset


def read_instructions(folder: Path) -> dict[str, list[Instruction]]:
    """The lists of instructions by split, in order. Raises IncompleteFolder if they do not agree with the manifest."""
    manifest = _manifest_of_kind(folder, "instructions")
    try:
        rows = {
            split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").split("\n") if line]
            for split in manifest["splits"]
        }
    except (OSError, ValueError) as error:
        raise incomplete_folder_error(folder, f"its lists cannot be read: {error}") from None
    if digest_json(rows) != manifest["digest"]:
        raise incomplete_folder_error(folder, "its lists do not agree with its manifest")
    return {split: [Instruction(**entry) for entry in entries] for split, entries in rows.items()}


def read_instruction_list(folder: Path) -> list[Instruction]:
    """The instructions of all splits of a folder in one list, split by split. Raises IncompleteFolder as `read_instructions`."""
    return [instruction for instructions in read_instructions(folder).values() for instruction in instructions]


def open_dataset(folder: Path, kind: str | None = None) -> Dataset:
    """The description of a dataset of this kind (by default of either), from its manifest only. Raises IncompleteFolder."""
    manifest = _manifest_of_kind(folder, kind) if kind else read_manifest(folder)
    try:
        return Dataset(Path(folder), manifest["digest"], manifest["rows"], manifest["counts"], manifest["lineage"])
    except KeyError as error:
        raise incomplete_folder_error(
            folder, f"its manifest is of kind {manifest.get('kind')!r} and has no {error}, so it is not a dataset"
        ) from None


def _manifest_of_kind(folder: Path, kind: str) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if manifest.get("kind") != kind or "digest" not in manifest:
        raise incomplete_folder_error(folder, f"expected {kind!r}, got {manifest.get('kind')!r}")
    return manifest


def _counted(
    trajectories: Iterable[Trajectory], digest: ContentDigest, counts: Counter[str], optional: frozenset[str]
) -> Iterator[Trajectory]:
    for trajectory in trajectories:
        if trajectory.token_logprobs is not None and "token_logprobs" not in optional:
            trajectory = replace(trajectory, token_logprobs=None)  # the digest is that of what the file holds
        if lost := trajectory.measures().keys() - optional:
            raise ValueError(f"{trajectory.item_id} has {', '.join(sorted(lost))}, which the file would lose: name it in `measures`")
        digest.add(trajectory)
        counts[trajectory.env] += 1
        yield trajectory


def _write_rows(path: Path, trajectories: Iterator[Trajectory], optional: frozenset[str]) -> None:
    """Write row groups of ROW_GROUP rows. Each is collected as columns, which need a tenth of the memory of the Python objects."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema(optional), compression="zstd") as writer:
        group = None
        while group is None or group.num_rows == ROW_GROUP:
            parts = [to_table([], optional)]
            while rows := list(islice(trajectories, min(_BATCH_ROWS, ROW_GROUP - sum(part.num_rows for part in parts)))):
                parts.append(to_table(rows, optional))
            first, group = group is None, pa.concat_tables(parts).combine_chunks()
            if first or group.num_rows:
                writer.write_table(group, row_group_size=ROW_GROUP)


def _describe(folder: Path, digest: str, counts: Counter[str], lineage: Mapping[str, Any]) -> Dataset:
    return Dataset(Path(folder), digest, counts.total(), dict(sorted(counts.items())), dict(lineage))


def _write_dataset_manifest(folder: Path, kind: str, dataset: Dataset, **fields: Any) -> None:
    description = {"digest": dataset.digest, "rows": dataset.rows, "counts": dataset.counts, "lineage": dataset.lineage}
    write_manifest(folder, kind, **description, **fields)
