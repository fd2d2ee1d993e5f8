"""The command `agentevol`.

Invariant: nothing heavy is imported before a command needs it (`--help` stays quick); what is wrong with the parameters is one line on
standard error and exit code 2.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import store as artifacts
from flows.cli.command import be_quiet, fail, run_flow

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="LLM agents that evolve: clone the expert, then explore, filter, merge and learn. Parameters come from params.yaml.",
)

app.add_typer(artifacts.data, name="data")
app.add_typer(artifacts.model, name="model")

ParamsFile = Annotated[Path, typer.Option("--params", help="The file of parameters.")]
Overrides = Annotated[list[str], typer.Option("-S", "--set", metavar="KEY=VALUE", help="Another value for a parameter; may be repeated.")]
PARAMS = Path("params.yaml")
TABLE = "table.txt"


@app.command()
def collect(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006  (typer needs the list itself)
    """Verify data/ (AgentTraj, AgentTraj-L, AgentEval, instructions), and rebuild what is missing."""
    run_flow("flows.collect:collect", params, overrides)


@app.command()
def pretrain(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006
    """Make the embedded base model again, from the project's own text."""
    run_flow("flows.pretrain:pretrain", params, overrides)


@app.command()
def clone(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006
    """Behavioural cloning alone: BC-Base, taught by AgentTraj and scored on AgentEval."""
    run_flow("flows.clone:clone", params, overrides)


@app.command()
def evolve(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006
    """The main job: BC-Base, M iterations of exploring and learning, BC-Large, and the final table."""
    folder = run_flow("flows.evolve:evolve", params, overrides)
    _print_report(Path(folder))


@app.command()
def sweep(
    params: ParamsFile = PARAMS,
    overrides: Overrides = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="Of the sweep; by default the grid in short, and six digits of the other parameters.")] = "",
) -> None:
    """Every combination of M, K, seeds and rules (params.yaml: sweep), compared in one report."""
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
    """Print the table of a run that is done."""
    if not (folder / TABLE).is_file():
        fail(f"{folder}: no report there; `agentevol evolve` makes one")
    _print_report(folder)


@app.command()
def compare(
    records: Annotated[list[Path], typer.Argument(help="Records of runs, or folders of them (runs/sweeps/<name>/records).")],
    out: Annotated[Path, typer.Option(help="The folder of the report.")] = Path("runs/compared"),
    title: Annotated[str, typer.Option(help="Of the report.")] = "AgentEvol",
) -> None:
    """One report of the runs of several sweeps, days or machines, from the records that `agentevol sweep` leaves."""
    from agentevol.report.sweep.records import RecordError
    from agentevol.report.sweep.write import compare_records

    try:
        page = compare_records(records, out, title)
    except RecordError as error:
        fail(str(error))
    typer.echo(f"report: {page}")


@app.command()
def view(
    folders: Annotated[list[Path] | None, typer.Argument(help="Runs (runs/latest by default), or datasets of trajectories.")] = None,
    out: Annotated[Path | None, typer.Option(help="The page; by default runs/views/<name>.html.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser, too.")] = False,
) -> None:
    """Write a page to read the episodes of a run turn by turn, filtered, two policies side by side; it needs no network."""
    from agentevol.data.artifact_folder import IncompleteFolder
    from tasks.episode_page import NothingToView
    from tasks.episode_page import view as write

    try:
        page = write(folders or [Path("runs/latest")], out)
    except (NothingToView, IncompleteFolder) as error:
        fail(str(error))
    typer.echo(f"page: {page}")
    if show:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


@app.command()
def ui(port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 5000) -> None:
    """Open the pages: MLflow with one worker, on this machine only."""
    be_quiet()
    from flows.up.mlflow_ui import serve

    raise typer.Exit(serve(port))


@app.command()
def up(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of Prefect's server; 4200 by default.")] = None,
    ui_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of MLflow's pages; 5000 by default.")] = None,
    at_once: Annotated[int | None, typer.Option(min=1, help="Runs that share this machine; by default one per two cores.")] = None,
) -> None:
    """Bring up Prefect's server, a worker with the deployments of prefect.yaml, and MLflow's pages."""
    be_quiet()
    from flows.up.commands import up
    from flows.up.services import UpFailed

    try:
        up(Path(os.environ["PREFECT_HOME"]), port, ui_port, at_once)
    except UpFailed as error:
        fail(str(error), code=1)
    except KeyboardInterrupt:
        fail("stopped; what this call had started is ended", code=130)


@app.command()
def down() -> None:
    """End what `agentevol up` has brought up, and the runs that are going; `prefect flow-run retry` goes on with those."""
    be_quiet()
    from flows.up.commands import down
    from flows.up.services import UpFailed

    try:
        ended = down(Path(os.environ["PREFECT_HOME"]))
    except UpFailed as error:
        fail(str(error), code=1)
    typer.echo(f"ended {ended} processes" if ended else "nothing was up")


@app.command()
def status() -> None:
    """Say what of `agentevol up` is up; exit code 1 where something is not."""
    be_quiet()
    from flows.up.commands import status

    raise typer.Exit(0 if status(Path(os.environ["PREFECT_HOME"])) else 1)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Where to listen. Anything but this machine needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 36001,
    environments: Annotated[list[str], typer.Option("--environment", "-e", help="Only this one; may be repeated.")] = [],  # noqa: B006
    cap: Annotated[int, typer.Option(min=1, help="Sessions at once.")] = 1024,
    idle: Annotated[float, typer.Option(min=1, help="Seconds after which a session that nobody asks is closed.")] = 1800,
    step: Annotated[float, typer.Option("--step-limit", "--step", min=0.1, help="Seconds that a world may take for a step.")] = 60,
    token_file: Annotated[Path | None, typer.Option(help="Holds the token that clients must send; else AGENTEVOL_TOKEN does.")] = None,
) -> None:
    """Serve the environments over HTTP; the description of its requests is at /docs."""
    from envs.server.run import Refused, run

    try:
        run(host, port, environments, cap=cap, idle=idle, step=step, token_file=token_file)
    except Refused as error:
        fail(str(error))


@app.command()
def play(
    environment: Annotated[str, typer.Argument(help="Its name, such as textcraft.")],
    item: Annotated[str, typer.Option(help="The instruction, such as textcraft_31; the first of AgentEval by default.")] = "",
    server: Annotated[str, typer.Option(help="Play on a server, such as http://127.0.0.1:36001.")] = "",
) -> None:
    """Play an environment in the terminal: an action a line; ? lists actions, ! lets the expert move."""
    from envs.play import Unplayable, play

    try:
        raise typer.Exit(play(environment, item or None, server or None))
    except Unplayable as error:
        fail(str(error))


@app.command()
def doctor(
    full: Annotated[bool, typer.Option("--full", help="Also run a flow of one task, which takes some seconds.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Say what is installed and works, with the remedy for what does not."""
    be_quiet()
    from flows.cli.doctor import examine

    raise typer.Exit(0 if examine(params, full=full) else 1)


def main() -> None:
    app()


def _print_report(folder: Path) -> None:
    from rich.console import Console

    text = (folder / TABLE).read_text(encoding="utf-8")
    Console(highlight=False).print(text, markup=False, soft_wrap=True)
    typer.echo(f"\nreport: {folder}    pages: make ui")


if __name__ == "__main__":
    main()
