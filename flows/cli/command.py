"""What every command does before and around its work: check the parameters, be quiet, bring an API along, end with a line.

Invariant: parameters are checked before anything starts, and nothing phones home: the switches for that are set here, before Prefect and
MLflow are imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # errors are raised to the terminal anyway; a worker logs as prefect.toml says
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "GX_ANALYTICS_ENABLED": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}

EXPECTED = (
    "agentevol.training.lora.PeftNotInstalled",
    "agentevol.chat.template.ChatTemplateError",
    "agentevol.data.experts.ExpertFailed",
    "agentevol.training.finetune.NoTrainingData",
    "agentevol.gate.gate.GateFailed",
    "agentevol.training.launch.LaunchFailed",
    "agentevol.models.ModelNotFound",
    "agentevol.training.optimizer.NonFiniteLoss",
    "agentevol.data.artifact_folder.IncompleteFolder",
    "agentevol.rollout.engine.EngineError",
    "agentevol.rollout.workers.WorkerLost",
    "tasks.artifact.OtherSchema",
    "tasks.rollout.NothingPlayed",
    "tasks.rollout.PolicyChanged",
    "tasks.mlflow_store.TrackingUnusable",
)
"""Errors that a user can put right, whose message says how."""


def run_flow(flow: str, params: Path, overrides: list[str], models: Sequence[str] = (), **more: Any) -> Any:
    """Check the parameters, then run a flow with a Prefect API beside it; known errors become one line.

    `models`: those that the flow needs besides the base model.
    """
    check(params, overrides, models)
    be_quiet()
    from flows.prefect_server import ServerFailed, many_imports, prefect_api

    home = Path(os.environ["PREFECT_HOME"])
    if not (home / "prefect.db").exists() and not os.environ.get("PREFECT_API_URL"):
        print("making Prefect's database, the first time only (some ten seconds)", file=sys.stderr)
    with prefect_api(home) as server:
        try:
            with many_imports():
                found = load(flow)  # its imports take as long as the API's start, and run beside it
            with expected_errors():
                if server:
                    with many_imports():
                        _prepare(flow)
                    server.wait()
                return found(params_file=str(params), overrides=list(overrides), **more)
        except ServerFailed as error:
            fail(str(error), code=1)


def check(params: Path, overrides: list[str], models: Sequence[str]) -> None:
    from agentevol.settings.load import SettingsError, load_params

    try:
        settings = load_params(params, overrides)
    except SettingsError as error:
        fail(str(error))
    if all(Path(model).exists() for model in (settings.model.base, *models)):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # loading a local model is not worth a bar


def be_quiet() -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    home = Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve() / ".prefect"
    os.environ.setdefault("PREFECT_HOME", str(home))
    os.environ.setdefault("PREFECT_RESULTS_LOCAL_STORAGE_PATH", str(Path(os.environ["PREFECT_HOME"]) / "results"))


def load(name: str) -> Callable[..., Any]:
    from importlib import import_module

    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found


def _prepare(name: str) -> None:
    """What a flow has to open before its first step, while the API is still starting: `prepare` in its module, where there is one."""
    prepare = getattr(sys.modules[name.partition(":")[0]], "prepare", None)
    if prepare is not None:
        prepare()


@contextmanager
def expected_errors() -> Iterator[None]:
    """What a user can put right ends in its message; anything else keeps its traceback."""
    from agentevol.settings.load import SettingsError

    try:
        yield
    except SettingsError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("stopped; the same command goes on from here", code=130)
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        fail(str(error), code=1)


def _expected() -> tuple[type[Exception], ...]:
    """The classes of EXPECTED that can have been raised: those whose module is loaded. Loading torch to name an error takes seconds."""
    places = (name.rpartition(".") for name in EXPECTED)
    return tuple(getattr(sys.modules[module], name) for module, _, name in places if module in sys.modules)


def fail(message: str, code: int = 2) -> None:
    print(f"agentevol: {message}", file=sys.stderr)
    raise typer.Exit(code)
