"""Checks that a result from elsewhere agrees with its manifest: its key, its content, its counts.

Invariant: whatever can be computed from the files is not taken from the manifest: a folder named by a digest holds the content with that
digest. How a result was computed cannot be seen in it: whoever may write to a shared location is trusted with that.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from agentevol.data.artifact_folder import IncompleteFolder, folder_digest, read_manifest
from agentevol.data.dataset import read_instructions, stream_dataset
from agentevol.data.trajectory import ContentDigest
from tasks.artifact import Artifact, artifact_of, result_folder, store_key

_FACTS_FILES = {"scores": "scores.json", "summary": "summary.json"}
"""The file that holds the facts of a result, by its kind; the facts in the manifest must be the same."""


class NotAsDescribed(ValueError):
    """A result differs from its manifest, or from the digest under which it was offered; the message says in what."""


def verify_result(folder: Path, name: str, offered_digest: str, offered_by: str) -> Artifact:
    """Check a complete folder before it gets its `name` in the store. Raises NotAsDescribed, IncompatibleSchema, IncompleteFolder.

    `offered_digest`, `offered_by`: the digest under which it was offered, and by what ("the index").
    """
    manifest = read_manifest(folder)
    artifact = artifact_of(manifest, folder.with_name(name))
    try:
        key = store_key(manifest["task"], manifest["version"], manifest["inputs"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise NotAsDescribed("its manifest has no task, version and inputs") from None
    if key != name:
        raise NotAsDescribed(f"its manifest describes another result, {key}")
    if artifact.kind != manifest.get("kind"):
        raise NotAsDescribed(f"its manifest says both {manifest.get('kind')} and {artifact.kind}")
    content = folder / result_folder(artifact)
    try:
        digest, counts = _digest_and_counts(artifact.kind, content)
    except (IncompleteFolder, OSError, ValueError, TypeError, KeyError) as error:
        raise NotAsDescribed(f"its content cannot be read: {error}") from None
    for source, given in (("its manifest", artifact.digest), (offered_by, offered_digest)):
        if digest != given:
            raise NotAsDescribed(f"its content has the digest {digest[:16]}, {source} says {given[:16]}")
    if counts != artifact.counts:
        raise NotAsDescribed(f"it holds {counts or 'no counted'} rows, its manifest says {artifact.counts}")
    file = _FACTS_FILES.get(artifact.kind)
    if file and json.loads((content / file).read_text(encoding="utf-8")) != artifact.facts:
        raise NotAsDescribed(f"its {file} and the facts of its manifest differ")
    return artifact


def _digest_and_counts(kind: str, content: Path) -> tuple[str, dict[str, int]]:
    """The digest as the tasks compute it, from the files alone, and the rows per environment."""
    counts: Counter[str] = Counter()
    if kind == "trajectories":
        digest = ContentDigest()
        for row in stream_dataset(content):
            digest.add(row)
            counts[row.env] += 1
        return digest.hexdigest(), dict(counts)
    if kind == "instructions":
        counts.update(item.env for items in read_instructions(content).values() for item in items)  # compares them with their digest
        return str(read_manifest(content)["digest"]), dict(counts)
    if kind == "model":
        from agentevol.models import model_digest

        return model_digest(content), {}
    return folder_digest(content), {}
