"""What is installed and works, with the remedy for what does not.

Invariant: it changes nothing and starts nothing that stays (`full` runs one flow in a folder of its own).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

PACKAGES = ("prefect", "fastapi", "mlflow", "dvc", "great-expectations", "torch", "transformers", "accelerate", "gymnasium", "minigrid")
SMOKE = "from prefect import flow, task\none = task(lambda: 1)\nflow(name='smoke')(lambda: one())()"


class Finding(NamedTuple):
    """`ok` is None for what is only worth knowing; `remedy` says what to do where it is not in order."""

    what: str
    ok: bool | None
    seen: str
    remedy: str = ""


def examine(params_file: Path, *, full: bool = False) -> bool:
    """Print a line per finding; True where nothing needs a remedy."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported: looking must not download a model
    console = Console(highlight=False)
    good = True
    for finding in _findings(params_file, full):
        mark = {True: "[green]ok[/]", False: "[red]--[/]", None: "  "}[finding.ok]
        console.print(f"{mark:>2}  {finding.what:<14} {finding.seen}", soft_wrap=True)
        if finding.ok is False:
            good = False
            console.print(f"    {'':<14} [yellow]{finding.remedy}[/]", soft_wrap=True)
    return good


def _findings(params_file: Path, full: bool) -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", (3, 11) <= sys.version_info[:2] < (3, 13), found, "make PYTHON=python3.11 (3.11 and 3.12 are supported)")
    for name in PACKAGES:
        yield _package(name)
    yield Finding("processor", None, f"{os.cpu_count()} cores, {_memory()}")
    yield Finding("git", shutil.which("git") is not None, shutil.which("git") or "not found", "install git; DVC needs it")
    yield Finding("on the path", None, _commands())
    yield from _environments()
    yield from _project(params_file)
    yield _database(Path("mlflow.db"))
    yield Finding("chromium", None, shutil.which("chromium") or "not found (WebArena and the tests of pages use it)")
    if full:
        yield _prefect()


def _commands() -> str:
    there = [name for name in ("agentevol", "dvc") if shutil.which(name)]
    lacking = "" if len(there) == 2 else ": DVC's stages and queue need both (source .venv/bin/activate)"
    return (" and ".join(there) or "neither agentevol nor dvc") + lacking


def _environments() -> Iterator[Finding]:
    from envs.registry import ENVIRONMENTS, environment_class

    lacking = {name: reason for name in sorted(ENVIRONMENTS) if (reason := environment_class(name).missing())}
    yield Finding("environments", True, ", ".join(name for name in sorted(ENVIRONMENTS) if name not in lacking))
    for name, reason in lacking.items():
        yield Finding(name, None, f"cannot be played here: {reason}")


def _package(name: str) -> Finding:
    try:
        seen = version(name)
    except PackageNotFoundError:
        return Finding(name, False, "not installed", "make test sets up .venv; or: pip install -c constraints.txt -e .")
    # Prefect 3.8 declares a wider range of fastapi than it can run with: `pip check` does not see this.
    bad = name == "fastapi" and tuple(map(int, seen.split(".")[:2])) >= (0, 155)
    return Finding(name, not bad, seen, "pip install 'fastapi<0.151': Prefect 3.8 does not start with later ones")


def _project(params_file: Path) -> Iterator[Finding]:
    from agentevol.data.artifact_folder import is_complete
    from agentevol.settings.load import SettingsError, load_params

    try:
        params = load_params(params_file)
    except SettingsError as error:
        yield Finding("parameters", False, str(params_file), str(error))
        return
    yield Finding("parameters", True, str(params_file))
    yield _base_model(params.model.base)
    for name in ("agenttraj", "agenttraj_l", "agenteval", "explore"):
        folder = Path(params.data.folder) / name
        yield Finding("data", is_complete(folder), str(folder), "agentevol collect makes it (so does every run)")


def _base_model(name: str) -> Finding:
    """A folder, or a model of the hub that is in its cache; nothing is downloaded (see examine)."""
    from agentevol.models import ModelNotFound, is_local_path, model_digest, resolve_model

    try:
        folder = resolve_model(name)
    except ModelNotFound as error:
        if is_local_path(name):
            return Finding("base model", False, name, str(error))
        return Finding("base model", None, f"{name}: not in the hub's cache here; a run downloads it")
    weights = any(folder.glob("*.safetensors"))
    remedy = "it holds no *.safetensors: make base-model makes the embedded one again"
    return Finding("base model", weights, f"{name}, sha256 {model_digest(folder)[:12]}", remedy)


def _database(path: Path) -> Finding:
    if not path.exists():
        return Finding("mlflow.db", None, "not there yet; the first run makes it")
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            runs = database.execute("select count(*) from runs").fetchone()[0]
    except sqlite3.Error as error:
        return Finding("mlflow.db", False, str(error), "move mlflow.db away; the next run makes a new one")
    return Finding("mlflow.db", True, f"{runs} runs")


def _prefect() -> Finding:
    """One flow of one task, in a Prefect home of its own, as a new machine would run it."""
    with tempfile.TemporaryDirectory() as home:
        try:
            done = subprocess.run(
                [sys.executable, "-c", SMOKE],
                capture_output=True,
                text=True,
                timeout=180,
                env={**os.environ, "PREFECT_HOME": home, "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"},
            )
        except subprocess.TimeoutExpired:
            return Finding("prefect flow", False, "did not end in 180 s", "is the machine busy? try again")
    lines = done.stderr.strip().splitlines()
    seen = "runs" if done.returncode == 0 else lines[-1] if lines else "failed"
    return Finding("prefect flow", done.returncode == 0, seen, "pip install -c constraints.txt -e . restores the versions that work")


def _memory() -> str:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return f"{pages * size / 2**30:.0f} GiB of memory"
