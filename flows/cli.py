"""The command `agentevol`.

Invariant: nothing heavy is imported before a command needs it (`--help` stays quick), parameters are checked before anything starts (one
line on standard error, exit code 2), and nothing phones home: the switches for that are set here, before Prefect and MLflow are imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import artifacts

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

QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",  # errors are raised to the terminal anyway; a worker logs as prefect.toml says
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "GX_ANALYTICS_ENABLED": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}

EXPECTED = (
    "agentevol.adapters.NoPeft",
    "agentevol.chat.UnusableTemplate",
    "agentevol.collect.ExpertFailed",
    "agentevol.finetune.NothingToLearn",
    "agentevol.gate.GateFailed",
    "agentevol.launch.LaunchFailed",
    "agentevol.models.ModelNotFound",
    "agentevol.optimize.NotFinite",
    "agentevol.folders.Incomplete",
    "agentevol.turns.EngineRefused",
    "agentevol.workers.WorkerLost",
    "tasks.artifact.OtherSchema",
    "tasks.rollout.NothingPlayed",
    "tasks.tracking.TrackingUnusable",
)
"""Errors that a user can put right, whose message says how."""


@app.command()
def collect(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006  (typer needs the list itself)
    """Verify data/ (AgentTraj, AgentTraj-L, AgentEval, instructions), and rebuild what is missing."""
    _run("flows.collect:collect", params, overrides)


@app.command()
def pretrain(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006
    """Make the embedded base model again, from the project's own text."""
    _run("flows.pretrain:pretrain", params, overrides)


@app.command()
def clone(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006
    """Behavioural cloning alone: BC-Base, taught by AgentTraj and scored on AgentEval."""
    _run("flows.clone:clone", params, overrides)


@app.command()
def evolve(params: ParamsFile = PARAMS, overrides: Overrides = []) -> None:  # noqa: B006
    """The main job: BC-Base, M iterations of exploring and learning, BC-Large, and the final table."""
    folder = _run("flows.evolve:evolve", params, overrides)
    _print_report(Path(folder))


@app.command()
def sweep(
    params: ParamsFile = PARAMS,
    overrides: Overrides = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="Of the sweep; by default the grid in short.")] = "",
) -> None:
    """Every combination of M, K, seeds and rules (params.yaml: sweep), compared in one report."""
    page = _run("flows.sweep:sweep", params, overrides, name=name)
    typer.echo(f"report: {page}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A model folder, a name on the Hugging Face hub, or (engine.kind=openai) on a server.")],
    params: ParamsFile = PARAMS,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Score any model on AgentEval."""
    _run("flows.evaluate:evaluate", params, overrides, models=[model], model=model)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run's folder.")] = Path("runs/latest")) -> None:
    """Print the table of a run that is done."""
    if not (folder / TABLE).is_file():
        _fail(f"{folder}: no report there; `agentevol evolve` makes one")
    _print_report(folder)


@app.command()
def compare(
    records: Annotated[list[Path], typer.Argument(help="Records of runs, or folders of them (runs/sweeps/<name>/records).")],
    out: Annotated[Path, typer.Option(help="The folder of the report.")] = Path("runs/compared"),
    title: Annotated[str, typer.Option(help="Of the report.")] = "AgentEvol",
) -> None:
    """One report of the runs of several sweeps, days or machines, from the records that `agentevol sweep` leaves."""
    from agentevol.sweeps.page import compare
    from agentevol.sweeps.records import NotARecord

    try:
        page = compare(records, out, title)
    except NotARecord as error:
        _fail(str(error))
    typer.echo(f"report: {page}")


@app.command()
def view(
    folders: Annotated[list[Path] | None, typer.Argument(help="Runs (runs/latest by default), or datasets of trajectories.")] = None,
    out: Annotated[Path | None, typer.Option(help="The page; by default runs/views/<name>.html.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser, too.")] = False,
) -> None:
    """Write a page to read the episodes of a run turn by turn, filtered, two policies side by side; it needs no network."""
    from agentevol.folders import Incomplete
    from tasks.view import NothingToView
    from tasks.view import view as write

    try:
        page = write(folders or [Path("runs/latest")], out)
    except (NothingToView, Incomplete) as error:
        _fail(str(error))
    typer.echo(f"page: {page}")
    if show:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


@app.command()
def ui(port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 5000) -> None:
    """Open the pages: MLflow with one worker, on this machine only."""
    _be_quiet()
    from flows.ui import serve

    raise typer.Exit(serve(port))


@app.command()
def up(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of Prefect's server; 4200 by default.")] = None,
    ui_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of MLflow's pages; 5000 by default.")] = None,
    at_once: Annotated[int | None, typer.Option(min=1, help="Runs that share this machine; by default one per two cores.")] = None,
) -> None:
    """Bring up Prefect's server, a worker with the deployments of prefect.yaml, and MLflow's pages."""
    _be_quiet()
    from flows.up.commands import up
    from flows.up.services import UpFailed

    try:
        up(Path(os.environ["PREFECT_HOME"]), port, ui_port, at_once)
    except UpFailed as error:
        _fail(str(error), code=1)
    except KeyboardInterrupt:
        _fail("stopped; what this call had started is ended", code=130)


@app.command()
def down() -> None:
    """End what `agentevol up` has brought up, and the runs that are going; `prefect flow-run retry` goes on with those."""
    _be_quiet()
    from flows.up.commands import down
    from flows.up.services import UpFailed

    try:
        ended = down(Path(os.environ["PREFECT_HOME"]))
    except UpFailed as error:
        _fail(str(error), code=1)
    typer.echo(f"ended {ended} processes" if ended else "nothing was up")


@app.command()
def status() -> None:
    """Say what of `agentevol up` is up; exit code 1 where something is not."""
    _be_quiet()
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
    from envs.serve.run import Refused, run

    try:
        run(host, port, environments, cap=cap, idle=idle, step=step, token_file=token_file)
    except Refused as error:
        _fail(str(error))


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
        _fail(str(error))


@app.command()
def doctor(
    full: Annotated[bool, typer.Option("--full", help="Also run a flow of one task, which takes some seconds.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Say what is installed and works, with the remedy for what does not."""
    _be_quiet()
    from flows.doctor import examine

    raise typer.Exit(0 if examine(params, full=full) else 1)


def main() -> None:
    app()


def _run(flow: str, params: Path, overrides: list[str], models: Sequence[str] = (), **more: Any) -> Any:
    """Check the parameters, then run a flow with a Prefect API beside it; known errors become one line.

    `models`: those that the flow needs besides the base model.
    """
    _check(params, overrides, models)
    _be_quiet()
    from flows.server import ServerFailed, many_imports, prefect_api

    home = Path(os.environ["PREFECT_HOME"])
    if not (home / "prefect.db").exists() and not os.environ.get("PREFECT_API_URL"):
        print("making Prefect's database, the first time only (some ten seconds)", file=sys.stderr)
    with prefect_api(home) as server:
        try:
            with many_imports():
                found = _load(flow)  # its imports take as long as the API's start, and run beside it
            with _expected_errors():
                if server:
                    with many_imports():
                        _prepare(flow)
                    server.wait()
                return found(params_file=str(params), overrides=list(overrides), **more)
        except ServerFailed as error:
            _fail(str(error), code=1)


def _check(params: Path, overrides: list[str], models: Sequence[str]) -> None:
    from agentevol.params import SettingsError, load_params

    try:
        settings = load_params(params, overrides)
    except SettingsError as error:
        _fail(str(error))
    if all(Path(model).exists() for model in (settings.model.base, *models)):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # loading a local model is not worth a bar


def _be_quiet() -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    home = Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve() / ".prefect"
    os.environ.setdefault("PREFECT_HOME", str(home))
    os.environ.setdefault("PREFECT_RESULTS_LOCAL_STORAGE_PATH", str(Path(os.environ["PREFECT_HOME"]) / "results"))


def _load(name: str) -> Callable[..., Any]:
    from importlib import import_module

    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found


def _prepare(name: str) -> None:
    """What a flow has to open before its first step, while the API is still starting: `prepare` in its module, where there is one."""
    prepare = getattr(sys.modules[name.partition(":")[0]], "prepare", None)
    if prepare is not None:
        prepare()


@contextmanager
def _expected_errors() -> Iterator[None]:
    """What a user can put right ends in its message; anything else keeps its traceback."""
    from agentevol.params import SettingsError

    try:
        yield
    except SettingsError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped; the same command goes on from here", code=130)
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        _fail(str(error), code=1)


def _expected() -> tuple[type[Exception], ...]:
    """The classes of EXPECTED that can have been raised: those whose module is loaded. Loading torch to name an error takes seconds."""
    places = (name.rpartition(".") for name in EXPECTED)
    return tuple(getattr(sys.modules[module], name) for module, _, name in places if module in sys.modules)


def _print_report(folder: Path) -> None:
    from rich.console import Console

    text = (folder / TABLE).read_text(encoding="utf-8")
    Console(highlight=False).print(text, markup=False, soft_wrap=True)
    typer.echo(f"\nreport: {folder}    pages: make ui")


def _fail(message: str, code: int = 2) -> None:
    print(f"agentevol: {message}", file=sys.stderr)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
