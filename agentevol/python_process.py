"""Starting a module of this product in another Python process.

Invariant: the modules are those of the running product, also if the working directory holds folders of the same names (`flows`, `tasks`),
where Python would otherwise look first. Imports nothing outside the standard library.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PRODUCT = Path(__file__).resolve().parents[1]


def module_command(module: str) -> list[str]:
    """The command that runs a module; `module_environment` belongs to it."""
    return [sys.executable, "-P", "-m", module]


def module_environment() -> dict[str, str]:
    """The environment of this process, in which Python finds this product first and never looks into the working directory."""
    search_path = [str(_PRODUCT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(search_path)), "PYTHONSAFEPATH": "1"}
