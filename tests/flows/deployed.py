"""The tiny project with the product's deployments, for the tests that bring everything up; and a way to pause a run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.flows.tiny import make_project, register

FLOWS = ("evolve", "sweep", "evaluate", "collect", "clone", "pretrain")
FLOW = """from tests.flows import deployed

deployed.prepare()
from flows.{name} import {name}  # noqa: E402, F401
"""


def make_deployed_project(folder: Path, **changes: Any) -> Path:
    """The tiny project with prefect.yaml and prefect.toml as they are, but for flows that register the toy environment."""
    make_project(folder, **changes)
    (folder / "prefect.toml").write_text((ROOT / "prefect.toml").read_text())
    (folder / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text().replace(" flows/", " deployed/"))
    (folder / "params-small.yaml").write_text((folder / "params.yaml").read_text())
    (folder / "deployed").mkdir()
    for name in FLOWS:
        (folder / "deployed" / f"{name}.py").write_text(FLOW.format(name=name))
    return folder


def prepare() -> None:
    """In the process of a run: register the toy environment, and pause exploration (marked by a file `held`) while a file `hold` exists."""
    import tasks.rollout

    register()
    progress_bar = tasks.rollout.progress_bar

    @contextlib.contextmanager
    def pausing(title: str) -> Iterator[Any]:
        with progress_bar(title) as update:

            def wait(*done: Any) -> None:
                while title.startswith("exploring") and Path("hold").exists():
                    Path("held").touch()
                    time.sleep(0.1)
                update(*done)

            yield wait

    if tasks.rollout.progress_bar.__name__ != "pausing":
        tasks.rollout.progress_bar = pausing
