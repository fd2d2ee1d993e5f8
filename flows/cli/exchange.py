"""The commands `agentevol data import` and `agentevol data export`: rows of other projects as datasets, and datasets as rows.

Invariant: nothing heavy is imported before a command runs. A row that cannot be read ends the command with one line, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevol.exchange.format_names import FormatName
from flows.cli.command import exit_with_error
from flows.cli.store import data, one_line_errors

if TYPE_CHECKING:
    from agentevol.data.trajectory import Trajectory

Format = Annotated[FormatName, typer.Option("--as", help="The format of the rows.")]


@data.command("import")
def import_data(
    file: Annotated[Path, typer.Argument(help="A file of rows: .jsonl, .json or .parquet.")],
    name: Format,
    out: Annotated[Path, typer.Option(help="A new folder for the dataset.")],
    reward: Annotated[float, typer.Option(help="The reward of rows that state none.")] = 1.0,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Leave out longer trajectories, counted with the tokenizer of --model.")
    ] = None,
    model: Annotated[str, typer.Option(help="A model folder, or a name on the Hugging Face hub.")] = "models/base",
) -> None:
    """Read trajectories of another project into a dataset that runs can learn from (data.extra)."""
    with one_line_errors():
        from agentevol.data.artifact_folder import sha256_file
        from agentevol.data.dataset import write_dataset
        from agentevol.data.trajectory import MEASURES
        from agentevol.exchange.importing import ImportReport, import_rows

        if out.exists():
            raise FileExistsError(f"{out} already exists: give another --out")
        report = ImportReport()
        counter = _token_counter(model) if max_tokens else None
        rows = import_rows(file, name, report, reward=reward, max_tokens=max_tokens, token_count=counter)
        lineage: dict[str, Any] = {"imported": name, "file": file.name}
        if file.is_file():
            lineage["sha256"] = sha256_file(file)
        dataset = write_dataset(out, _not_empty(rows, file, report), lineage, measures=MEASURES)
    typer.echo(f"{out}: {dataset.rows} trajectories, sha256 {dataset.digest[:16]}")
    if report.replayed:
        typer.echo(f"  {report.replayed} are reproduced by their environment")
    for reason, count in report.text_only.most_common():
        typer.echo(f"  {count} text only: {reason}")
    if report.difference:
        typer.echo(f"    the first one: {report.difference}")
    for reason, count in report.left_out.most_common():
        typer.echo(f"  {count} rows left out: {reason}")
    typer.echo(f"to learn from it: agentevol evolve -S 'data.extra=[{out}]'")


@data.command("export")
def export_data(
    dataset: Annotated[str, typer.Argument(help="A folder, or SHA-256 or its first digits as MLflow shows it.")],
    name: Format,
    out: Annotated[Path, typer.Option(help="A new file: .jsonl, .json or .parquet.")],
) -> None:
    """Write the trajectories of a dataset as rows that other projects read."""
    with one_line_errors():
        from agentevol.data.dataset import stream_dataset
        from agentevol.exchange.formats import write_row
        from agentevol.exchange.rows import write_rows

        folder = Path(dataset)
        if not folder.is_dir():
            from tasks.store_catalogue import find

            folder = find(dataset, ("trajectories",)).folder
        count = write_rows(out, (write_row(trajectory, name) for trajectory in stream_dataset(folder)))
    typer.echo(f"{out}: {count} rows")


def _token_counter(model: str) -> Callable[[Trajectory], int]:
    from agentevol.chat.load import load_chat_tokenizer
    from agentevol.models import ModelNotFound, resolve_model

    try:
        chat = load_chat_tokenizer(resolve_model(model))
    except ModelNotFound as error:
        exit_with_error(f"--model: {error}")
    return lambda trajectory: len(chat.tokenize_trajectory(trajectory).token_ids)


def _not_empty(rows: Any, file: Path, report: Any) -> Any:
    """The rows; an error at the end if there was none, so that no empty dataset is written."""
    from agentevol.data.formats import FormatError

    is_empty = True
    for row in rows:
        is_empty = False
        yield row
    if is_empty:
        reasons = ", ".join(f"{number} rows: {reason}" for reason, number in report.left_out.items()) or "it has no rows"
        raise FormatError(f"{file}: no trajectory to import ({reasons})")
