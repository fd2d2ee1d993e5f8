"""params-worlds.yaml, the smallest run over all worlds: it is valid, and no world is left out."""

from __future__ import annotations

from agentevol.settings.load import load_params
from tests import ROOT

WORLDS = set("academia alfworld babyai bird maze movie sciworld sheet textcraft todo weather webarena webshop wordle".split())


def test_it_plays_five_instructions_of_each_of_the_fourteen_once() -> None:
    params = load_params(ROOT / "params-worlds.yaml")
    assert set(params.environments) == WORLDS
    assert params.evolve.iterations == 1
    assert {params.data.limits.explore, params.data.limits.train} == {5}
    assert params.data.folder != "data"
