"""What an iteration learns with: the rule of behavioural cloning, its options, its starting point, and the samples that a rule needs."""

from __future__ import annotations

from typing import Any

import pytest

from agentevol.settings.effects import key_values
from agentevol.settings.load import SettingsError
from agentevol.settings.schema import Params
from flows.learning import check_budget, check_rule, learning_plan, records_logprobs, start_of
from flows.sweep import cells


def params(**sections: Any) -> Params:
    return Params.model_validate(sections)


def test_a_rule_that_compares_episodes_begins_after_a_cloning_that_it_shares_with_the_others() -> None:
    given = params(evolve={"rule": "dpo"}, dpo={"beta": 0.5, "epochs": 2.0}, finetune={"learning_rate": 1e-3})
    assert learning_plan(given, 0) == learning_plan(params(finetune={"learning_rate": 1e-3}), 0)
    plan = learning_plan(given, 1)
    assert (plan.rule, plan.epochs, plan.settings.learning_rate) == ("dpo", 2.0, pytest.approx(1e-4))
    assert plan.options == {"beta": 0.5, "likelihood_weight": 1.0, "max_pairs_per_instruction": 4, "length_normalized": False}
    assert learning_plan(params(evolve={"rule": "dpo"}, finetune={"max_steps": 7}), 1).epochs is None
    assert learning_plan(params(evolve={"rule": "dpo"}, dpo={"learning_rate": 1e-5}), 1).settings.learning_rate == 1e-5


def test_the_other_rules_learn_as_the_section_finetune_says() -> None:
    plan = learning_plan(params(evolve={"rule": "threshold", "iterations": 1}, finetune={"epochs": [3.0, 2.0]}), 1)
    assert (plan.rule, plan.epochs, plan.options) == ("threshold", 2.0, None)


def test_one_sample_is_enough_beside_the_expert_but_not_alone() -> None:
    check_rule(params(evolve={"rule": "dpo"}))
    check_rule(params(evolve={"merge": "none"}))
    with pytest.raises(SettingsError, match=r"evolve\.samples: 1 given; allowed: at least 2 with evolve\.rule dpo"):
        check_rule(params(evolve={"rule": "dpo", "merge": "none"}))
    with pytest.raises(SettingsError, match=r"evolve\.budget: null given \(one episode per instruction in the first iteration\)"):
        check_rule(params(evolve={"rule": "dpo", "merge": "none", "samples": "adaptive"}))
    adaptive = params(evolve={"rule": "dpo", "merge": "none", "samples": "adaptive", "budget": 400})
    check_rule(adaptive)
    check_budget(adaptive, 399)
    with pytest.raises(SettingsError, match=r"evolve\.budget: 400 given, at most one episode for each of the 400 .* more, e\.g\. 800"):
        check_budget(adaptive, 400)
    check_budget(params(evolve={"rule": "dpo", "samples": "adaptive", "budget": 400}), 400)  # the expert's successes are merged
    with pytest.raises(
        SettingsError, match=r"allowed: at least 2 with evolve\.rule grpo, which compares an instruction's episodes with each other$"
    ):
        check_rule(params(evolve={"rule": "grpo"}))
    with pytest.raises(SettingsError, match=r"\[2, 1\] given"):
        check_rule(params(evolve={"rule": "dpo", "merge": "none", "samples": [2, 1], "iterations": 2}))


@pytest.mark.parametrize(
    ("given", "rule", "message"),
    [
        ({"reward": "progress"}, "dpo", r"filter\.reward: progress given; allowed: filter\.reward environment with evolve\.rule dpo"),
        ({"objective": {"success": 1, "rounds": -0.01}}, "dpo", r"filter\.objective: \{'success': 1.*given"),
        ({"keep": "positive"}, "dpo", r"filter\.keep: positive given; allowed: success or all with evolve\.rule dpo"),
        ({"keep": "positive"}, "grpo", r"filter\.keep: positive given"),
        ({"reward": "progress"}, "reward_weighted", r"filter\.reward: progress given; allowed: with filter\.keep positive or all"),
        (
            {"objective": {"success": 1, "rounds": -0.01}},
            "threshold",
            r"filter\.objective: .* given, but nothing uses it: evolve\.rule",
        ),
        ({"keep": "positive", "reward": "learned"}, "threshold", r"filter\.reward: learned given, but nothing uses it"),
        ({"keep": "positive", "objective": {"learned": 1}}, "threshold", r"filter\.objective: .* given, but nothing uses it"),
    ],
)
def test_a_filter_that_the_rule_would_ignore_is_rejected(given: dict[str, Any], rule: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_rule(params(evolve={"rule": rule, "samples": 2}, filter=given))


@pytest.mark.parametrize("rule", ["dpo", "grpo"])
def test_a_limit_of_kept_episodes_that_the_rule_would_ignore_is_rejected(rule: str) -> None:
    with pytest.raises(SettingsError, match=rf"max_kept_per_instruction: 2 given; allowed: null with evolve\.rule {rule}"):
        check_rule(params(evolve={"rule": rule, "samples": 2, "max_kept_per_instruction": 2}))


def test_a_filter_that_the_rule_uses_is_accepted() -> None:
    check_rule(params(evolve={"rule": "grpo", "samples": 2}, filter={"reward": "progress"}))
    check_rule(params(evolve={"rule": "dpo", "samples": 2}, filter={"keep": "all"}))
    check_rule(params(filter={"keep": "positive", "reward": "progress"}))
    check_rule(params(evolve={"rule": "threshold"}, filter={"keep": "positive", "reward": "progress"}))
    check_rule(params(evolve={"rule": "threshold", "max_kept_per_instruction": 1}, filter={"objective": {"success": 1, "rounds": -0.01}}))


def test_log_probabilities_are_recorded_for_the_rule_that_needs_them_unless_the_parameters_say_otherwise() -> None:
    assert [records_logprobs(params(evolve={"rule": rule, "samples": 2})) for rule in ("reward_weighted", "dpo", "grpo")] == [0, 0, 1]
    assert not records_logprobs(params(evolve={"rule": "grpo", "samples": 2}, explore={"record_logprobs": False}))
    assert records_logprobs(params(explore={"record_logprobs": True}))
    assert key_values(params().explore) == {"temperature": 0.7, "top_p": 1.0}


def test_a_sweep_has_one_run_of_a_rule_for_all_starting_points_that_it_ignores() -> None:
    assert (start_of("dpo", "base"), start_of("threshold", "base")) == ("previous", "base")
    grid = params(sweep={"rule": ["reward_weighted", "dpo"], "start_from": ["base", "previous"], "samples": [2], "iterations": [1]}).sweep
    settings = [(cell.setting.rule, cell.setting.start_from) for cell in cells(grid)]
    assert sorted(settings) == [("dpo", "previous"), ("reward_weighted", "base"), ("reward_weighted", "previous")]


def test_an_unknown_rule_is_one_line() -> None:
    with pytest.raises(ValueError, match="reward_weighted, threshold, dpo or grpo"):
        params(evolve={"rule": "ppo"})
