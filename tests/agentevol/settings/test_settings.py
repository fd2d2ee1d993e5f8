"""Every mistake in the parameters ends in one line that names the key, what was given and what is allowed."""

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
from agentevol.settings.load import SettingsError, load_params
from agentevol.settings.rollout import RolloutParams
from agentevol.settings.schema import Params
from agentevol.settings.types import Effect, Section, parameter
from tests import ROOT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text("seed: 3\nevolve:\n  iterations: 2\nfinetune: {learning_rate: 1e-3}\n")
    return path


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


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("evolve.sample=3", "evolve.sample: unknown key; did you mean samples?"),
        ("evolve.samples=0", "evolve.samples: 0 given; allowed: a whole number of at least 1"),
        ("evolve.samples=[2, 0]", "evolve.samples: [2, 0] given"),
        ("evolve.samples=true", "evolve.samples: True given"),
        ("evolve.iterations=two", "evolve.iterations: 'two' given; allowed: a whole number, e.g. 4"),
        ("evolve.iterations=1.5", "evolve.iterations: 1.5 given; allowed: a whole number, e.g. 4"),
        ("environments=maze", "environments: 'maze' given; allowed: a list, e.g. [babyai, maze]"),
        ("sweep.merge=none", "sweep.merge: 'none' given; allowed: a list, e.g. [initial, none]"),
        ("sweep.seeds=[]", "sweep.seeds: [] given; allowed: a list that is not empty"),
        ("finetune.learning_rate=fast", "finetune.learning_rate: 'fast' given; allowed: a number, e.g. 0.5"),
        ("evaluate.bc_large=maybe", "allowed: true or false"),
        ("model.base=null", "model.base: null given; allowed: a text"),
        ("seed=18446744073709551616", "seed: 18446744073709551616 given; allowed: less than 9223372036854775808"),
        ("sweep.seeds=[9223372036854775808]", "sweep.seeds.0: 9223372036854775808 given"),
        ("evolve.samples=[1]", "evolve.samples: [1] given; allowed: one number, or a list with 2 entries: one per iteration"),
        ("evolve.samples=[1, 2, 3]", "evolve.samples: [1, 2, 3] given; allowed: one number, or a list with 2 entries"),
        ("finetune.epochs=[1, 2]", "finetune.epochs: [1.0, 2.0] given; allowed: one number, or a list with 3 entries"),
        ("finetune.epochs=[1, 2, 3, 4]", "a list with 3 entries: one for behavioural cloning and one per iteration"),
        ("sweep={samples: [[3, 1]], iterations: [1]}", "sweep.samples: [3, 1] given; allowed: one number, or a list with 1 entry"),
        ("evolve.merge=all", "evolve.merge: 'all' given; allowed: 'initial', 'cumulative' or 'none'"),
        ("evolve=3", "evolve: 3 given; allowed: a section with the keys iterations, samples"),
        ("environments=[chess]", "chess is not one"),
        ("rollout.servers={mazes: 'http://127.0.0.1:1'}", "mazes is not one"),
        ("rollout.servers={maze: []}", "servers.maze: allowed: an address, or a list of addresses, each once"),
        (
            "rollout.servers={maze: ['http://a', 'http://a']}",
            "servers.maze: allowed: an address, or a list of addresses, each once",
        ),
        ("environments=[maze, maze]", "each once"),
        ("environments=[]", "one or more of"),
        ("seed=-1", "seed: -1 given; allowed: greater than or equal to 0"),
        ("seed.x=1", "seed is a value, not a section"),
        ("finetune.epochs=0", "finetune.epochs: 0 given; allowed: a number above 0"),
        ("finetune.max_tokens=64", "finetune.max_tokens: 64 given; allowed: at least rollout.context_length, 1280"),
        ("rollout.context_length=4096", "finetune.max_tokens: 2048 given; allowed: at least rollout.context_length, 4096"),
        ("gate.max_tokens=64", "gate.max_tokens: 64 given"),
        ("engine.kind=gpt", "engine.kind: 'gpt' given; allowed: 'transformers', 'vllm' or 'openai'"),
        ("engine.kind=openai", "engine.url: null given; allowed: an address such as"),
        ("engine.url=http://127.0.0.1:8000/v1", "engine.url: given, but engine.kind is transformers"),
        ("engine={kind: openai, url: 'http://me:secret@host/v1'}", "without a user, a key or a query in it"),
        ("engine={kind: openai, url: 'host/v1'}", "engine.url: allowed: an address such as"),
        ("engine.options={dtype: float32}", "engine.options: {'dtype': 'float32'} given; allowed: none where engine.kind is transformers"),
        ("engine={kind: openai, url: 'http://host/v1', options: {api_key: x}}", "no secrets (api_key): a key is read from"),
        ("engine={kind: openai, url: 'http://host:x/v1'}", "engine.url: allowed: an address such as"),
        ("engine={kind: openai, url: 'http://[host/v1'}", "engine.url: allowed: an address such as"),
        (
            "engine={kind: openai, url: 'http://host/v1', api_key_env: KEY}",
            "engine.url: http://host/v1 given; allowed: https:// or this machine where engine.api_key_env is set",
        ),
        (
            "evaluate.baselines=[{name: GPT, model: gpt, url: 'http://127.0.0.1.example.com', api_key_env: KEY}]",
            "evaluate.baselines.0.url: http://127.0.0.1.example.com given; allowed: https://",
        ),
        ("engine.max_retries=-1", "engine.max_retries: -1 given"),
        ("evaluate.baselines=[{name: GPT, model: gpt}]", "evaluate.baselines.0.url"),
        (
            "evaluate.baselines=[{name: GPT, model: gpt, url: 'http://host', api_keys_env: X}]",
            "api_keys_env: unknown key; did you mean api_key_env?",
        ),
        ("evaluate.baselines=[{name: BC-Base, model: gpt, url: 'http://host'}]", "bc-base is another's"),
        ("filter={reward: progress, objective: {success: 1}}", "allowed: one of them (reward: environment)"),
        ("filter.objective={success: 0}", "every weight is 0"),
        ("filter.objective={speed: 1}", "filter.objective"),
        ("filter.reward=speed", "filter.reward: 'speed' given; allowed: 'environment', 'success', 'progress' or 'learned'"),
        ("filter.reward=learned", "keep: success looks at the true outcome, which a learned reward replaces; allowed: positive, all"),
        ("rollout.slots=8", "rollout.slots: renamed; use rollout.concurrency"),
        (
            "evaluate.baselines=[{name: G, model: g, url: 'http://host', at_once: 2}]",
            "0.at_once: renamed; use evaluate.baselines.0.concurrency",
        ),
        ("evolve.samples", "expected key=value"),
        ("evolve.samples=[", "not valid YAML"),
    ],
)
def test_a_mistake_is_told_in_one_line(file: Path, override: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_params(file, [override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        "rollout.servers={maze: 'http://me:TOKEN@host'}",
        "rollout.servers={maze: 'agentgym+http://TOKEN@host:36001'}",
        "rollout.servers={maze: 'https://host?token=TOKEN'}",
        "rollout.servers={maze: 'http://host#TOKEN'}",
        "rollout.servers={maze: ['http://host', 'http://TOKEN@host']}",
        "rollout.servers='http://me:TOKEN@host'",
        "rollout='http://me:TOKEN@host'",
        "engine='http://me:TOKEN@host'",
        "engine={kind: openai, url: 'http://me:TOKEN@host'}",
        "engine={kind: openai, url: 'http://host', api_key_env: sk-TOKEN}",
        "evaluate.baselines=['http://me:TOKEN@host']",
        "evaluate.baselines=[{url: 'http://me:TOKEN@host', model: g}]",
        "evaluate.baselines=[{name: G, url: 'http://host', model: g, api_key_env: sk-TOKEN}]",
    ],
)
def test_a_secret_in_the_parameters_is_refused_and_not_repeated(file: Path, override: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_params(file, [override])
    assert "TOKEN" not in str(caught.value).replace("AGENTEVOL_TOKEN", "")
    if "servers={" in override:
        assert "AGENTEVOL_TOKEN" in str(caught.value), "where the token belongs"


def test_an_address_of_a_server_is_kept_as_it_is_given(file: Path) -> None:
    servers = {"maze": "http://127.0.0.1:36001/", "agentgym-wordle": "agentgym+https://host:8000/wordle", "babyai": "http://[::1]:36001"}
    servers["textcraft"] = ["http://a:36001", "http://b:36001"]  # type: ignore[assignment]
    assert load_params(file, [f"rollout.servers={servers}"]).rollout.servers == servers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 1\nseed: 2\n", "line 2: not valid YAML: the key 'seed' is given twice"),
        ("seed: [1\n", "not valid YAML"),
        ("- 1\n", "list given"),
    ],
)
def test_an_unusable_file_is_told_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=expected):
        load_params(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read"):
        load_params(tmp_path / "nowhere.yaml")


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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "evolve.samples=adaptively",
            "'adaptively' given; allowed: a whole number of at least 1, a list of them (one per iteration), or adaptive",
        ),
        ("evolve.samples=[1, adaptive, 1, 1]", "allowed: a whole number of at least 1"),
        ("evolve.budget=300", "evolve.budget: 300 given, but evolve.samples is 1; allowed: only where that is adaptive"),
    ],
)
def test_samples_that_are_neither_numbers_nor_adaptive_are_refused(tmp_path: Path, override: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text("{}")
    with pytest.raises(SettingsError) as caught:
        load_params(tmp_path / "params.yaml", [override])
    assert message in str(caught.value)


def test_a_budget_that_is_not_given_is_part_of_no_key() -> None:
    assert "budget" not in key_values(EvolveParams())
    assert "budget" in key_values(EvolveParams(samples="adaptive", budget=5))
