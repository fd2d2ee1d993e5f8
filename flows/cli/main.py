"""The command `agentevol`.

Invariant: nothing heavy is imported before a command needs it (`--help` stays fast). A mistake in the parameters is one line on standard
error and exit code 2.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import environments
from flows.cli import exchange as exchange  # its commands belong to `agentevol data`
from flows.cli import store as artifacts
from flows.cli.command import bypass_proxies_for_loopback, exit_with_error, run_flow, set_quiet_defaults

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="LLM agents that evolve: clone the expert, then explore, filter, merge and learn. Parameters come from params.yaml.",
)

app.add_typer(artifacts.data, name="data")
app.add_typer(artifacts.model, name="model")

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameter file.")]
Overrides = Annotated[list[str], typer.Option("-S", "--set", metavar="KEY=VALUE", help="Override a parameter; may be repeated.")]
PARAMS = Path("params.yaml")
TABLE = "table.txt"


def _print_version(given: bool) -> None:
    if given:
        from importlib.metadata import version

        typer.echo(f"agentevol {version('agentevol')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a table has characters that an ASCII terminal lacks
    bypass_proxies_for_loopback()


@app.command()
def collect(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006  (typer needs the list itself)
    """Verify data/ (AgentTraj, AgentTraj-L, AgentEval, instructions), and rebuild what is missing."""
    run_flow("flows.collect:collect", params, overrides, uses_base_model=False)


@app.command()
def pretrain(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006
    """Rebuild the embedded base model from the project's own text."""
    run_flow("flows.pretrain:pretrain", params, overrides, uses_base_model=False)


@app.command()
def clone(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006
    """Run behavioural cloning alone: BC-Base, fine-tuned on AgentTraj and scored on AgentEval."""
    run_flow("flows.clone:clone", params, overrides)


@app.command()
def evolve(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006
    """Run the main job: BC-Base, M iterations of exploration and learning, BC-Large, and the final table."""
    folder = run_flow("flows.evolve:evolve", params, overrides)
    _print_report(Path(folder))


@app.command()
def sweep(
    params: ParamsFile = PARAMS,
    overrides: Overrides = [],  # noqa: B006
    name: Annotated[
        str, typer.Option(help="The sweep's name; by default the grid in short form and six digits for the other parameters.")
    ] = "",
) -> None:
    """Run every combination of M, K, seeds and rules (section sweep of the parameters), and compare them in one report."""
    page = run_flow("flows.sweep:sweep", params, overrides, name=name)
    typer.echo(f"report: {page}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder, a name on the Hugging Face hub, or (engine.kind=openai) on a server.")],
    params: ParamsFile = PARAMS,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Score any model on AgentEval."""
    run_flow("flows.evaluate:evaluate", params, overrides, models=[model], model=model)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run's folder.")] = Path("runs/latest")) -> None:
    """Print the table of a finished run."""
    if not (folder / TABLE).is_file():
        exit_with_error(f"{folder}: no report there; `agentevol evolve` writes one")
    _print_report(folder)


@app.command()
def compare(
    records: Annotated[list[Path], typer.Argument(help="Records of runs, or folders of them (runs/sweeps/<name>/records).")],
    out: Annotated[Path, typer.Option(help="The folder of the report.")] = Path("runs/compared"),
    title: Annotated[str, typer.Option(help="The title of the report.")] = "AgentEvol",
) -> None:
    """Write one report on the runs of several sweeps, days or machines, from their records."""
    from agentevol.report.sweep.records import RecordError
    from agentevol.report.sweep.write import compare_records

    try:
        page = compare_records(records, out, title)
    except RecordError as error:
        exit_with_error(str(error))
    typer.echo(f"report: {page}")


@app.command()
def view(
    folders: Annotated[list[Path] | None, typer.Argument(help="Runs (runs/latest by default), or datasets of trajectories.")] = None,
    out: Annotated[Path | None, typer.Option(help="The page; by default runs/views/<name>.html.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Also open it in the browser.")] = False,
) -> None:
    """Write a page with the episodes of a run, turn by turn, with filters and two policies side by side; it needs no network."""
    from agentevol.data.artifact_folder import IncompleteFolder
    from tasks.episode_page import NoEpisodesFound, write_episode_page

    try:
        page = write_episode_page(folders or [Path("runs/latest")], out)
    except (NoEpisodesFound, IncompleteFolder) as error:
        exit_with_error(str(error))
    typer.echo(f"page: {page}")
    if show:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


@app.command()
def ui(port: Annotated[int, typer.Option(help="The port on 127.0.0.1.")] = 5000) -> None:
    """Serve MLflow's pages with one worker, on this machine only."""
    set_quiet_defaults()
    from flows.up.mlflow_ui import serve

    raise typer.Exit(serve(port))


@app.command()
def up(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port of Prefect's server; 4200 by default.")] = None,
    ui_port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port of MLflow's pages; 5000 by default.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Runs in parallel on this machine; by default one per two cores.")] = None,
) -> None:
    """Start Prefect's server, a worker with the deployments of prefect.yaml, and MLflow's pages."""
    set_quiet_defaults()
    from flows.up.commands import up
    from flows.up.state import StartupError

    try:
        up(Path(os.environ["PREFECT_HOME"]), port, ui_port, concurrency)
    except StartupError as error:
        exit_with_error(str(error), code=1)
    except KeyboardInterrupt:
        exit_with_error("stopped; the processes that this command started have ended", code=130)


@app.command()
def down() -> None:
    """Stop the processes of `agentevol up` and the current runs; `prefect flow-run retry` continues those."""
    set_quiet_defaults()
    from flows.up.commands import down
    from flows.up.state import StartupError

    try:
        stopped = down(Path(os.environ["PREFECT_HOME"]))
    except StartupError as error:
        exit_with_error(str(error), code=1)
    typer.echo(f"stopped {stopped} processes" if stopped else "nothing was running")


@app.command()
def status() -> None:
    """Show which processes of `agentevol up` are running; exit code 1 if one is not."""
    set_quiet_defaults()
    from flows.up.commands import status

    raise typer.Exit(0 if status(Path(os.environ["PREFECT_HOME"])) else 1)


app.command()(environments.serve)
app.command()(environments.play)
app.command("compare-server")(environments.compare_server)


@app.command()
def doctor(
    full: Annotated[bool, typer.Option("--full", help="Also run a flow with one task, which takes some seconds.")] = False,
    model: Annotated[str | None, typer.Option(help="Check this model instead: a folder, or a name in the hub's cache.")] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Check the installation, or one model, and show how to fix what does not work."""
    set_quiet_defaults()
    if model is not None:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported: the check must not download a model
        from flows.cli.doctor_model import check_model

        raise typer.Exit(0 if check_model(model, params) else 1)
    from flows.cli.doctor import check_installation

    raise typer.Exit(0 if check_installation(params, full=full) else 1)


def main() -> None:
    try:
        app()
    except Exception as error:
        from flows.cli.machine_errors import machine_error

        message = machine_error(error)
        if message is None:
            raise
        print(f"agentevol: {message}", file=sys.stderr)
        sys.exit(1)


def _print_report(folder: Path) -> None:
    from rich.console import Console

    text = (folder / TABLE).read_text(encoding="utf-8")
    Console(highlight=False).print(text, markup=False, soft_wrap=True)
    typer.echo(f"\nreport: {folder}\nread the episodes: agentevol view {folder} --open\ncharts of all runs: agentevol ui")


if __name__ == "__main__":
    main()
