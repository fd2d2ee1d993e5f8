"""Parameters: the files, the defaults, overrides, schedules, and which parameters are part of which key."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from agentevol.settings.document import document
from agentevol.settings.effects import comparable_parameters, effect_of, flatten, key_values
from agentevol.settings.evolve import EvolveParams
from agentevol.settings.finetune import FinetuneParams
from agentevol.settings.load import load_params
from agentevol.settings.rollout import RolloutParams
from agentevol.settings.schema import Params
from agentevol.settings.types import Effect, Section, parameter
from tests import ROOT


def test_the_committed_parameters_are_the_defaults() -> None:
    """But for the limits: whoever writes no limit into a file of parameters wants none."""
    committed, defaults = load_params(ROOT / "params.yaml").model_dump(), Params().model_dump()
    del committed["data"]["limits"], defaults["data"]["limits"]
    assert committed == defaults


def test_the_committed_file_is_written_from_the_schema() -> None:
    assert (ROOT / "params.yaml").read_text() == document(), "python -m agentevol.settings.document > params.yaml"


def test_the_small_run_differs_from_the_main_one_in_what_it_leaves_out_alone() -> None:
    main, small = (flatten(load_params(ROOT / name).model_dump()) for name in ("params.yaml", "params-small.yaml"))
    assert {key for key in main if main[key] != small[key]} == {
        "evolve.iterations",
        "evaluate.bc_large",
        "data.limits.train",
        "data.limits.explore",
        "data.limits.validation",
        "data.limits.eval",
        "finetune.epochs",
    }


def test_what_a_sweep_varies_and_where_the_work_is_done_make_no_other_experiment() -> None:
    one = comparable_parameters(load_params(ROOT / "params.yaml"), "float32")
    alike = [
        "seed=3",
        "evolve.samples=[3,1,1,1]",
        "evolve.rule=threshold",
        "rollout.num_workers=1",
        "evaluate.bc_large=false",
        "model.base=elsewhere",
    ]
    assert comparable_parameters(load_params(ROOT / "params.yaml", alike), "float32") == one
    other = comparable_parameters(load_params(ROOT / "params.yaml", ["finetune.max_steps=300"]), "float32")
    assert {key for key in one if one[key] != other[key]} == {"finetune.max_steps"}


def test_every_parameter_has_a_meaning_and_an_effect() -> None:
    def fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
        for name, field in section.model_fields.items():
            yield f"{prefix}{name}", section, name
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from fields(field.annotation, f"{prefix}{name}.")

    for key, section, name in fields(Params):
        assert section.model_fields[name].description, key
        assert effect_of(section, name) in get_args(Effect), key


def test_a_key_leaves_out_what_cannot_change_a_result() -> None:
    for change in ({"max_retries": 5}, {"chunk_size": 7}):
        assert key_values(RolloutParams(**change)) == key_values(RolloutParams())
    for change in ({"concurrency": 5}, {"max_repeats": 4}, {"servers": {"maze": "http://127.0.0.1:1"}}):
        assert key_values(RolloutParams(**change)) != key_values(RolloutParams())
    assert key_values(FinetuneParams(checkpoint_minutes=None)) == key_values(FinetuneParams())
    assert "timeout" not in key_values(Params())["engine"], "sections within sections too"


def test_a_file_gives_what_it_says_and_defaults_for_the_rest(file: Path) -> None:
    params = load_params(file)
    assert (params.seed, params.evolve.iterations, params.evolve.samples) == (3, 2, 1)
    assert params.finetune.learning_rate == 0.001


def test_overrides_win_in_order_and_reach_missing_sections(file: Path) -> None:
    params = load_params(file, ["evolve.iterations=5", "evolve.iterations=6", "data.limits.eval=4", "environments=[maze]"])
    assert (params.evolve.iterations, params.data.limits.eval, params.environments) == (6, 4, ["maze"])


def test_a_schedule_has_one_entry_per_round(file: Path) -> None:
    params = load_params(file, ["evolve.samples=[3, 1]", "finetune.epochs=[2, 4, 8]"])
    assert [params.evolve.samples_at(iteration) for iteration in (1, 2)] == [3, 1]
    assert [params.finetune.epochs_at(iteration) for iteration in (0, 1, 2)] == [2, 4, 8]
    assert [EvolveParams(samples=2).samples_at(iteration) for iteration in (1, 2, 3)] == [2, 2, 2]
    for schedule in (params.evolve.samples_at, params.finetune.epochs_at):
        with pytest.raises(ValueError, match="no such iteration"):
            schedule(3)
    assert load_params(file, ["finetune.max_steps=3", "finetune.epochs=[2]"]).finetune.epochs_at(2) is None, "max_steps decides"


@pytest.mark.parametrize("url", ["https://host/v1", "http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://localhost/v1"])
def test_a_key_may_be_sent_encrypted_or_on_this_machine(file: Path, url: str) -> None:
    engine = load_params(file, [f"engine={{kind: openai, url: '{url}', api_key_env: KEY}}"]).engine
    assert not engine.sends_key_unencrypted()
    assert load_params(file, ["engine={kind: openai, url: 'http://host/v1'}"]).engine.api_key_env is None


def test_max_steps_replaces_epochs(file: Path) -> None:
    assert FinetuneParams().epochs_at(7) == 8
    steps = load_params(ROOT / "params.yaml", ["finetune.max_steps=300"]).finetune
    assert (steps.max_steps, steps.epochs_at(0)) == (300, None)


def test_an_address_of_a_server_is_kept_as_it_is_given(file: Path) -> None:
    servers = {"maze": "http://127.0.0.1:36001/", "agentgym-wordle": "agentgym+https://host:8000/wordle", "babyai": "http://[::1]:36001"}
    servers["textcraft"] = ["http://a:36001", "http://b:36001"]  # type: ignore[assignment]
    assert load_params(file, [f"rollout.servers={servers}"]).rollout.servers == servers


def test_importing_the_settings_is_cheap() -> None:
    heavy = "{'torch', 'transformers', 'pandas', 'pyarrow', 'gymnasium', 'numpy', 'prefect', 'mlflow', 'matplotlib', 'scipy'}"
    code = f"import sys, agentevol.settings; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_parameter_added_later_is_part_of_a_key_only_when_it_is_set() -> None:
    class Later(Section):
        old: int = parameter(1, "Existed before.")
        new: str | None = parameter(None, "Added in a later version.", added_later=True)

    assert key_values(Later()) == {"old": 1}
    assert key_values(Later(new="x")) == {"old": 1, "new": "x"}


def test_samples_may_be_adaptive_with_a_budget() -> None:
    params = Params.model_validate(
        {"evolve": {"samples": "adaptive", "budget": 300}, "sweep": {"samples": [1, [2, 1], "adaptive"], "iterations": [2]}}
    )
    assert params.evolve.is_adaptive
    assert not Params().evolve.is_adaptive


def test_a_budget_that_is_not_given_is_part_of_no_key() -> None:
    assert "budget" not in key_values(EvolveParams())
    assert "budget" in key_values(EvolveParams(samples="adaptive", budget=5))
