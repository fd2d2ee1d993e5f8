"""The versions of environments, also of one that another package adds by an entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import ROOT

ENVIRONMENT = """
from envs.maze import Maze

class Doors(Maze):
    name = "doors"
    version = 7
"""
CODE = """
from agentevol.settings.load import load_params
from envs.registry import environment_class
from tasks.artifact import Artifact
from tasks.env_versions import env_versions

assert load_params("params.yaml").environments == ["doors", "maze"]
assert environment_class("doors").__module__ == "doors"
data = Artifact(kind="trajectories", path="x", digest="x", counts={"doors": 3, "maze": 2})
print(env_versions(data))
"""


def test_a_package_that_is_installed_in_place_adds_an_environment(tmp_path: Path) -> None:
    """An installation in place (`pip install -e`) leaves a folder of metadata beside the module."""
    metadata = tmp_path / "doors.egg-info"
    metadata.mkdir()
    (metadata / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: doors\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[agentevol.environments]\ndoors = doors:Doors\n")
    (metadata / "SOURCES.txt").write_text("doors.py\n")
    (tmp_path / "doors.py").write_text(ENVIRONMENT)
    (tmp_path / "params.yaml").write_text("environments: [doors, maze]\n")
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "{'doors': 7, 'maze': 1}\n", done.stderr
