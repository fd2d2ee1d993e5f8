"""`agentevol up`, `down` and `status`.

Invariant: what is up already stays as it is, what is missing is started, and where something fails, what this call started is ended again.
After `down` no process of ours is left, however the services went.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.up import services
from flows.up.services import Starting, UpFailed
from flows.up.state import Record, Service, api_url, end, family

PORT, UI_PORT = 4200, 5000
PATIENCE = 30.0  # seconds for an answer, before a process that is there is taken for broken
NAMES = {"server": "Prefect", "worker": "worker", "mlflow": "MLflow"}


def up(home: Path, port: int | None, ui_port: int | None, at_once: int | None) -> None:
    """Bring up what is not up, and print where it is. Raises UpFailed."""
    given = os.environ.get("PREFECT_API_URL")
    with _alone(home) as record:
        known = record.services()
        here = known.get("server")
        if given and not (here and given == f"{here.url}/api"):
            raise UpFailed(f"PREFECT_API_URL is set ({given}): another server is in use; `unset PREFECT_API_URL` first")
        _same_port(known, "server", port)
        _same_port(known, "mlflow", ui_port)
        fresh: list[Starting] = []
        try:
            alive = {name: one for name, one in known.items() if one.answers(timeout=PATIENCE)}
            if "server" not in alive:
                alive.pop("worker", None)  # it would go on asking the one that is gone
            for name in set(known) - set(alive):
                services.stop(known[name])  # there, but it does not answer
            if "server" not in alive:
                fresh.append(services.start_server(record, port or PORT))
            if "mlflow" not in alive and not _other_mlflow():
                fresh.append(services.start_mlflow(record, ui_port or UI_PORT))
            _write(record, alive, fresh)
            starting = [NAMES[one.service.name] for one in fresh] + ([NAMES["worker"]] if "worker" not in alive else [])
            _say(f"starting {', '.join(starting)}" if starting else "everything is up")
            for one in fresh:
                one.wait()
            server = next((one.service for one in fresh if one.service.name == "server"), None) or alive["server"]
            os.environ["PREFECT_API_URL"] = api = f"{server.url}/api"
            _profile(record, api)
            _introduce(record, at_once, api, alive, fresh)
        except BaseException:
            for one in reversed(fresh):
                services.stop(one.service)
            raise
        _print_links(record.services())


def down(home: Path) -> int:
    """End everything; returns how many processes that were."""
    with _alone(home) as record:
        known = record.services()
        before = len(record.marked())
        processes = {name: process for name, one in known.items() if (process := one.process())}
        worker = processes.pop("worker", None)
        lasting = {one.pid for process in processes.values() for one in family(process)}
        runs = record.runs()
        # The worker takes no new run and waits for those that are going; they are told to end, and still tell the server.
        end([*([worker] if worker else []), *runs])
        end([process for process in record.marked() if process.pid not in lasting])
        if runs and (api := api_url(home)):
            _tell_of_the_dead(record, api)
        end([one for process in processes.values() for one in family(process)])
        end(record.marked())
        (record.folder / "profiles.toml").unlink(missing_ok=True)
        record.file.unlink(missing_ok=True)
        return before


def status(home: Path) -> bool:
    """Print what is up; returns whether all of it is."""
    record = Record(home)
    known = record.services()
    if not known:
        print("nothing is up; `agentevol up` starts it")
        return False
    fine = True
    for name, title in NAMES.items():
        service = known.get(name)
        if name == "mlflow" and (elsewhere := _other_mlflow()):
            print(f"{title:8} {'elsewhere':14} {elsewhere}")
            continue
        state = "down" if service is None or service.process() is None else "up" if service.answers(timeout=5) else "not answering"
        fine &= state == "up"
        where = f"{service.url}  (pid {service.pid}, log {_short(service.log)})" if service and state != "down" else ""
        if service and state == "down":
            where = f"its log: {_short(service.log)}"
        print(f"{title:8} {state:14} {where}".rstrip())
    if not fine:
        print("`agentevol up` starts what is missing")
    return fine


def _introduce(record: Record, at_once: int | None, api: str, alive: dict[str, Service], fresh: list[Starting]) -> None:
    """The pool, the automation, the worker and the deployments."""
    from flows.up import setup

    setup.prepare(at_once)
    if "worker" not in alive:
        dead = setup.crash_the_dead(record)
        if dead:
            _say(f"marked as crashed, since their process is gone: {', '.join(dead)} (`prefect flow-run retry NAME` goes on)")
        fresh.append(services.start_worker(record, api))
        _write(record, alive, fresh)
    if setup.deploy(record):  # while the worker is starting
        _say(f"deployed {setup.DEPLOYMENTS}")
    if "worker" not in alive:
        fresh[-1].wait()


def _tell_of_the_dead(record: Record, api: str) -> None:
    """What a run that was ended has not managed to say itself: without it the run would stand there as running for ever."""
    from flows.up import setup

    os.environ["PREFECT_API_URL"] = api
    try:
        setup.crash_the_dead(record)
    except Exception as error:
        _say(f"the runs that were going could not be marked as crashed ({error}); the next `agentevol up` does it")


def _other_mlflow() -> str:
    """The server that MLFLOW_TRACKING_URI names, if it names one; then no pages are started here."""
    from tasks import paths

    uri = paths.tracking_uri()
    if not uri.startswith(("http://", "https://")):
        return ""
    from tasks.mlflow_store import shown  # imports MLflow, for which `status` should not wait

    return shown(uri.rstrip("/"))


def _same_port(known: dict[str, Service], name: str, port: int | None) -> None:
    service = known.get(name)
    if port and service and service.process() is not None and not service.url.endswith(f":{port}"):
        raise UpFailed(f"{NAMES[name]} is up at {service.url}; to move it to port {port} use `agentevol down` first")


def _write(record: Record, alive: dict[str, Service], fresh: list[Starting]) -> None:
    record.write([*alive.values(), *(one.service for one in fresh)])


def _profile(record: Record, api: str) -> None:
    """Where prefect.toml has Prefect look: its commands in this folder then find the server."""
    (record.folder / "profiles.toml").write_text(f'active = "up"\n\n[profiles.up]\nPREFECT_API_URL = "{api}"\n', encoding="utf-8")


@contextmanager
def _alone(home: Path) -> Iterator[Record]:
    record = Record(home)
    record.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(record.folder / "lock", timeout=0):
            yield record
    except Timeout:
        raise UpFailed("another `agentevol up` or `down` is at work in this folder; wait for it") from None


def _print_links(known: dict[str, Service]) -> None:
    from flows.up import mlflow_ui

    print(f"Prefect   {known['server'].url}/deployments")
    pages = known["mlflow"].url if "mlflow" in known else _other_mlflow()
    print(f"MLflow    {pages}")
    for title, link in mlflow_ui.links(pages):
        print(f"          {title}: {link}")
    print(f"logs      {_short(str(Path(known['server'].log).parent))}/")
    print("run       prefect deployment run evolve/small --watch      (from this folder; `agentevol down` ends all)")


def _short(path: str) -> str:
    place = Path(path)
    return str(place.relative_to(Path.cwd())) if place.is_relative_to(Path.cwd()) else path


def _say(line: str) -> None:
    print(line, flush=True)
