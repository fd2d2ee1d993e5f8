"""The page of everything that a run logs to MLflow.

Invariant: every name that tasks/mlflow_run.py can log matches a row (tests/test_documentation.py).
"""

from __future__ import annotations

from docs.generate.markdown import code, table

METRICS = {
    "Scores on AgentEval": [
        ("success/<environment>", "share", "Success rate, 0 to 1. `overall` pools all environments."),
        ("success_low/<environment>", "share", "Lower end of its 95 % Wilson interval."),
        ("success_high/<environment>", "share", "Upper end of its 95 % Wilson interval."),
        ("reward/<environment>", "reward", "Mean reward of an episode."),
        ("reward_low/<environment>", "reward", "Lower end of its 95 % bootstrap interval."),
        ("reward_high/<environment>", "reward", "Upper end of its 95 % bootstrap interval."),
        ("n/<environment>", "episodes", "Episodes that were scored."),
        ("errors/<environment>", "episodes", "Episodes that ended in an error and were not scored."),
        ("success_errors_failed/<environment>", "share", "Success rate with errors counted as failures, where there were errors."),
    ],
    "Scores on the validation split": [
        ("validation/<metric>", "", "The same scores on the validation split, which selects the best iteration."),
    ],
    "Cost of each phase": [
        ("<phase>/seconds", "s", "Time of the phase. A result from the store keeps the time that it first took."),
        ("<phase>/episodes", "episodes", "Episodes played (explore, validate, evaluate)."),
        ("<phase>/tokens", "tokens", "Tokens read and generated (explore, validate, evaluate), or passed through training (learn)."),
        ("<phase>/trained_tokens", "tokens", "Tokens with a loss, over all epochs (learn)."),
        ("<phase>/steps", "steps", "Optimizer steps (learn)."),
        ("<phase>/requests", "requests", "Requests to an endpoint, where one generated the answers."),
        ("<phase>/repeated", "requests", "Requests among them that were retries."),
        ("<phase>/tokens_in", "tokens", "Prompt tokens that the endpoint counted."),
        ("<phase>/tokens_out", "tokens", "Generated tokens that the endpoint counted."),
        ("<phase>/truncated_context", "episodes", "Episodes cut because `rollout.context_length` tokens were full."),
        ("<phase>/truncated_loop", "episodes", "Episodes cut because the policy repeated itself (`rollout.max_repeats`)."),
        ("explore/errors", "episodes", "Explored episodes that ended in an error."),
    ],
    "Data of each iteration": [
        ("data/explored", "episodes", "Episodes explored in the iteration."),
        ("data/kept", "trajectories", "Explored trajectories that passed the filter."),
        ("data/dropped/<reason>", "trajectories", "Dropped by the filter: failed, truncated, error, duplicate, over_the_cap."),
        ("data/trained_on", "trajectories", "Trajectories in the training set."),
        ("data/too_long", "trajectories", "Trajectories in it with more tokens than `finetune.max_tokens`; they were left out."),
    ],
    "Training": [
        ("loss/<policy>", "nats", "Training loss of a policy; the step is the optimizer step."),
    ],
    "Single values, for tables and parallel coordinates": [
        (
            "final/<metric>",
            "",
            "The scores on AgentEval of the selected policy (without a validation split: of the last iteration).",
        ),
        ("final/gain", "share", "Its success minus success of BC-Base."),
        ("final/iteration", "", "Its iteration; 0 is BC-Base."),
        ("bc_large/<metric>", "", "Scores, cost and data of BC-Large."),
        ("zero_shot/<metric>", "", "Scores and cost of the base model before any training."),
        ("random/<metric>", "", "Scores of a random player, in environments that list their actions."),
        ("baseline/<name>/<metric>", "", "Scores and cost of a hosted model (`evaluate.baselines`)."),
    ],
}
TAGS = [
    ("agentevol.run_key", "Digest of everything that decides the results. The same command continues the run with the same key."),
    ("agentevol.setting", "K, merging, starting point, rule, and six digits for all other parameters but M and the seed."),
    ("agentevol.seed", "The seed."),
    ("agentevol.environments", "The environments."),
    ("agentevol.sweep", "The sweep that the run belongs to."),
    ("agentevol.version", "The version of AgentEvol."),
    ("agentevol.tracking_schema", "The version of these names."),
    ("agentevol.commits", "All commits, where a run was continued with another one."),
    ("agentevol.code_changed", "Whether the work tree had changes that were not committed."),
    ("agentevol.dvc_experiment", "The name of the DVC experiment."),
    ("agentevol.model.<policy>", "Folder and SHA-256 of a policy; `agentevol.model.base` is the base model."),
    ("agentevol.selected", "The policy that is the result of the run, and how it was selected."),
    ("agentevol.champion", "Whether the selected policy became the champion, and why."),
    ("agentevol.champion_model", "The registered model and version it was compared with."),
    ("agentevol.logged.input.<dataset>", "SHA-256 of a dataset."),
    ("agentevol.logged.metrics.<policy>", "Internal: the metrics of this policy are complete."),
    ("agentevol.logged.traces.<policy>", "Internal: the number of episodes logged as traces."),
    ("agentevol.logged.report", "Internal: digest of the report that was uploaded."),
    ("mlflow.source.name", "The command."),
    ("mlflow.source.type", "Always LOCAL."),
    ("mlflow.source.git.commit", "The commit of the code."),
]
_INTRODUCTION = """\
# MLflow metrics and tags

One flat MLflow run stands for one set of parameters, data, environments and task versions. Its name is `M4-K1-s0` for M = 4, K = 1
and seed 0. The step of a metric is the iteration: 0 is BC-Base, 1 is iteration 1. `<environment>` is the name of an environment, or
`overall`. `<phase>` is `explore`, `learn`, `validate` or `evaluate`. `<policy>` is `bc-base`, `bc-large`, `zero-shot`,
`iteration-1` and so on. Parameters of the MLflow run are `M`, `K` and every key of `params.yaml`.
"""


def page() -> str:
    parts = [_INTRODUCTION]
    for title, rows in METRICS.items():
        parts += [f"## {title}", table(["metric", "unit", "meaning"], [(code(name), unit, meaning) for name, unit, meaning in rows])]
    parts += ["## Tags", table(["tag", "meaning"], [(code(name), meaning) for name, meaning in TAGS])]
    return "\n\n".join(parts) + "\n"


def names() -> list[str]:
    """The documented metrics and tags, with placeholders in angle brackets."""
    return [name for rows in METRICS.values() for name, *_ in rows] + [name for name, _ in TAGS]
