"""MLflow's pages, lean: one worker, no job runner, on this machine only."""

from __future__ import annotations

import os
import subprocess
import sys

from tasks import places


def serve(port: int) -> int:
    """Serve until Ctrl-C; prints the link to the chart view first. Returns the server's exit code."""
    from mlflow import MlflowClient

    from tasks.track import EXPERIMENT, be_quiet

    be_quiet()
    experiments = [one for one in MlflowClient(places.tracking_uri()).search_experiments() if one.name != "Default"]
    if not experiments:
        print("no runs yet: `agentevol evolve` (or `make evolve`) makes the first", file=sys.stderr)
        return 1
    for found in sorted(experiments, key=lambda one: one.name != EXPERIMENT):
        place = f"http://127.0.0.1:{port}/#/experiments/{found.experiment_id}"
        print(found.name if found.name == EXPERIMENT else f"sweep {found.name}")
        print(f"  the curves of all runs:  {place}/runs?compareRunsMode=CHART")
        print(f"  sampled trajectories:    {place}/traces")
    print("(ready in about ten seconds; Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", places.tracking_uri(), "--default-artifact-root", places.artifact_root()]
    try:
        return subprocess.call(command, env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    except KeyboardInterrupt:
        return 0
