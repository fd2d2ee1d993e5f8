"""MLflow's pages, lean: one worker, no job runner, on this machine only."""

from __future__ import annotations

import os
import subprocess
import sys

from tasks import places

ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def serve(port: int) -> int:
    """Serve until Ctrl-C; prints the link to the chart view first. Returns the server's exit code."""
    found = links(f"http://127.0.0.1:{port}")
    if not found:
        print("no runs yet: `agentevol evolve` (or `make evolve`) makes the first", file=sys.stderr)
        return 1
    for title, link in found:
        print(f"{title}: {link}")
    print("(ready in about ten seconds; Ctrl-C ends it)", flush=True)
    try:
        return subprocess.call([sys.executable, *command(port)], env={**os.environ, **ENVIRONMENT})
    except KeyboardInterrupt:
        return 0


def command(port: int) -> list[str]:
    """The server's arguments, for this Python."""
    command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [*command, "--backend-store-uri", places.tracking_uri(), "--default-artifact-root", places.artifact_root()]


def links(url: str) -> list[tuple[str, str]]:
    """What there is to see, by title: charts and trajectories of the main experiment, then of each sweep."""
    from mlflow import MlflowClient

    from tasks.track import EXPERIMENT, be_quiet

    be_quiet()
    experiments = [one for one in MlflowClient(places.tracking_uri()).search_experiments() if one.name != "Default"]
    found = []
    for one in sorted(experiments, key=lambda one: one.name != EXPERIMENT):
        of = "" if one.name == EXPERIMENT else f" (sweep {one.name})"
        place = f"{url}/#/experiments/{one.experiment_id}"
        found += [(f"curves of all runs{of}", f"{place}/runs?compareRunsMode=CHART"), (f"sampled trajectories{of}", f"{place}/traces")]
    return found
