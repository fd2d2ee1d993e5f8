"""params-all-environments.yaml, the smallest run with all environments: it is valid, and no environment is left out."""

from __future__ import annotations

from agentevol.settings.load import load_params
from tests import ROOT

ENVIRONMENTS = set("academia alfworld babyai bird maze movie sciworld sheet textcraft todo weather webarena webshop wordle".split())


def test_it_uses_five_instructions_of_each_of_the_fourteen_environments() -> None:
    params = load_params(ROOT / "params-all-environments.yaml")
    assert set(params.environments) == ENVIRONMENTS
    assert params.evolve.iterations == 1
    assert {params.data.limits.explore, params.data.limits.train} == {5}
    assert params.data.folder != "data"
