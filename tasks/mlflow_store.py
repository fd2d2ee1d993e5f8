"""MLflow's storage, checked before use: the project's own database, a PostgreSQL database, or a tracking server.

Invariant: unusable storage is detected before anything is computed, in one line that says what to do. A database of another MLflow version
is never changed. Runs that a previous version of the product recorded are never changed or continued.
"""

from __future__ import annotations

import http.client
import logging
import re
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage
from mlflow.exceptions import MlflowException

from tasks import mlflow_database, paths
from tasks.paths import without_password
from tasks.progress import say

HEALTH_TIMEOUT = 10.0
TRACKING_SCHEMA = "3"
"""The scheme of the names of metrics, parameters and tags; raised when names change."""
SCHEMA_TAG = "agentevol.tracking_schema"
"""On every run, and on every experiment that this version has checked for runs with former names."""
_REVISION = re.compile(r"""^(?P<older>down_)?revision(?:: [^=]+)? = ["'](?P<revision>\w+)["']""", re.MULTILINE)
"""In a migration of MLflow: its own schema version, or the one before it."""
_KEY_TAGS = ("run_key", "agentevol.run_key")
"""On every run: the first one of schema 1, which had no schema tag, the second one since schema 2."""


class TrackingUnavailable(RuntimeError):
    """MLflow's database or server cannot be used; the message says why and what to do."""


def connect() -> MlflowClient:
    """A client for MLFLOW_TRACKING_URI, or for `mlflow.db` if that is not set. Raises TrackingUnavailable."""
    silence_logs()
    uri = paths.tracking_uri()
    if is_server(uri):
        _check_server(uri)
    else:
        with _database_lock():
            _prepare_database(uri)
    if mlflow.get_tracking_uri() != uri:
        mlflow.set_tracking_uri(uri)
        mlflow.tracing.reset()  # type: ignore[no-untyped-call]  # its exporter would keep writing to the previous database
    return MlflowClient(uri)


def get_or_create_experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment. Without a server, its runs store their files in the project's mlruns/.

    If it holds runs that a previous version recorded under other names, say so, once per experiment. Raises TrackingUnavailable if it was
    deleted.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = None if is_server(paths.tracking_uri()) else f"{paths.artifact_root()}/{name}"
        try:
            return str(client.create_experiment(name, artifact_location=location, tags={SCHEMA_TAG: TRACKING_SCHEMA}))
        except MlflowException:  # another run of the same sweep created it in the meantime
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingUnavailable(
            f"MLflow's experiment {name} was deleted. Restore it with"
            f" `MLFLOW_TRACKING_URI='{without_password(paths.tracking_uri())}' mlflow experiments restore -x {experiment.experiment_id}`,"
            " or remove it for good with `mlflow gc`"
        )
    _report_former_runs(client, experiment)
    return str(experiment.experiment_id)


def is_server(uri: str) -> bool:
    """Whether the address is a server's, not a database's."""
    return uri.startswith(("http://", "https://"))


def silence_logs() -> None:
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)


def _report_former_runs(client: MlflowClient, experiment: Experiment) -> None:
    if experiment.tags.get(SCHEMA_TAG) == TRACKING_SCHEMA:
        return
    runs = [
        run
        for key_tag in _KEY_TAGS
        for run in client.search_runs([experiment.experiment_id], f"tags.`{key_tag}` LIKE '%'", max_results=1000)
    ]
    if former := [run for run in runs if run.data.tags.get(SCHEMA_TAG) != TRACKING_SCHEMA]:
        count = f"{len(former)} run{'s' if len(former) > 1 else ''}"
        say(
            f"MLflow's experiment {experiment.name} holds {count} of a previous version: they stay readable,"
            " but use the former names of metrics and tags, and are not continued; new runs are recorded separately"
        )
    client.set_experiment_tag(experiment.experiment_id, SCHEMA_TAG, TRACKING_SCHEMA)


def _check_server(uri: str) -> None:
    """Raises TrackingUnavailable at once; MLflow itself would retry for minutes."""
    address = re.sub("://[^/]*@", "://", uri.rstrip("/"))  # urllib takes a user and password for a part of the host's name
    try:
        urllib.request.urlopen(f"{address}/health", timeout=HEALTH_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403, 404):  # the server is there; MLflow's own requests, with credentials, will tell
            raise TrackingUnavailable(
                f"MLflow's server {without_password(uri)} (MLFLOW_TRACKING_URI) answers {error.code}: see its log"
            ) from None
    except http.client.InvalidURL:  # its message has a part of the address, which may be of a password
        raise TrackingUnavailable(
            f"MLflow's server {without_password(uri)} (MLFLOW_TRACKING_URI): not a valid address. Check its port, and write special"
            " characters of a password in the form %2F (a slash)"
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        is_other_protocol = isinstance(error, http.client.HTTPException) and not isinstance(error, OSError)
        reason = f"it does not speak HTTP ({type(error).__name__})" if is_other_protocol else getattr(error, "reason", error)
        raise TrackingUnavailable(
            f"MLflow's server {without_password(uri)} (MLFLOW_TRACKING_URI) does not answer: {reason}."
            " Start it, or unset the variable to use mlflow.db"
        ) from None


def _prepare_database(uri: str) -> None:
    """Create the database if there is none. Raises TrackingUnavailable if it has another schema version, or cannot be used."""
    file = paths.sqlite_file(uri)
    newest, known = _known_revisions()
    try:
        if file and file.exists() and _schema_revision(uri) in known - {newest}:
            mlflow_database.set_unfinished_aside(file, is_finished=lambda: _schema_revision(uri) == newest)
        if file and not file.exists():
            mlflow_database.create(file)
        if file:
            with sqlite3.connect(file, timeout=30) as database:
                database.execute("PRAGMA journal_mode=WAL")  # writers do not wait for readers
        revision = _schema_revision(uri)
        if revision is None:
            MlflowClient(uri).search_experiments(max_results=1)  # creates the tables, which two processes cannot do at once
    except Exception as error:  # of sqlite3, SQLAlchemy, MLflow or the database's driver, which share no base class
        raise TrackingUnavailable(_unavailable_message(uri, error)) from None
    if revision is None or revision == newest:
        return
    version, address = mlflow.__version__, without_password(uri)
    if revision in known:
        raise TrackingUnavailable(
            f"MLflow's database {address} was made by an older MLflow than {version} (its schema is {revision}, not {newest})."
            f" Back it up, then: mlflow db upgrade '{address}'"
        )
    raise TrackingUnavailable(
        f"MLflow's database {address} was made by a newer MLflow than {version} (its schema {revision} is not known here). Install that"
        " version, or use another database for this run: MLFLOW_TRACKING_URI=sqlite:///other.db"
    )


def _database_lock() -> FileLock:
    """One process at a time: experiments of DVC's queue start together, even in a new clone."""
    return paths.lock("mlflow")


def _schema_revision(uri: str) -> str | None:
    """The version of the database's schema; None for an empty database."""
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection:
        revision: str | None = MigrationContext.configure(connection).get_current_revision()
        return revision


def _known_revisions() -> tuple[str, frozenset[str]]:
    """(the newest one, all) of the schema versions that this MLflow knows.

    They are read from the texts of its migrations. Alembic would import all of these, which takes longer than everything else here.
    """
    texts = [file.read_text(encoding="utf-8") for file in _migrations().glob("*.py")]
    found = [(match["older"], match["revision"]) for text in texts for match in _REVISION.finditer(text)]
    revisions = frozenset(revision for older, revision in found if not older)
    newest = revisions - {revision for older, revision in found if older}
    if len(newest) != 1:
        raise RuntimeError(f"MLflow {mlflow.__version__} has {len(newest)} newest schema versions in {_migrations()}, not one")
    return next(iter(newest)), revisions


def _migrations() -> Path:
    return Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"


def _unavailable_message(uri: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        remedy = f"its driver {error.name} is not installed: pip install 'agentevol[postgres]' installs pg8000, for postgresql:// addresses"
    else:
        lines = str(error).strip().splitlines()
        remedy = (lines[0] if lines else type(error).__name__) + ". Check MLFLOW_TRACKING_URI, or unset it to use mlflow.db"
        if uri.startswith("sqlite:"):
            remedy = (lines[0] if lines else type(error).__name__) + ". Move the file away, and the next run creates a new one"
    return f"MLflow's database {without_password(uri)} cannot be used: {remedy}"
