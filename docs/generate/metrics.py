"""The page of everything that a run logs to MLflow.

Invariant: every name that a run or an experiment can get matches a row (tests/tasks/test_mlflow_run.py).
"""

from __future__ import annotations

from docs.generate.markdown import code, table

METRICS = {
    "Scores on AgentEval": [
        ("success/<environment>", "share", "Success rate, 0 to 1. `overall` pools all environments."),
        ("success_low/<environment>", "share", "Lower end of its 95 % Wilson interval."),
        ("success_high/<environment>", "share", "Upper end of its 95 % Wilson interval."),
        ("reward/<environment>", "reward", "Mean reward of an episode."),
        ("progress/<environment>", "share", "Mean progress of an episode, where the environment measures it."),
        ("progress_low/<environment>", "share", "Lower end of its 95 % bootstrap interval."),
        ("progress_high/<environment>", "share", "Upper end of its 95 % bootstrap interval."),
        ("rounds_per_success/<environment>", "rounds", "The number of rounds in all episodes, divided by the number of successes."),
        (
            "errors/<environment>",
            "episodes",
            "Episodes that ended in an error and were not scored; logged for an environment only if there were any.",
        ),
        (
            "success_errors_failed/<environment>",
            "share",
            "Success rate with errors counted as failures; logged only if there were errors.",
        ),
    ],
    "Scores on the validation split": [
        ("success_validation/<environment>", "share", "Success on the validation split, which selects the best iteration."),
    ],
    "The verifier of the explored episodes, on held-out instructions (filter.reward: learned)": [
        ("verifier_auc/<environment>", "share", "AUC: the probability that a success gets a higher prediction than a failure."),
        ("verifier_auc_low/<environment>", "share", "Lower end of its 95 % bootstrap interval over instructions."),
        ("verifier_auc_high/<environment>", "share", "Upper end of the same interval."),
        ("verifier_rounds_auc/<environment>", "share", "The AUC of the number of rounds alone (fewer rounds are better)."),
        ("verifier_brier/<environment>", "", "Mean squared error of the predictions."),
        ("verifier_base_brier/<environment>", "", "The same error if every prediction is the success rate."),
        ("verifier_calibration_error/<environment>", "share", "Expected calibration error, in ten bins of equal size."),
    ],
    "Cost": [
        ("time/<phase>", "s", "Time of the phase. A result from the store keeps the time of its first computation."),
        ("tokens/<phase>", "tokens", "Tokens read and generated (exploration, evaluation), or passed through training."),
        ("tokens/with_loss", "tokens", "Tokens with a loss, over all epochs of the training."),
        ("endpoint_<phase>/requests", "requests", "Requests to an endpoint, if one generated the answers."),
        ("endpoint_<phase>/repeated", "requests", "Retries among these requests."),
        ("endpoint_<phase>/tokens_in", "tokens", "Prompt tokens that the endpoint counted."),
        ("endpoint_<phase>/tokens_out", "tokens", "Generated tokens that the endpoint counted."),
    ],
    "Exploration, evaluation and training": [
        ("exploration/episodes", "episodes", "Episodes explored in the iteration."),
        ("exploration/kept", "trajectories", "Explored trajectories that passed the filter."),
        ("exploration/instructions", "instructions", "Instructions of the explore split."),
        ("exploration/sampled", "instructions", "Instructions with at least one episode; adaptive samples can skip some."),
        ("exploration/covered", "instructions", "Instructions with at least one success."),
        ("exploration/without_expert", "instructions", "Instructions without a trajectory in AgentTraj."),
        ("exploration/covered_without_expert", "instructions", "Instructions without a trajectory in AgentTraj but with a success."),
        ("exploration_episodes/<environment>/<difficulty>", "episodes", "Explored episodes by difficulty."),
        ("exploration_coverage/<environment>/<difficulty>", "share", "Share of the instructions with a success, by difficulty."),
        ("exploration/errors", "episodes", "Explored episodes that ended in an error. *"),
        (
            "exploration/dropped_<reason>",
            "trajectories",
            "Dropped by the filter: failed, reward_too_low, truncated, error, duplicate, over_the_cap. *",
        ),
        (
            "exploration/truncated_<cause>",
            "episodes",
            "Truncated by `rollout.context_length` (`context`) or `rollout.max_repeats` (`loop`). *",
        ),
        ("evaluation/truncated_<cause>", "episodes", "The same on AgentEval. *"),
        ("training/trajectories", "trajectories", "Trajectories in the training set."),
        ("training/too_long", "trajectories", "Trajectories with more tokens than `finetune.max_tokens`, which were left out. *"),
        ("training/steps", "steps", "Optimizer steps."),
        ("training/pairs", "pairs", "Pairs of a success and a failure that the rule dpo learned from."),
        ("training/groups", "instructions", "Instructions whose episodes the rule grpo compared with each other."),
        ("training/without_reward", "trajectories", "Trajectories with a reward of 0 or less, which `reward_weighted` left out. *"),
        ("training/groups_without_variance", "instructions", "Instructions whose episodes all had the same reward, which were left out."),
        ("training/instructions_without_pairs", "instructions", "Instructions without a success or without a failure."),
        ("loss/<policy>", "nats", "Training loss of a policy; the step is the optimizer step."),
    ],
    "Single values, for tables and parallel coordinates": [
        ("gain/over_bc_base", "share", "Success of the selected policy minus success of BC-Base."),
        ("gain/over_bc_large", "share", "Success of the selected policy minus success of BC-Large."),
        ("success_bc_large/<environment>", "share", "Success of BC-Large."),
        ("success_random/<environment>", "share", "Success of a random player, in environments that list their actions."),
        ("success_baseline/<name>/<environment>", "share", "Success of a hosted model (`evaluate.baselines`)."),
        ("time/bc_large", "s", "Training time of BC-Large."),
        (
            "endpoint_baseline/<name>/<usage>",
            "",
            "Requests and tokens of a hosted model: `requests`, `repeated`, `tokens_in`, `tokens_out`.",
        ),
        ("gain/selected_iteration", "", "The iteration of the selected policy (without a validation split: the last); 0 is BC-Base."),
        ("success_zero_shot/<environment>", "share", "Success of the base model before any training."),
    ],
}
TAGS = [
    ("agentevol.run_key", "Digest of everything that decides the results. The same command continues the run with the same key."),
    ("agentevol.setting", "K, merging, starting point, rule, and six digits that stand for all other parameters except M and the seed."),
    ("agentevol.seed", "The seed."),
    ("agentevol.environments", "The environments."),
    ("agentevol.sweep", "The sweep that the run belongs to."),
    ("agentevol.version", "The version of AgentEvol."),
    ("agentevol.tracking_schema", "The version of these metric and tag names."),
    ("agentevol.commits", "All commits with which the run was started or continued."),
    ("agentevol.code_changed", "Whether the work tree had uncommitted changes."),
    ("agentevol.dvc_experiment", "The name of the DVC experiment."),
    ("agentevol.model.<policy>", "Folder and SHA-256 of a policy; `agentevol.model.base` is the base model."),
    ("agentevol.selected", "The policy that is the result of the run, and how it was selected."),
    ("agentevol.champion", "Whether the selected policy became the champion, and why."),
    ("agentevol.champion_model", "The registered model, and the version that is now champion."),
    ("mlflow.agentevol.logged.<group>", "Internal, hidden on MLflow's pages: which parts of the run are already logged."),
    ("mlflow.source.name", "The command."),
    ("mlflow.source.type", "Always LOCAL."),
    ("mlflow.source.git.commit", "The commit of the code."),
]
EXPERIMENT_TAGS = [
    ("mlflow.note.content", "The description. If you edit it, your text is kept."),
    ("mlflow.experimentKind", "The kind of the experiment, so that MLflow opens the list of runs. If you change it, your choice is kept."),
    ("mlflow.sharedViewState.<id>", "A saved view of the runs: `agentevol-compare`, `agentevol-curves`."),
    ("mlflow.agentevol.views", "Internal: the digest of the views and the description."),
    ("mlflow.agentevol.views.<part>", "Internal: the environments of the views, and the description as it was written."),
    ("agentevol.tracking_schema", "The version of metric and tag names for which the experiment was checked."),
    ("agentevol.challengers.<version>", "Tag of a registered model: the policies that have challenged this version, in order."),
]
_INTRODUCTION = """\
# MLflow metrics and tags

One MLflow run stands for one set of parameters, data, environments and task versions. Its name is `M4-K1-s0` for M = 4, K = 1
and seed 0. The step of a metric is the iteration: 0 is BC-Base, 1 is iteration 1. Placeholders:

- `<environment>`: the name of an environment, or `overall`
- `<phase>`: `exploration`, `verification` (with a learned reward), `training`, `validation` or `evaluation`
- `<policy>`: `bc-base`, `bc-large`, `zero-shot`, `iteration-1` and so on

The MLflow run has the parameters `M`, `K` and every key of `params.yaml` outside the section `sweep`.
Counts marked * are logged only if they are not zero.
"""


def page() -> str:
    parts = [_INTRODUCTION]
    for title, rows in METRICS.items():
        parts += [f"## {title}", table(["metric", "unit", "meaning"], [(code(name), unit, meaning) for name, unit, meaning in rows])]
    for title, tags in (("Tags of a run", TAGS), ("Tags of an experiment and of a registered model", EXPERIMENT_TAGS)):
        parts += [f"## {title}", table(["tag", "meaning"], [(code(name), meaning) for name, meaning in tags])]
    return "\n\n".join(parts) + "\n"


def names() -> list[str]:
    """The documented metrics and tags, with placeholders in angle brackets."""
    return [name for rows in METRICS.values() for name, *_ in rows] + [name for name, _ in (*TAGS, *EXPERIMENT_TAGS)]
