"""The commands `agentevol data` and `agentevol model`: what the store holds by content, and sharing it with a team.

Invariant: nothing heavy is imported before a command runs; what a user can put right is one line and exit code 1.
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

data = typer.Typer(no_args_is_help=True, help="Data sets by content: list, get, and share the store with a team (push, pull).")
model = typer.Typer(no_args_is_help=True, help="Models by content: list and get.")

Digest = Annotated[str, typer.Argument(help="SHA-256, or the first digits of it, as MLflow shows it.")]
Out = Annotated[Path | None, typer.Option(help="A new folder to copy it into.")]
Url = Annotated[str, typer.Argument(help="A folder, s3://bucket/folder, ssh://user@host/folder, or what else fsspec reaches.")]
Digests = Annotated[list[str] | None, typer.Argument(help="Only these (SHA-256, or the first digits); everything by default.")]
All = Annotated[bool, typer.Option("--all", help="Also what no run's report names, such as the pieces in which episodes are played.")]
USES_SHOWN = 12


@data.command("list")
def list_data(everything: All = False) -> None:
    """The data sets of this machine: digest, kind, rows, and what runs show them as."""
    from tasks.store_catalogue import DATA

    _list(DATA, everything)


@model.command("list")
def list_models(everything: All = False) -> None:
    """The models of this machine: digest, size, and which runs' policies they are."""
    from tasks.store_catalogue import MODEL

    _list(MODEL, everything)


@data.command("get")
def get_data(digest: Digest, out: Out = None) -> None:
    """Say what a data set is and was made from; with --out, copy it into a folder (Parquet or JSON lines, with its manifest)."""
    from tasks.store_catalogue import DATA

    _get(DATA, digest, out)


@model.command("get")
def get_model(digest: Digest, out: Out = None) -> None:
    """Say what a model is and was made from; with --out, copy it into a folder that transformers can load."""
    from tasks.store_catalogue import MODEL

    _get(MODEL, digest, out)


@data.command()
def push(
    url: Url,
    digests: Digests = None,
    run: Annotated[str, typer.Option(help="All data sets and models that this run's report names (its folder in runs/).")] = "",
) -> None:
    """Copy results of the store (data sets, models, scores) to a place that a team shares."""
    with _one_line():
        from tasks.store_catalogue import chosen
        from tasks.store_exchange import Remote

        entries = chosen(digests or [], run)
        new = Remote(url).push(entries)
    typer.echo(f"{new} results pushed to {url}, {len(entries) - new} were there already")


@data.command()
def pull(url: Url, digests: Digests = None) -> None:
    """Bring results from there into the store, verified; runs take them as their own."""
    with _one_line():
        from tasks.store_exchange import Remote, chosen

        remote = Remote(url)
        wanted = chosen(remote.known(), digests or [], url)
        new = remote.pull(place for places in wanted.values() for place in places)
    typer.echo(f"{new} results pulled from {url}; agentevol data list --all shows what there is")


def _list(kinds: tuple[str, ...], everything: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    with _one_line():
        from tasks.store_catalogue import entries

        found = [entry for entry in entries(kinds) if everything or entry.used or not entry.in_store]
    if not found:
        print("nothing yet: `agentevol evolve` makes data sets and models", file=sys.stderr)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("sha256", "kind", "rows", "MB", "where", "what runs show it as"):
        table.add_column(title, justify="right" if title in ("rows", "MB") else "left", no_wrap=title != "what runs show it as")
    for entry in found:
        uses = entry.used[0] + (f" (and {len(entry.used) - 1} more)" if len(entry.used) > 1 else "") if entry.used else ""
        rows = str(entry.artifact.rows) if entry.artifact.counts else "-"
        table.add_row(entry.artifact.digest[:16], entry.artifact.kind, rows, f"{_size(entry.folder) / 1e6:.2f}", entry.artifact.path, uses)
    Console(highlight=False, width=None if sys.stdout.isatty() else 220).print(table)


def _get(kinds: tuple[str, ...], digest: str, out: Path | None) -> None:
    with _one_line():
        from tasks.store_catalogue import find, take

        entry = find(digest, kinds)
        if out is not None:
            take(entry, out)
    typer.echo("\n".join(_described(entry)))
    typer.echo(f"copied to {out}" if out is not None else "(--out FOLDER copies it)")


def _described(entry: Entry) -> Iterator[str]:
    from tasks.store_catalogue import ancestry, settings

    artifact = entry.artifact
    yield f"{artifact.kind} sha256:{artifact.digest}"
    yield f"  where     {artifact.path}"
    if artifact.counts:
        yield f"  rows      {artifact.rows} ({', '.join(f'{env} {count}' for env, count in artifact.counts.items())})"
    yield f"  made by   {_maker(entry)}"
    if given := settings(entry):
        yield f"  given     {given}"
    for depth, name, digest, found in ancestry(entry):
        yield f"  from      {'  ' * depth}{name} sha256:{digest[:16]} {f'by {_maker(found)}' if found else '(not here)'}"
    for use in entry.used[:USES_SHOWN]:
        yield f"  shown as  {use}"


def _maker(entry: Entry) -> str:
    version = entry.origin.get("version")
    return f"{entry.origin['task']}{f' v{version}' if version else ''}"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _one_line() -> Iterator[None]:
    from flows.cli.command import be_quiet

    be_quiet()  # before Prefect is imported, which the store's keys do
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in ("NotHere", "RemoteFailed", "IncompleteFolder", "OtherSchema", "FileExistsError"):
            raise
        print(f"agentevol: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
