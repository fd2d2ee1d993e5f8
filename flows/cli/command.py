"""The common part of all commands: check the parameters, silence other packages, start a Prefect API, and report errors in one line.

Invariant: parameters are checked before anything starts, and nothing contacts another server on its own: the environment variables for that
are set here, before Prefect and MLflow are imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

QUIET_ENVIRONMENT = {
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

_LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


def run_flow(
    flow: str, params: Path, overrides: list[str], models: Sequence[str] = (), *, uses_base_model: bool = True, **more: Any
) -> Any:
    """Check the parameters, then run a flow with its own Prefect API; expected errors are printed in one line.

    `models`: the models that the flow needs besides the base model.
    """
    check(params, overrides, models, uses_base_model=uses_base_model)
    set_quiet_defaults()
    from flows.prefect_database import named_database
    from flows.prefect_server import ServerStartupError, gc_paused, prefect_api

    home = Path(os.environ["PREFECT_HOME"])
    if not (home / "prefect.db").exists() and not named_database() and not os.environ.get("PREFECT_API_URL"):
        print("creating Prefect's database, the first time only (about ten seconds)", file=sys.stderr)
    try:
        with prefect_api(home) as server:
            with gc_paused():
                function = load_flow(flow)  # its imports take as long as the API's start, and run at the same time
            with expected_errors():
                if server:
                    with gc_paused():
                        _prepare(flow)
                    server.wait()
                return function(params_file=str(params), overrides=list(overrides), **more)
    except ServerStartupError as error:
        exit_with_error(str(error), code=1)


def check(params: Path, overrides: list[str], models: Sequence[str], *, uses_base_model: bool = True) -> None:
    from agentevol.settings.load import SettingsError, load_params
    from flows.check_parameters import check_parameters

    try:
        settings = load_params(params, overrides)
        is_hosted = settings.engine.kind == "openai" and settings.engine.weight_sync is None  # then `models` are names on the server
        if uses_base_model:
            # `evaluate` scores its model alone.
            check_parameters(settings, () if is_hosted else models, with_baselines=not models, trains=not models)
    except SettingsError as error:
        exit_with_error(str(error))
    if all(Path(model).exists() for model in models or (settings.model.base,)):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # loading a local model takes too little time for a progress bar


def set_quiet_defaults() -> None:
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    home = Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve() / ".prefect"
    os.environ.setdefault("PREFECT_HOME", str(home))
    try:
        Path.home()
    except RuntimeError:  # a container whose user has no account, and no HOME: Prefect cannot even be imported
        os.environ["HOME"] = os.environ["PREFECT_HOME"]
    os.environ.setdefault("PREFECT_RESULTS_LOCAL_STORAGE_PATH", str(Path(os.environ["PREFECT_HOME"]) / "results"))


def bypass_proxies_for_loopback() -> None:
    """Let no request to this machine go through a proxy: Prefect's API, MLflow's server and environment servers run here.

    Without the package socksio, the HTTP client of Prefect cannot even be made while a variable names a SOCKS proxy. Such a variable is
    removed, with one line.
    """
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""  # where both are set, the first one counts
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    hosts += [host for host in _LOOPBACK_HOSTS if host not in hosts]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(hosts)
    proxies = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]
    if unusable := sorted(name for name in proxies if _is_unusable_proxy(os.environ[name])):
        for name in unusable:
            del os.environ[name]
        print(f"agentevol: {', '.join(unusable)} ignored: a SOCKS proxy needs socks5:// and `pip install 'httpx[socks]'`", file=sys.stderr)


def _is_unusable_proxy(url: str) -> bool:
    from importlib.util import find_spec

    scheme, separator, _ = url.lower().partition("://")
    if not separator or scheme in ("http", "https"):
        return False
    return scheme not in ("socks5", "socks5h") or find_spec("socksio") is None


def load_flow(name: str) -> Callable[..., Any]:
    from importlib import import_module

    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    return function


def _prepare(name: str) -> None:
    """Call `prepare` of the flow's module, if it has one: the set-up before the first step, while the API is still starting."""
    prepare = getattr(sys.modules[name.partition(":")[0]], "prepare", None)
    if prepare is not None:
        prepare()


@contextmanager
def expected_errors() -> Iterator[None]:
    """Errors that the user can fix are printed as one line; all others keep their traceback."""
    from agentevol.settings.load import SettingsError
    from flows.expected_errors import loaded_error_classes

    try:
        yield
    except SettingsError as error:
        exit_with_error(str(error))
    except KeyboardInterrupt:
        exit_with_error("stopped; run the same command again to continue from here", code=130)
    except Exception as error:
        if not isinstance(error, loaded_error_classes()):
            raise
        exit_with_error(str(error), code=1)


def exit_with_error(message: str, code: int = 2) -> None:
    print(f"agentevol: {message}", file=sys.stderr)
    raise typer.Exit(code)
