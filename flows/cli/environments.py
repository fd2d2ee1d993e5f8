"""`agentevol serve`, `play` and `compare-server`: the environments by themselves, without a model.

Invariant: nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.command import exit_with_error


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on. Any other than this machine needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any free one.")] = 36001,
    environments: Annotated[list[str], typer.Option("--environment", "-e", help="Serve only this environment; may be repeated.")] = [],  # noqa: B006
    cap: Annotated[int, typer.Option(min=1, help="The maximum number of sessions.")] = 1024,
    idle: Annotated[float, typer.Option(min=1, help="Seconds after which an idle session is closed.")] = 1800,
    step: Annotated[float, typer.Option("--step-limit", "--step", min=0.1, help="Seconds that an environment may take for a step.")] = 60,
    token_file: Annotated[
        Path | None, typer.Option(help="The file with the token that clients must send; default: AGENTEVOL_TOKEN.")
    ] = None,
) -> None:
    """Serve the environments over HTTP; the API is described at /docs."""
    from envs.server.run import CannotStart, run
    from envs.server.sessions import Limits

    try:
        run(host, port, environments, Limits(cap, idle, step), token_file)
    except CannotStart as error:
        exit_with_error(str(error))


def play(
    environment: Annotated[str, typer.Argument(help="The environment's name, such as textcraft.")],
    item: Annotated[str, typer.Option(help="The instruction, such as textcraft_31; the first of AgentEval by default.")] = "",
    server: Annotated[str, typer.Option(help="The URL of an environment server, such as http://127.0.0.1:36001.")] = "",
) -> None:
    """Play an environment in the terminal: one action per line; ? lists actions, ! lets the expert act."""
    from agentevol.settings.types import check_server_url
    from envs.play import Unplayable, play

    try:
        if server:
            check_server_url(server)
    except ValueError as error:
        exit_with_error(f"--server: allowed: {error}")
    try:
        raise typer.Exit(play(environment, item or None, server or None))
    except Unplayable as error:
        exit_with_error(str(error))


def compare_server(
    environment: Annotated[str, typer.Argument(help="The environment's name, such as babyai.")],
    server: Annotated[str, typer.Argument(help="The URL of an environment server; agentgym+http://host:port is one of AgentGym's.")],
    limit: Annotated[int, typer.Option(min=1, help="At most this many instructions.")] = 20,
    split: Annotated[str, typer.Option(help="Their split: eval (AgentEval), train, train_large or explore.")] = "eval",
) -> None:
    """Replay the expert's actions on a server, and print which instructions they solve there and how the others end."""
    from agentevol.settings.types import check_server_url
    from envs.registry import UnknownEnvironment, environment_class
    from envs.remote.client import ServerFailed
    from envs.server_comparison import Comparison, compare, summary

    def report(comparison: Comparison) -> None:
        typer.echo(f"{comparison.item_id}: {comparison.outcome}" + (f": {comparison.reason}" if comparison.reason else ""))

    if split not in ("eval", "train", "train_large", "explore"):
        exit_with_error(f"--split: {split!r} given; allowed: eval, train, train_large, explore")
    try:
        check_server_url(server)
        cls = environment_class(environment)
        if reason := cls.missing():
            exit_with_error(f"{environment} cannot be compared here, because its expert does not run: {reason}")
        items = [item.item_id for item in cls.instructions(split)[:limit]]  # type: ignore[arg-type]  # checked above
        typer.echo(summary(environment, compare(environment, server, items, report)))
    except (ValueError, UnknownEnvironment, ServerFailed) as error:
        exit_with_error(str(error))
