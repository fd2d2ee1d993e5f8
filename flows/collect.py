"""The data: AgentTraj, AgentTraj-L, AgentEval and the instructions to explore, verified or rebuilt byte for byte.

Invariant: the content of `runs/data.json` depends on the data alone; `dvc repro` compares that file.
"""

from __future__ import annotations

import json
from pathlib import Path

from prefect import flow

from flows.expected_errors import fail_in_one_line
from flows.parameters import load_parameters
from flows.run_name import flow_run_name
from tasks import paths
from tasks.collect import collect as collect_data
from tasks.collect import data_lock
from tasks.dvc_record import folder_md5, recorded_md5
from tasks.progress import say

RECORD = Path("runs") / "data.json"


@flow(name="collect", description="Verify data/, and rebuild what is missing.", flow_run_name=flow_run_name)
@fail_in_one_line
def collect(params_file: str = "params.yaml", overrides: list[str] = []) -> None:  # noqa: B006  (Prefect shows the default in its form)
    """Collect the data, and print what there is.

    Args:
        params_file: The parameter file, relative to the project.
        overrides: Further parameters as key=value.
    """
    params = load_parameters(params_file, overrides=overrides)
    with data_lock():
        datasets = collect_data(params.data.folder, params.environments)
        for artifact in datasets.values():
            counts = ", ".join(f"{env} {rows}" for env, rows in artifact.counts.items())
            say(f"{artifact.path}: {artifact.rows} {artifact.kind} ({counts}), sha256 {artifact.digest[:12]}")
        folder = paths.resolve(params.data.folder)
        recorded = recorded_md5(folder.with_name(f"{folder.name}.dvc"))
        if recorded and recorded != folder_md5(folder):
            say(
                f"{params.data.folder}/ differs from the record in {folder.name}.dvc;"
                f" `dvc add {params.data.folder}` (or `make data`) updates the record"
            )
    record = {name: {"digest": artifact.digest, "counts": artifact.counts} for name, artifact in datasets.items()}
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
