"""The page of the command line, from the typer application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from docs.generate.markdown import block, code, table
from flows.cli.main import app

_INTRODUCTION = """\
# Command line

`make` sets up `.venv` and runs the most common commands (`make help` lists them). This page lists all commands of `agentevol`.
Activate the virtual environment once per terminal with `source .venv/bin/activate`, or write `.venv/bin/agentevol`.

Exit codes: 0 for success, 1 for an error that the message explains, 2 for wrong parameters, 130 after Ctrl-C.
"""


def page() -> str:
    parts = [
        _INTRODUCTION,
        table(["command", "what it does"], [(f"[`{name}`](#{_anchor(name)})", _short(found)) for name, found in commands()]),
    ]
    for name, found in commands():
        parts += [f"## {name}", str(found.help or ""), block(_usage(name, found)), _options(found)]
    return "\n\n".join(part for part in parts if part) + "\n"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, such as `agentevol data get`."""
    yield from _walk("agentevol", typer.main.get_command(app))


def options(command: Any) -> set[str]:
    """The options that a command accepts, such as `--params`."""
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for part, found in inner.items():
        yield from _walk(f"{name} {part}", found)


def _options(command: Any) -> str:
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            rows.append((code(_argument(parameter)), parameter.help or "", _default(parameter)))
        elif not parameter.hidden:
            names = ", ".join(code(option) for option in (*parameter.opts, *parameter.secondary_opts))
            rows.append((names + (f" {parameter.metavar}" if parameter.metavar else ""), parameter.help or "", _default(parameter)))
    return table(["argument or option", "meaning", "default"], rows) if rows else ""


def _usage(name: str, command: Any) -> str:
    arguments = [_argument(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
    options_ = ["[OPTIONS]"] if any(parameter.param_type_name == "option" for parameter in command.params) else []
    return " ".join([name, *options_, *arguments])


def _argument(parameter: Any) -> str:
    name = str(parameter.name).upper() + ("..." if parameter.nargs == -1 or parameter.multiple else "")
    return name if parameter.required else f"[{name}]"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return code(parameter.default) if parameter.default not in (None, [], "", False) else ""


def _short(command: Any) -> str:
    return str(command.help or "").split("\n\n")[0]


def _anchor(name: str) -> str:
    return name.replace(" ", "-")
