"""The set-up of the server of `agentevol up`: the work pool with its limit, the automation for runs that died, the deployments.

Invariant: repeating it changes nothing that a user has changed in Prefect's pages (a limit, an automation, an activated schedule).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from flows.up.form import show_values
from flows.up.services import POOL, inherited
from flows.up.state import Record, StartupError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore

DEPLOYMENTS = Path("prefect.yaml")
FORMER_DEPLOYMENTS = ("evolve/default", "clone/default", "collect/default", "pretrain/default")
"""Names of a previous version: removed from a server that has them, unless the user has given them a schedule."""
CRASH_AUTOMATION = "Mark flow runs without heartbeats as crashed"
HEARTBEAT_TIMEOUT = timedelta(seconds=90)
"""Three heartbeats (PREFECT_FLOWS_HEARTBEAT_FREQUENCY in prefect.yaml); after that a run is considered dead."""


def prepare(concurrency: int | None) -> None:
    """Create the work pool and the automation on the server of PREFECT_API_URL."""
    with _client() as client:
        _create_pool(client, concurrency)
        _create_automation(client)


def deploy(record: Record) -> bool:
    """Deploy prefect.yaml if it, a flow (its parameters are part of its deployment) or the project's path has changed since."""
    root = Path.cwd()
    try:
        text = DEPLOYMENTS.read_bytes()
        wanted = {(deployment["name"], deployment["entrypoint"]) for deployment in yaml.safe_load(text)["deployments"]}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise StartupError(f"{DEPLOYMENTS}: cannot be used ({error}); run from the project's root") from None
    files = sorted({Path(str(entrypoint).partition(":")[0]) for _, entrypoint in wanted})
    parts = [str(root).encode(), text, *(path.read_bytes() for path in files if path.is_file())]
    fingerprint, fingerprint_file = hashlib.sha256(b"\0".join(parts)).hexdigest(), record.folder / "deployed"
    if fingerprint_file.is_file() and fingerprint_file.read_text() == fingerprint:
        with _client() as client:
            deployed = client.read_deployments()
            if wanted <= {(deployment.name, deployment.entrypoint) for deployment in deployed}:
                show_values(client, deployed)
                return False
    process = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        env={**inherited(), "PREFECT_API_URL": os.environ["PREFECT_API_URL"], "AGENTEVOL_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    log = record.folder / "deploy.log"
    log.write_text(process.stdout + process.stderr, encoding="utf-8")
    if process.returncode:
        raise StartupError(f"`prefect deploy` failed for {DEPLOYMENTS}; its output is in {log}")
    with _client() as client:
        _remove_former_deployments(client)
        show_values(client, client.read_deployments())
    fingerprint_file.write_text(fingerprint)
    return True


def _remove_former_deployments(client: SyncPrefectClient) -> None:
    from prefect.exceptions import ObjectNotFound

    for name in FORMER_DEPLOYMENTS:
        with contextlib.suppress(ObjectNotFound):
            deployment = client.read_deployment_by_name(name)
            if not deployment.schedules:
                client.delete_deployment(deployment.id)


def mark_dead_runs_crashed(record: Record) -> list[str]:
    """Mark the unfinished runs without a process as crashed; returns their names. Call it only while no worker is running."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, WorkPoolFilter, WorkPoolFilterName
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    alive = set(record.flow_runs().values())
    unfinished = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    with _client() as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished))),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
        )
        dead = [run for run in runs if str(run.id) not in alive]
        for run in dead:
            client.set_flow_run_state(
                run.id, Crashed(message="Its process no longer exists; a retry continues where it stopped."), force=True
            )
    return [run.name for run in dead]


def default_concurrency() -> int:
    """One run per two cores: a run uses two rollout processes (rollout.num_workers)."""
    return max(1, (os.cpu_count() or 2) // 2)


def crash_automation(silence: timedelta = HEARTBEAT_TIMEOUT, run: str = "*", name: str = CRASH_AUTOMATION) -> AutomationCore:
    """Mark runs as crashed whose heartbeats stop before they end: killed together with their worker, or by a power failure."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    heartbeat, final_states = "prefect.flow-run.heartbeat", ("Completed", "Failed", "Cancelled", "Crashed")
    message = f"No heartbeat for {silence.seconds} s; a retry continues where it stopped."
    return AutomationCore(
        name=name,
        description=f"No heartbeat for {silence.seconds} s and no final state: the process no longer exists. A retry continues the run.",
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in final_states)},
            match={"prefect.resource.id": f"prefect.flow-run.{run}"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)],
    )


@contextlib.contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


def _create_pool(client: SyncPrefectClient, concurrency: int | None) -> None:
    """The work pool. Its limit is the number of parallel runs; an existing pool keeps its limit unless a new one is given."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(
                name=POOL,
                type="process",
                description="Runs on this machine, created by `agentevol up`. Its concurrency limit is the number of parallel runs.",
                base_job_template=ProcessWorker.get_default_base_job_template(),
                concurrency_limit=concurrency or default_concurrency(),
            )
        )
        return
    if concurrency:
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=concurrency))


def _create_automation(client: SyncPrefectClient) -> None:
    if not client.read_automations_by_name(CRASH_AUTOMATION):
        client.create_automation(crash_automation())
