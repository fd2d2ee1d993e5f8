"""What the server of `agentevol up` must know: the work pool with its limit, the automation for runs that died, the deployments.

Invariant: doing it again changes nothing that a user has changed in Prefect's pages (a limit, an automation, a schedule switched on).
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

from flows.up.services import POOL, UpFailed, inherited
from flows.up.state import Record

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.schemas.automations import AutomationCore

DEPLOYMENTS = Path("prefect.yaml")
ZOMBIES = "Runs that died are crashed"
SILENCE = timedelta(seconds=90)
"""Three heartbeats (PREFECT_FLOWS_HEARTBEAT_FREQUENCY in prefect.yaml); after that a run is taken for dead."""


def prepare(at_once: int | None) -> None:
    """The work pool and the automation, at the server of PREFECT_API_URL."""
    with _client() as client:
        _pool(client, at_once)
        _automation(client)


def deploy(record: Record) -> bool:
    """Deploy prefect.yaml where it, a flow (its parameters are part of its deployment) or the project's place has changed since."""
    root = Path.cwd()
    try:
        text = DEPLOYMENTS.read_bytes()
        wanted = {(one["name"], one["entrypoint"]) for one in yaml.safe_load(text)["deployments"]}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UpFailed(f"{DEPLOYMENTS}: cannot be used ({error}); run from the project's root") from None
    files = sorted({Path(str(entrypoint).partition(":")[0]) for _, entrypoint in wanted})
    parts = [str(root).encode(), text, *(path.read_bytes() for path in files if path.is_file())]
    print_of, note = hashlib.sha256(b"\0".join(parts)).hexdigest(), record.folder / "deployed"
    if note.is_file() and note.read_text() == print_of:
        with _client() as client:
            if wanted <= {(one.name, one.entrypoint) for one in client.read_deployments()}:
                return False
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        env={**inherited(), "PREFECT_API_URL": os.environ["PREFECT_API_URL"], "AGENTEVOL_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    log = record.folder / "deploy.log"
    log.write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        raise UpFailed(f"the deployments of {DEPLOYMENTS} could not be made; what Prefect said of it is in {log}")
    note.write_text(print_of)
    return True


def crash_the_dead(record: Record) -> list[str]:
    """Mark the runs that no process is left of as crashed, at once; returns their names. Only while no worker is at work."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, WorkPoolFilter, WorkPoolFilterName
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    alive = set(record.runs().values())
    unfinished = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    with _client() as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished))),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
        )
        dead = [run for run in runs if str(run.id) not in alive]
        for run in dead:
            client.set_flow_run_state(run.id, Crashed(message="Its process is gone; a retry goes on where it stopped."), force=True)
    return [run.name for run in dead]


@contextlib.contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


def _pool(client: SyncPrefectClient, at_once: int | None) -> None:
    """The work pool, whose limit is how many runs share the machine; an existing one keeps its limit unless one is asked for."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        limit = at_once or default_at_once()
        client.create_work_pool(
            WorkPoolCreate(
                name=POOL,
                type="process",
                description="Runs on this machine, made by `agentevol up`. Its concurrency limit is how many run at once; the others wait.",
                base_job_template=template,
                concurrency_limit=limit,
            )
        )
        return
    if at_once:
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=at_once))


def default_at_once() -> int:
    """A run plays with two processes (rollout.num_workers)."""
    return max(1, (os.cpu_count() or 2) // 2)


def _automation(client: SyncPrefectClient) -> None:
    if not client.read_automations_by_name(ZOMBIES):
        client.create_automation(zombies())


def zombies(silence: timedelta = SILENCE, runs: str = "*", name: str = ZOMBIES) -> AutomationCore:
    """Runs whose heartbeats stop without an end are marked as crashed: killed with their worker, or lost with the machine's power."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    beat, ends = "prefect.flow-run.heartbeat", ("Completed", "Failed", "Cancelled", "Crashed")
    return AutomationCore(
        name=name,
        description=f"No heartbeat for {silence.seconds} s and no end either: the process is gone, and a retry goes on.",
        trigger=EventTrigger(
            after={beat},
            expect={beat, *(f"prefect.flow-run.{end}" for end in ends)},
            match={"prefect.resource.id": f"prefect.flow-run.{runs}"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message=f"No sign of life for {silence.seconds} s; a retry goes on where it stopped."
            )
        ],
    )
