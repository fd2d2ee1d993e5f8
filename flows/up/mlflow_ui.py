"""MLflow's pages with one worker, without a job runner, on this machine only. If the user has a tracking server, only its links.

Invariant: a database's address, which may contain a password, is passed in the environment and never on a command line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil

from flows.up.state import StartupError, process_tree, terminate
from tasks import paths

READY = "(ready in about ten seconds; Ctrl-C stops it)"


def serve(port: int) -> int:
    """Print the links, then serve until Ctrl-C; if MLFLOW_TRACKING_URI is a server, only print. Returns an exit code."""
    from tasks.mlflow_store import TrackingUnavailable, is_server

    uri = paths.tracking_uri()
    if (file := paths.sqlite_file(uri)) and not file.exists():
        return _no_runs_yet()
    try:
        found = links(paths.without_password(uri.rstrip("/")) if is_server(uri) else f"http://127.0.0.1:{port}")
    except TrackingUnavailable as error:
        print(f"agentevol: {error}", file=sys.stderr)
        return 1
    if not found:
        return _no_runs_yet()
    for title, link in found:
        print(f"{title}: {link}")
    if is_server(uri):
        return 0
    print(READY, flush=True)
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    server = subprocess.Popen([sys.executable, *command(port)], env={**inherited, **environment()})
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        terminate(process_tree(psutil.Process(server.pid)) if server.poll() is None else [])


def create_database() -> None:
    """MLflow's database, if there is none. Raises StartupError if it cannot be used."""
    from tasks.mlflow_store import TrackingUnavailable, connect

    try:
        connect()
    except TrackingUnavailable as error:
        raise StartupError(str(error)) from None


def command(port: int) -> list[str]:
    """The server's arguments for this Python interpreter; `environment` has the rest."""
    return ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def environment() -> dict[str, str]:
    stores = {"MLFLOW_BACKEND_STORE_URI": paths.tracking_uri(), "MLFLOW_DEFAULT_ARTIFACT_ROOT": paths.artifact_root()}
    return {**stores, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def links(url: str) -> list[tuple[str, str]]:
    """The pages worth opening as (title, link): views, policies and trajectories of the main experiment, then of each sweep; champions.

    Raises TrackingUnavailable.
    """
    from tasks.mlflow_champion import ALIAS
    from tasks.mlflow_run import EXPERIMENT
    from tasks.mlflow_store import connect
    from tasks.mlflow_views import experiment_links, install_missing_views

    client = connect()
    experiments = [experiment for experiment in client.search_experiments() if experiment.name != "Default"]
    found = []
    for experiment in sorted(experiments, key=lambda experiment: experiment.name != EXPERIMENT):
        install_missing_views(client, experiment)
        suffix = "" if experiment.name == EXPERIMENT else f" (sweep {experiment.name})"
        page = f"{url}/#/experiments/{experiment.experiment_id}"
        found += [(f"{title}{suffix}", link) for title, link in experiment_links(page)]
    champions = [model.name for model in client.search_registered_models() if ALIAS in model.aliases]
    return found + [(f"Champion of {name}", f"{url}/#/models/{name}") for name in champions]


def _no_runs_yet() -> int:
    print("no runs yet: `agentevol evolve` (or `make evolve`) makes the first", file=sys.stderr)
    return 1
