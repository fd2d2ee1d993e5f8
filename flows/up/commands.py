"""`agentevol up`, `down` and `status`.

Invariant: `up` keeps what is running, starts what is missing, and stops what it started if something fails. After `down` none of our
processes is left, whatever state the services were in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.up import mlflow_ui, services, setup
from flows.up.services import StartingService
from flows.up.state import MLFLOW_PORT, PREFECT_PORT, Record, Service, StartupError, api_url, process_tree, terminate
from tasks import paths

HEALTH_TIMEOUT = 30.0  # seconds; an existing process that answers later is restarted
TITLES = {"server": "Prefect", "worker": "worker", "mlflow": "MLflow"}


def up(home: Path, port: int | None, ui_port: int | None, concurrency: int | None) -> None:
    """Start what is not running, and print the addresses. Raises StartupError."""
    given = os.environ.get("PREFECT_API_URL")
    with _exclusive_record(home) as record:
        recorded = record.services()
        own_server = recorded.get("server")
        if given and not (own_server and given == f"{own_server.url}/api"):
            raise StartupError(f"PREFECT_API_URL is set ({given}): another server is in use; `unset PREFECT_API_URL` first")
        _check_same_port(recorded, "server", port)
        _check_same_port(recorded, "mlflow", ui_port)
        started: list[StartingService] = []
        try:
            running = {name: service for name, service in recorded.items() if service.is_healthy(timeout=HEALTH_TIMEOUT)}
            if "server" not in running:
                running.pop("worker", None)  # it would keep polling the server that is gone
            for name in set(recorded) - set(running):
                services.stop(recorded[name])  # in case its process exists but does not answer
            if "server" not in running:
                started.append(services.start_server(record, port or PREFECT_PORT))
            if "mlflow" not in running and not _external_mlflow():
                _write(record, running, started)
                mlflow_ui.create_database()  # completely or not at all, which MLflow's server does not do
                started.append(services.start_mlflow(record, ui_port or MLFLOW_PORT))
            _write(record, running, started)
            titles = [TITLES[starting.service.name] for starting in started] + ([TITLES["worker"]] if "worker" not in running else [])
            _print(f"starting {', '.join(titles)}" if titles else "everything is running")
            for starting in started:
                starting.wait()
            new_server = next((starting.service for starting in started if starting.service.name == "server"), None)
            server = new_server or running["server"]
            os.environ["PREFECT_API_URL"] = api = f"{server.url}/api"
            _write_profile(record, api)
            _configure_server(record, concurrency, api, running, started)
        except BaseException:
            for starting in reversed(started):
                services.stop(starting.service)
            raise
        _print_links(record.services())


def down(home: Path) -> int:
    """Stop everything; returns how many processes were running."""
    with _exclusive_record(home) as record:
        recorded = record.services()
        count = len(record.processes())
        processes = {name: process for name, service in recorded.items() if (process := service.process())}
        worker = processes.pop("worker", None)
        kept = {process.pid for root in processes.values() for process in process_tree(root)}
        runs = record.flow_runs()
        # The worker takes no new runs and waits for the current ones. These are terminated, and can still report to the server.
        terminate([*([worker] if worker else []), *runs])
        terminate([process for process in record.processes() if process.pid not in kept])
        if runs and (api := api_url(home)):
            _report_dead_runs(record, api)
        terminate([process for root in processes.values() for process in process_tree(root)])
        terminate(record.processes())
        (record.folder / "profiles.toml").unlink(missing_ok=True)
        record.file.unlink(missing_ok=True)
        return count


def status(home: Path) -> bool:
    """Print the state of the services; returns whether all of them are running."""
    record = Record(home)
    recorded = record.services()
    if not recorded:
        print("nothing is running; `agentevol up` starts it")
        return False
    all_up = True
    for name, title in TITLES.items():
        service = recorded.get(name)
        if name == "mlflow" and (external := _external_mlflow()):
            print(f"{title:8} {'external':14} {external}")
            continue
        state = "down" if service is None or service.process() is None else "up" if service.is_healthy(timeout=5) else "not answering"
        all_up &= state == "up"
        details = f"{service.url}  (pid {service.pid}, log {_relative(service.log)})" if service and state != "down" else ""
        if service and state == "down":
            details = f"its log: {_relative(service.log)}"
        print(f"{title:8} {state:14} {details}".rstrip())
    if not all_up:
        print("`agentevol up` starts what is missing")
    return all_up


def _configure_server(
    record: Record, concurrency: int | None, api: str, running: dict[str, Service], started: list[StartingService]
) -> None:
    """Create the pool and the automation, start the worker, deploy the flows."""
    setup.prepare(concurrency)
    if "worker" not in running:
        dead = setup.mark_dead_runs_crashed(record)
        if dead:
            _print(
                f"marked as crashed, because their process no longer exists: {', '.join(dead)} (`prefect flow-run retry NAME` continues)"
            )
        started.append(services.start_worker(record, api))
        _write(record, running, started)
    if setup.deploy(record):  # while the worker is starting
        _print(f"deployed {setup.DEPLOYMENTS}")
    if "worker" not in running:
        started[-1].wait()


def _report_dead_runs(record: Record, api: str) -> None:
    """Mark the terminated runs that could not report it themselves; otherwise the server would show them as running for ever."""
    os.environ["PREFECT_API_URL"] = api
    try:
        setup.mark_dead_runs_crashed(record)
    except Exception as error:
        _print(f"the current runs could not be marked as crashed ({error}); the next `agentevol up` does it")


def _external_mlflow() -> str:
    """The server that MLFLOW_TRACKING_URI names, or an empty string; with such a server, no pages are started here."""
    uri = paths.tracking_uri()
    if not uri.startswith(("http://", "https://")):
        return ""
    return paths.without_password(uri.rstrip("/"))


def _check_same_port(recorded: dict[str, Service], name: str, port: int | None) -> None:
    service = recorded.get(name)
    if port and service and service.process() is not None and not service.url.endswith(f":{port}"):
        raise StartupError(f"{TITLES[name]} is running at {service.url}; to move it to port {port} use `agentevol down` first")


def _write(record: Record, running: dict[str, Service], started: list[StartingService]) -> None:
    record.write([*running.values(), *(starting.service for starting in started)])


def _write_profile(record: Record, api: str) -> None:
    """The profile that prefect.toml refers to: Prefect's commands in this folder then find the server."""
    (record.folder / "profiles.toml").write_text(f'active = "up"\n\n[profiles.up]\nPREFECT_API_URL = "{api}"\n', encoding="utf-8")


@contextmanager
def _exclusive_record(home: Path) -> Iterator[Record]:
    record = Record(home)
    record.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(record.folder / "lock", timeout=0):
            yield record
    except Timeout:
        raise StartupError("another `agentevol up` or `down` is in progress in this folder; wait for it") from None


def _print_links(recorded: dict[str, Service]) -> None:
    print(f"Prefect   {recorded['server'].url}/deployments")
    mlflow_url = recorded["mlflow"].url if "mlflow" in recorded else _external_mlflow()
    print(f"MLflow    {mlflow_url}")
    for title, link in mlflow_ui.links(mlflow_url):
        print(f"          {title}: {link}")
    print(f"logs      {_relative(str(Path(recorded['server'].log).parent))}/")
    print("run       prefect deployment run evolve/small --watch      (from this folder; `agentevol down` stops everything)")


def _relative(path: str) -> str:
    absolute = Path(path)
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else path


def _print(line: str) -> None:
    print(line, flush=True)
