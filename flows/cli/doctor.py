"""A check of the installation, with a remedy for everything that does not work.

Invariant: it changes nothing and leaves no process behind (`full` runs one flow in a folder of its own).
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
SMOKE_TEST = "from prefect import flow, task\nsubtask = task(lambda: 1)\nflow(name='smoke')(lambda: subtask())()"


class Finding(NamedTuple):
    """`ok` is None for information without a verdict; `remedy` says how to fix a problem."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


def check_installation(params_file: Path, *, full: bool = False) -> bool:
    """Print one line per finding; returns whether nothing needs a remedy."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported: the check must not download a model
    console = Console(highlight=False)
    all_ok = True
    for finding in _findings(params_file, full):
        mark = {True: "[green]ok[/]", False: "[red]--[/]", None: "  "}[finding.ok]
        console.print(f"{mark:>2}  {finding.name:<14} {finding.detail}", soft_wrap=True)
        if finding.ok is False:
            all_ok = False
            console.print(f"    {'':<14} [yellow]{finding.remedy}[/]", soft_wrap=True)
    return all_ok


def _findings(params_file: Path, full: bool) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", (3, 11) <= sys.version_info[:2] < (3, 13), python, "make PYTHON=python3.11 (3.11 and 3.12 are supported)")
    for name in PACKAGES:
        yield _package(name)
    yield Finding("processor", None, f"{os.cpu_count()} cores, {_memory()}")
    yield from _gpus()
    yield Finding("git", shutil.which("git") is not None, shutil.which("git") or "not found", "install git; DVC needs it")
    yield Finding("on the path", None, _commands())
    yield from _environments()
    yield from _project(params_file)
    yield _database(Path("mlflow.db"))
    yield Finding("chromium", None, _chromium())
    if full:
        yield _prefect()


def _gpus() -> Iterator[Finding]:
    """Each GPU, and whether PyTorch's kernels for rows of different lengths work on it; without them the same results take longer."""
    import torch

    if not torch.cuda.device_count():
        return
    from agentevol.rollout import paged_attention
    from agentevol.training import gpu_attention

    for index in range(torch.cuda.device_count()):
        shape = (torch.bfloat16, 16, 8, 128)
        kernels = {"training": gpu_attention.kernel_works(index, *shape), "playing": paged_attention.kernel_works(index, *shape)}
        missing = " and ".join(name for name, works in kernels.items() if not works)
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        yield Finding(
            f"gpu {index}",
            not missing,
            f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"
            + (f"; {missing} without PyTorch's attention kernel" if missing else ""),
            "results are right but take longer; use PyTorch 2.12 or later and a GPU that its flash attention supports",
        )


def _chromium() -> str:
    from envs.webarena.browser import chromium_path, sandbox_problem

    problem = sandbox_problem()
    return (chromium_path() or "not found (WebArena and the tests of pages use it)") + (
        f"; without its sandbox: {problem}" if problem else ""
    )


def _commands() -> str:
    found = [name for name in ("agentevol", "dvc") if shutil.which(name)]
    hint = "" if len(found) == 2 else ": DVC's stages and queue need both (source .venv/bin/activate)"
    return (" and ".join(found) or "neither agentevol nor dvc") + hint


def _environments() -> Iterator[Finding]:
    from envs.registry import ENVIRONMENTS, environment_class

    missing = {name: reason for name in sorted(ENVIRONMENTS) if (reason := environment_class(name).missing())}
    yield Finding("environments", True, ", ".join(name for name in sorted(ENVIRONMENTS) if name not in missing))
    for name, reason in missing.items():
        yield Finding(name, None, f"cannot run here: {reason}")


def _package(name: str) -> Finding:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding(name, False, "not installed", "`make doctor` sets up .venv; or: pip install -c constraints.txt -e .")
    # Prefect 3.8 declares a wider range of fastapi than it runs with, which `pip check` cannot see.
    incompatible = name == "fastapi" and tuple(map(int, installed.split(".")[:2])) >= (0, 155)
    return Finding(name, not incompatible, installed, "pip install 'fastapi<0.151': Prefect 3.8 does not start with later ones")


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
        if folder.exists():
            yield Finding("data", is_complete(folder), str(folder), "it is damaged: agentevol collect builds it again (so does every run)")
        else:
            yield Finding("data", None, f"{folder} does not exist yet: agentevol collect builds it (so does every run)")


def _base_model(name: str) -> Finding:
    """A folder, or a model of the hub in its local cache; nothing is downloaded (see check_installation)."""
    from agentevol.models import ModelNotFound, is_local_path, model_digest, resolve_model

    try:
        folder = resolve_model(name)
    except ModelNotFound as error:
        if is_local_path(name):
            return Finding("base model", False, name, str(error))
        return Finding("base model", None, f"{name}: not in the hub's cache here; a run downloads it")
    from agentevol.chat.load import load_chat_tokenizer
    from agentevol.preflight.files import check_files, check_vocabulary

    checks = check_files(folder)
    if checks[0].status == "ok":
        try:
            checks.append(check_vocabulary(folder, load_chat_tokenizer(folder)))
        except Exception as error:  # named boundary: transformers raises many kinds of errors for a damaged tokenizer
            return Finding("base model", False, f"{name}: {type(error).__name__}", "check the tokenizer's files")
    if problem := next((check for check in checks if check.status == "error"), None):
        rebuild = "; `make base-model` rebuilds the embedded model" if is_local_path(name) else ""
        return Finding("base model", False, f"{name}: {problem.detail}", problem.remedy + rebuild)
    return Finding("base model", True, f"{name}, sha256 {model_digest(folder)[:12]}; agentevol doctor --model {name} checks more")


def _database(path: Path) -> Finding:
    if not path.exists():
        return Finding("mlflow.db", None, "does not exist yet; the first run creates it")
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            runs = database.execute("select count(*) from runs").fetchone()[0]
    except sqlite3.Error as error:
        return Finding("mlflow.db", False, str(error), "move mlflow.db away; the next run creates a new one")
    return Finding("mlflow.db", True, f"{runs} runs")


def _prefect() -> Finding:
    """A flow with one task, in a Prefect home of its own, as on a new machine."""
    with tempfile.TemporaryDirectory() as home:
        try:
            process = subprocess.run(
                [sys.executable, "-c", SMOKE_TEST],
                capture_output=True,
                text=True,
                timeout=180,
                env={**os.environ, "PREFECT_HOME": home, "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120"},
            )
        except subprocess.TimeoutExpired:
            return Finding("prefect flow", False, "did not end in 180 s", "is the machine busy? try again")
    lines = process.stderr.strip().splitlines()
    detail = "runs" if process.returncode == 0 else lines[-1] if lines else "failed"
    return Finding("prefect flow", process.returncode == 0, detail, "pip install -c constraints.txt -e . restores the versions that work")


def _memory() -> str:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return f"{pages * size / 2**30:.0f} GiB of memory"
