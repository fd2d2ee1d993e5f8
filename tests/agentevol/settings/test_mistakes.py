"""Every mistake in the parameters ends in one line that names the key, what was given and what is allowed, and repeats no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentevol.settings.load import SettingsError, load_params


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
        ("evaluate.baselines=[{name: BC-Base, model: gpt, url: 'http://host'}]", "bc-base is already taken"),
        ("filter={reward: progress, objective: {success: 1}}", "allowed: one of them (reward: environment)"),
        ("filter.objective={success: 0}", "every weight is 0"),
        ("filter.objective={speed: 1}", "filter.objective"),
        ("filter.reward=speed", "filter.reward: 'speed' given; allowed: 'environment', 'success', 'progress' or 'learned'"),
        ("filter.min_reward=0.5", "min_reward is 0.5 and keep is success; allowed: min_reward only with keep: positive"),
        ("filter.reward=learned", "keep: success uses the true outcome, but the reward is learned; allowed: positive, all"),
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
