"""The commands `agentevol data` and `agentevol model`: list the store by content, and share it with a team.

Invariant: nothing heavy is imported before a command runs. An error that the user can fix is one line and exit code 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tasks.store_catalogue import Entry

data = typer.Typer(
    no_args_is_help=True,
    help="Datasets by content: list and get them, share the store with a team (push, pull), remove unneeded results (gc).",
)
model = typer.Typer(no_args_is_help=True, help="Models by content: list and get.")

Digest = Annotated[str, typer.Argument(help="SHA-256 or its first digits, as MLflow shows it.")]
Out = Annotated[Path | None, typer.Option(help="A new folder into which it is copied.")]
Url = Annotated[str, typer.Argument(help="A folder, s3://bucket/folder, ssh://user@host/folder, or any other URL that fsspec supports.")]
Digests = Annotated[list[str] | None, typer.Argument(help="Only these (SHA-256 or its first digits); everything by default.")]
All = Annotated[bool, typer.Option("--all", help="Also those that no run's report refers to, such as the chunks of rollouts.")]
MAX_USES = 12
_EXPECTED_ERRORS = (
    "NotFound",
    "RemoteError",
    "IncompleteFolder",
    "IncompatibleSchema",
    "FileExistsError",
    "FormatError",
    "TrackingUnavailable",
)


@data.command("list")
def list_data(everything: All = False) -> None:
    """List the datasets of this machine: digest, kind, rows, and the runs that use them."""
    from tasks.store_catalogue import DATA

    _list(DATA, everything)


@model.command("list")
def list_models(everything: All = False) -> None:
    """List the models of this machine: digest, size, and the runs whose policies they are."""
    from tasks.store_catalogue import MODEL

    _list(MODEL, everything)


@data.command("get")
def get_data(digest: Digest, out: Out = None) -> None:
    """Describe a dataset and its inputs; with --out, copy it into a folder (Parquet or JSON lines, with its manifest)."""
    from tasks.store_catalogue import DATA

    _get(DATA, digest, out)


@model.command("get")
def get_model(digest: Digest, out: Out = None) -> None:
    """Describe a model and its inputs; with --out, copy it into a folder that transformers can load."""
    from tasks.store_catalogue import MODEL

    _get(MODEL, digest, out)


@data.command()
def push(
    url: Url,
    digests: Digests = None,
    run: Annotated[str, typer.Option(help="All datasets and models that the report of this run refers to (its folder in runs/).")] = "",
) -> None:
    """Copy results from the store (datasets, models, scores) to a shared location, with the records by which gc keeps them there."""
    with one_line_errors():
        from tasks.shared_store import record_digest, record_run
        from tasks.store_catalogue import run_folders, select
        from tasks.store_exchange import Remote

        entries, remote = select(digests or [], run), Remote(url)
        # The records first: a clean-up at the same time then keeps what is already there.
        for folder in [] if digests else run_folders(run):
            record_run(remote, folder)
        for digest in {entry.artifact.digest for entry in entries} if digests else ():
            record_digest(remote, digest)
        new = remote.push(entries)
    typer.echo(f"{new} results pushed to {url}, {len(entries) - new} were already there")


@data.command()
def pull(url: Url, digests: Digests = None) -> None:
    """Copy results from a shared location into the store and verify them; runs reuse them."""
    with one_line_errors():
        from tasks.store_exchange import Remote, select_remote

        remote = Remote(url)
        selected = select_remote(remote.read_index(digests or []), digests or [], url)
        new = remote.pull(selected, everything=not digests)
    typer.echo(f"{new} results pulled from {url}; agentevol data list --all shows them")


@data.command("gc")
def collect_garbage(
    url: Annotated[str | None, typer.Argument(help="A shared store (store.url) to clean as well.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; without this option they are only listed.")] = False,
    min_age: Annotated[float, typer.Option(min=0, help="Days: newer results (by last use or writing) stay, with their inputs.")] = 14,
    keep_gb: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="At most this many GB stay in runs/store: the least recently used results that URL also has go, but none of the last day.",
        ),
    ] = None,
) -> None:
    """Remove results that no run's report and no registered model reaches, here and in a shared store; by default, only list them."""
    with one_line_errors():
        from flows.cli.store_gc import clean

        for line in clean(url, delete, min_age, keep_gb):
            typer.echo(line)


def _list(kinds: tuple[str, ...], everything: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    with one_line_errors():
        from tasks.store_catalogue import list_entries

        entries = [entry for entry in list_entries(kinds) if everything or entry.uses or not entry.in_store]
    if not entries:
        print("nothing yet: `agentevol evolve` produces datasets and models", file=sys.stderr)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("sha256", "kind", "rows", "MB", "path", "used by"):
        table.add_column(title, justify="right" if title in ("rows", "MB") else "left", no_wrap=title != "used by")
    for entry in entries:
        uses = entry.uses[0] + (f" (and {len(entry.uses) - 1} more)" if len(entry.uses) > 1 else "") if entry.uses else ""
        rows = str(entry.artifact.rows) if entry.artifact.counts else "-"
        table.add_row(entry.artifact.digest[:16], entry.artifact.kind, rows, f"{_size(entry.folder) / 1e6:.2f}", entry.artifact.path, uses)
    Console(highlight=False, width=None if sys.stdout.isatty() else 220).print(table)


def _get(kinds: tuple[str, ...], digest: str, out: Path | None) -> None:
    with one_line_errors():
        from tasks.store_catalogue import copy_content, find

        entry = find(digest, kinds)
        if out is not None:
            copy_content(entry, out)
    typer.echo("\n".join(_description(entry)))
    typer.echo(f"copied to {out}" if out is not None else "(--out FOLDER copies it)")


def _description(entry: Entry) -> Iterator[str]:
    from tasks.store_catalogue import ancestry, input_summary

    artifact = entry.artifact
    yield f"{artifact.kind} sha256:{artifact.digest}"
    yield f"  path      {artifact.path}"
    if artifact.counts:
        yield f"  rows      {artifact.rows} ({', '.join(f'{env} {count}' for env, count in artifact.counts.items())})"
    yield f"  task      {_task(entry)}"
    if inputs := input_summary(entry):
        yield f"  inputs    {inputs}"
    for depth, name, digest, parent in ancestry(entry):
        yield f"  from      {'  ' * depth}{name} sha256:{digest[:16]} {f'by {_task(parent)}' if parent else '(not on this machine)'}"
    for use in entry.uses[:MAX_USES]:
        yield f"  used by   {use}"


def _task(entry: Entry) -> str:
    version = entry.origin.get("version")
    return f"{entry.origin['task']}{f' v{version}' if version else ''}"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Errors that the user can fix are printed as one line, with exit code 1; all others keep their traceback."""
    from flows.cli.command import set_quiet_defaults

    set_quiet_defaults()  # before Prefect is imported, which the store's keys do
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in _EXPECTED_ERRORS:
            raise
        print(f"agentevol: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
