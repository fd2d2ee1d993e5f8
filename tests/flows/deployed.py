"""The tiny project with the product's deployments, for the tests that bring everything up; and a way to hold a run in its midst."""

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
    """The tiny project with prefect.yaml and prefect.toml as they are, but for flows that know the toy world."""
    make_project(folder, **changes)
    (folder / "prefect.toml").write_text((ROOT / "prefect.toml").read_text())
    (folder / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text().replace(" flows/", " deployed/"))
    (folder / "params-small.yaml").write_text((folder / "params.yaml").read_text())
    (folder / "deployed").mkdir()
    for name in FLOWS:
        (folder / "deployed" / f"{name}.py").write_text(FLOW.format(name=name))
    return folder


def prepare() -> None:
    """In the process of a run: the toy world, and exploring that stands still, and makes a file `held`, while there is a file `hold`."""
    import tasks.rollout

    register()
    bar = tasks.rollout.bar

    @contextlib.contextmanager
    def holding(what: str) -> Iterator[Any]:
        with bar(what) as tick:

            def wait(*done: Any) -> None:
                while what.startswith("exploring") and Path("hold").exists():
                    Path("held").touch()
                    time.sleep(0.1)
                tick(*done)

            yield wait

    if tasks.rollout.bar.__name__ != "holding":
        tasks.rollout.bar = holding
