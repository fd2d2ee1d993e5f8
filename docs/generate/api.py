"""The pages of the Python API: one per package, with every module in it. mkdocstrings fills them from the docstrings."""

from __future__ import annotations

import ast
from pathlib import Path

_ROOT = Path(__file__).parents[2]
PACKAGES = {
    "agentevol.settings": "Parameters: their types, defaults and checks.",
    "agentevol.data": "Trajectories, datasets, filtering, formats, experts.",
    "agentevol.exchange": "Rows of other projects: import and export.",
    "agentevol.gate": "The checks that data must pass before training.",
    "agentevol.chat": "Chat templates and tokenization.",
    "agentevol.rollout": "Playing episodes with an inference engine.",
    "agentevol.preflight": "The checks of a model before a run.",
    "agentevol.training": "Fine-tuning and the learning rules.",
    "agentevol.verifier": "The learned reward: the probability of success, predicted from an episode's text.",
    "agentevol.evaluation": "Scores, intervals and paired tests.",
    "agentevol.report": "Tables, plots, reports and the episode viewer.",
    "agentevol.pretraining": "How the embedded base model is made.",
    "envs": "The contract of an environment, the registry, servers and clients.",
    "tasks": "The versioned Prefect tasks, the store, MLflow.",
    "flows": "What users run: flows and the command line.",
}
_ENVIRONMENT_FOLDERS = {"alfworld", "babyai", "bird", "sciworld", "textcraft", "tools", "webarena", "webshop", "maze", "wordle"}
_INTRODUCTION = """\
# Python API

These pages are generated from the docstrings. You can use `agentevol` and `envs` without Prefect, MLflow and DVC
([example](../../how-to/library.md)). `tasks` and `flows` are the pipeline around them.
"""


def index() -> str:
    rows = [f"- [`{package}`]({page_name(package)}): {text}" for package, text in PACKAGES.items()]
    extra = "- [`agentevol.models`](agentevol.models.md): finding a model folder."
    return _INTRODUCTION + "\n" + "\n".join([*rows, extra] if _exists("agentevol.models") else rows) + "\n"


def pages() -> dict[str, str]:
    """File name to Markdown."""
    found = {page_name(package): page(package, text) for package, text in PACKAGES.items()}
    if _exists("agentevol.models"):
        found["agentevol.models.md"] = "# agentevol.models\n\n" + _directive("agentevol.models")
    return found


def page_name(package: str) -> str:
    return f"{package}.md"


def page(package: str, text: str) -> str:
    parts = [f"# {package}", text]
    parts += [f"## {name.removeprefix(package + '.')}\n\n{_directive(name)}" for name in modules(package)]
    return "\n\n".join(parts) + "\n"


def modules(package: str) -> list[str]:
    """The modules of a package that have something public; the environments themselves have cards instead."""
    folder = _ROOT / package.replace(".", "/")
    found = []
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if package == "envs" and parts[0] in _ENVIRONMENT_FOLDERS:
            continue
        if parts[-1].startswith("_") or not _has_public_names(file):
            continue
        found.append(".".join((package, *parts)))
    return found


def _has_public_names(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(
        isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_") for node in tree.body
    )


def _exists(module: str) -> bool:
    return (_ROOT / (module.replace(".", "/") + ".py")).is_file()


def _directive(module: str) -> str:
    return f"::: {module}\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n      heading_level: 3\n"
