"""The hashes that DVC recorded, read without DVC, to tell whether `data/` matches `data.dvc`.

Invariant: only reads. Nothing that `dvc repro` runs may call `dvc add`, because it waits for the lock that `dvc repro` holds.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import yaml


def folder_md5(folder: Path) -> str:
    """A folder's hash as DVC computes it: MD5 over the JSON list of its files' MD5s and relative paths, with the suffix `.dir`."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    entries = [{"md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(), "relpath": name} for name, path in files]
    text = json.dumps(entries, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def recorded_md5(dvc_file: Path) -> str | None:
    """The hash in a `.dvc` file; None if the file does not exist."""
    if not dvc_file.is_file():
        return None
    outs = yaml.safe_load(dvc_file.read_text(encoding="utf-8")).get("outs") or [{}]
    md5: str | None = outs[0].get("md5")
    return md5
