"""Where MLflow keeps its records, and whether it can be used: the project's own database, a user's PostgreSQL, or a server.

Invariant: what cannot be used is found out before anything is computed, in one line that says what to do; a database of another version
of MLflow is never changed.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tasks import paths
from tasks.progress import say

HEALTH_SECONDS = 10.0


class TrackingUnusable(RuntimeError):
    """MLflow's database or server cannot be used as it is; the message says why and what to do."""


def connect() -> MlflowClient:
    """A client of the place that MLFLOW_TRACKING_URI names, else of `mlflow.db`. Raises TrackingUnusable."""
    be_quiet()
    uri = paths.tracking_uri()
    if is_server(uri):
        _ask(uri)
    else:
        with _alone():
            if _examine(uri):
                MlflowClient(uri).search_experiments(max_results=1)  # makes the schema, which two at once cannot
    if mlflow.get_tracking_uri() != uri:
        mlflow.set_tracking_uri(uri)
        mlflow.tracing.reset()  # its exporter would go on writing into the database of before
    return MlflowClient(uri)


def experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment, made where it is missing. Without a server the files of its runs lie in the project's mlruns/."""
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    location = None if is_server(paths.tracking_uri()) else f"{paths.artifact_root()}/{name}"
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:  # another run of the same sweep was quicker
        made = client.get_experiment_by_name(name)
        if made is None:
            raise
        return str(made.experiment_id)


def is_server(uri: str) -> bool:
    """Whether it is a server's address and not a database's."""
    return uri.startswith(("http://", "https://"))


def shown(uri: str) -> str:
    """The address without its password."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", uri)


def be_quiet() -> None:
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)


def _ask(uri: str) -> None:
    """Before MLflow does, which tries a server that is not there again for minutes."""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=HEALTH_SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403, 404):  # it is there; what MLflow asks with its own credentials decides
            raise TrackingUnusable(f"MLflow's server {shown(uri)} (MLFLOW_TRACKING_URI) answers {error.code}: see its log") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TrackingUnusable(
            f"MLflow's server {shown(uri)} (MLFLOW_TRACKING_URI) does not answer: {reason}."
            " Start it, or unset the variable to use mlflow.db"
        ) from None


def _examine(uri: str) -> bool:
    """Whether the database is empty yet. Raises TrackingUnusable where it is of another version, or not to be had."""
    file = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    if file and not file.exists():
        say("making MLflow's database, the first time only (some ten seconds)")
    try:
        if file:
            with sqlite3.connect(file, timeout=30) as database:
                database.execute("PRAGMA journal_mode=WAL")  # its writers do not wait for its readers
        found = _revision(uri)
    except Exception as error:  # of sqlite3, SQLAlchemy or the database's driver, which have no class in common
        raise TrackingUnusable(_why_not(uri, error)) from None
    known = _known_revisions()
    if found is None or found == known[0]:
        return found is None
    version = mlflow.__version__
    if found in known:
        raise TrackingUnusable(
            f"MLflow's database {shown(uri)} was made by an older MLflow than {version} (its schema is {found}, not {known[0]})."
            f" Back it up, then: mlflow db upgrade '{shown(uri)}'"
        )
    raise TrackingUnusable(
        f"MLflow's database {shown(uri)} was made by a newer MLflow than {version} (its schema {found} is not known here). Install that"
        " version, or keep this run's records elsewhere: MLFLOW_TRACKING_URI=sqlite:///other.db"
    )


def _alone() -> FileLock:
    """One process at a time: experiments of DVC's queue start together, on a new clone too."""
    return paths.lock("mlflow")


def _revision(uri: str) -> str | None:
    """The version of the database's schema; None of an empty one."""
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection:
        found: str | None = MigrationContext.configure(connection).get_current_revision()
        return found


def _known_revisions() -> list[str]:
    """Those of this MLflow, the newest first."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return [script.revision for script in scripts.walk_revisions()]


def _why_not(uri: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        remedy = f"its driver {error.name} is not installed: pip install 'agentevol[postgres]' brings pg8000, for postgresql:// addresses"
    else:
        cause = str(error).strip().splitlines()
        remedy = (cause[0] if cause else type(error).__name__) + ". Check MLFLOW_TRACKING_URI, or unset it to use mlflow.db"
        if uri.startswith("sqlite:"):
            remedy = (cause[0] if cause else type(error).__name__) + ". Move the file away, and the next run makes a new one"
    return f"MLflow's database {shown(uri)} cannot be used: {remedy}"
