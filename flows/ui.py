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
    found = MlflowClient(places.tracking_uri()).get_experiment_by_name(EXPERIMENT)
    if found is None:
        print("no runs yet: `agentevol evolve` (or `make evolve`) makes the first", file=sys.stderr)
        return 1
    print(f"the curves of all runs:  http://127.0.0.1:{port}/#/experiments/{found.experiment_id}/runs?compareRunsMode=CHART")
    print(f"sampled trajectories:    http://127.0.0.1:{port}/#/experiments/{found.experiment_id}/traces")
    print("(ready in about ten seconds; Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", places.tracking_uri(), "--default-artifact-root", places.artifact_root()]
    try:
        return subprocess.call(command, env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    except KeyboardInterrupt:
        return 0
