"""The main job: behavioural cloning, M iterations of exploration and learning, BC-Large for comparison, and the report.

Invariant: only the flow's body writes to MLflow and to the report, so a cached task repeats no side effect. Running the same command again
after any interruption continues where it stopped and ends with the same table.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal

from prefect import flow

from agentevol.evaluation.selection import best_round, should_stop
from agentevol.settings.engines import BaselineParams
from agentevol.settings.rules import Rule
from agentevol.settings.types import Count, Merge, Seed, StartFrom
from agentevol.training.rules import rule_class
from flows.datasets import check_validation_split
from flows.expected_errors import fail_in_one_line
from flows.learning import check_budget, start_of
from flows.parameters import evolve_overrides, load_parameters
from flows.pipeline import Pipeline
from flows.provenance import provenance_of
from flows.run_name import flow_run_name
from flows.run_page import RunPage
from tasks.locks import exclusive_lock
from tasks.mlflow_run import RunTracker
from tasks.mlflow_store import connect
from tasks.policy_record import BC_BASE_NAME, BC_LARGE_NAME, ZERO_SHOT_NAME, PolicyRecord, References, iteration_name
from tasks.progress import say
from tasks.report import report
from tasks.run_identity import run_key
from tasks.shared_store import publish_run


@flow(
    name="evolve",
    description="Evolving agents: clone the expert, then explore, filter, merge and learn, M times.",
    flow_run_name=flow_run_name,
)
@fail_in_one_line
def evolve(
    params_file: str = "params.yaml",
    iterations: Count | None = None,
    samples: Count | list[Count] | Literal["adaptive"] | None = None,
    seed: Seed | None = None,
    merge: Merge | None = None,
    start_from: StartFrom | None = None,
    rule: Rule | None = None,
    overrides: list[str] = [],  # noqa: B006  (Prefect shows the default in its form; it is never changed)
    experiment: str = "",
) -> str:
    """Run AgentEvol and return the folder of its report.

    Args:
        params_file: The parameter file, relative to the project.
        iterations: M, instead of evolve.iterations.
        samples: K episodes per instruction, instead of evolve.samples; a list gives one number per iteration; adaptive plays more
            where success is uncertain.
        seed: The random seed, instead of seed.
        merge: The data with which the explored data is merged, instead of evolve.merge.
        start_from: The model from which each iteration is fine-tuned, instead of evolve.start_from.
        rule: The learning rule, instead of evolve.rule.
        overrides: Further parameters as key=value, e.g. explore.temperature=1.0.
        experiment: The MLflow experiment, for the runs of a sweep; "agentevol" by default.
    """
    chosen = {"merge": merge, "start_from": start_from, "rule": rule}
    overrides = [*overrides, *evolve_overrides(chosen)]
    params = load_parameters(params_file, iterations=iterations, samples=samples, seed=seed, overrides=overrides)
    if (start := start_of(params.evolve.rule, params.evolve.start_from)) != params.evolve.start_from:
        say(f"evolve.rule {params.evolve.rule} continues the {start} policy, which explored; evolve.start_from does not apply to it")
    if params.evolve.merge != "initial" and rule_class(params.evolve.rule).is_on_policy:
        say(f"evolve.rule {params.evolve.rule} learns only from the iteration's own episodes; evolve.merge does not apply to it")
    with RunPage() as page:
        pipeline = Pipeline(params, page.gate_reports)
        data = pipeline.datasets
        check_budget(params, data.explore.rows)
        check_validation_split(params, data.validation)
        pipeline.check_expert_set("agenttraj")  # before the run is recorded in MLflow
        provenance = provenance_of(params, data)
        with (
            run_lock(run_key(params, pipeline.base, provenance)),
            RunTracker(params, pipeline.base, provenance, experiment) as tracker,
        ):
            page.show_links(experiment=tracker.experiment, run=tracker.id)
            inputs = {"agenttraj": data.agenttraj, "explore": data.explore, "agenteval": data.agenteval}
            tracker.log_inputs(inputs | ({"validation": data.validation} if data.validation.rows else {}))

            policies = [clone(pipeline)]
            tracker.log_policy(policies[-1])
            page.show_scores(policies)

            for iteration in range(1, params.evolve.iterations + 1):
                policies.append(iterate(pipeline, policies, iteration))
                tracker.log_policy(policies[-1])
                page.show_scores(policies)
                if should_stop([policy.validation_rank for policy in policies], params.evolve.patience):
                    say(
                        f"stopping after iteration {iteration}: no better score on the validation split for {params.evolve.patience}"
                        " iterations (evolve.patience)"
                    )
                    break
            selected = select_policy(policies)

            bc_large = clone_large(pipeline) if params.evaluate.bc_large else None
            if bc_large:
                tracker.log_bc_large(bc_large)
                page.show_scores([*policies, bc_large])
            zero_shot = evaluate_zero_shot(pipeline) if params.evaluate.zero_shot else None
            if zero_shot:
                tracker.log_zero_shot(zero_shot)
            hosted = [evaluate_hosted(pipeline, model) for model in params.evaluate.baselines]
            for policy in hosted:
                tracker.log_hosted(policy)
            random_baseline = pipeline.evaluate_random() if params.evaluate.random else None
            if random_baseline:
                tracker.log_random_baseline(random_baseline[1])

            page.show_scores([policy for policy in (zero_shot, *policies, bc_large, *hosted) if policy], selected)
            references = References(bc_large, zero_shot, hosted, random_baseline)
            folder = report(params, pipeline.base, policies, selected, tracker.folder_name, references)
            publish_run(folder)
            tracker.log_report(folder, policies[0], selected, bc_large)
            tracker.challenge_champion(selected, pipeline.random_on_validation(), data.validation, provenance["env_versions"])
            page.show_links(experiment=tracker.experiment, run=tracker.id, folder=folder)
    return str(folder)


def run_lock(run_key: str) -> AbstractContextManager[None]:
    """Run the same run once at a time, because both would write to the same MLflow run; the second reuses the results of the first."""
    return exclusive_lock(f"run-{run_key[:16]}", "the same run is in progress in another process; waiting for it")


def prepare() -> None:
    """Open MLflow's database and import what draws the report: both take a second or two, and every run needs them."""
    import matplotlib.figure  # noqa: F401

    connect()


def clone(pipeline: Pipeline) -> PolicyRecord:
    """BC-Base: the base model fine-tuned on AgentTraj, which has passed the gate."""
    data = pipeline.datasets.agenttraj
    model = pipeline.finetune(BC_BASE_NAME, data, 0)
    validated, validation_scores = pipeline.evaluate_on_validation(BC_BASE_NAME, model, 0)
    episodes, scores = pipeline.evaluate(BC_BASE_NAME, model, 0)
    return PolicyRecord(BC_BASE_NAME, 0, model, data, episodes, scores, validation_episodes=validated, validation_scores=validation_scores)


def clone_large(pipeline: Pipeline) -> PolicyRecord:
    """BC-Large: the base model fine-tuned on AgentTraj-L, the reference for imitation with all expert data."""
    data = pipeline.datasets.agenttraj_l
    pipeline.check_expert_set("agenttraj_l")
    model = pipeline.finetune(BC_LARGE_NAME, data, 0)
    episodes, scores = pipeline.evaluate(BC_LARGE_NAME, model, 0)
    return PolicyRecord(BC_LARGE_NAME, 0, model, data, episodes, scores)


def iterate(pipeline: Pipeline, policies: Sequence[PolicyRecord], iteration: int) -> PolicyRecord:
    """One iteration: explore with the last of the `policies`, filter by reward, merge, learn, evaluate."""
    name, previous = iteration_name(iteration), policies[-1]
    evolve = pipeline.params.evolve
    earlier = [policy.explored for policy in policies if policy.explored]
    explored = pipeline.explore(previous.name, previous.model, iteration, earlier)
    judged = pipeline.judge(explored, name)
    kept = pipeline.filter(explored, iteration, judged)
    rewarded = [episodes for policy in policies if (episodes := policy.judged or policy.explored)]
    data = pipeline.training_data([*rewarded, judged or explored], [*(policy.kept for policy in policies if policy.kept), kept])
    start = previous.model if start_of(evolve.rule, evolve.start_from) == "previous" else pipeline.base
    model = pipeline.finetune(name, data, iteration, start)
    validated, validation_scores = pipeline.evaluate_on_validation(name, model, iteration)
    episodes, scores = pipeline.evaluate(name, model, iteration)
    return PolicyRecord(
        name,
        iteration,
        model,
        data,
        episodes,
        scores,
        explored=explored,
        kept=kept,
        judged=judged,
        exploration=pipeline.summarize(explored),
        validation_episodes=validated,
        validation_scores=validation_scores,
    )


def evaluate_zero_shot(pipeline: Pipeline) -> PolicyRecord:
    """The base model on AgentEval before any training, for comparison."""
    episodes, scores = pipeline.evaluate_zero_shot(ZERO_SHOT_NAME)
    return PolicyRecord(ZERO_SHOT_NAME, 0, pipeline.base, None, episodes, scores)


def evaluate_hosted(pipeline: Pipeline, hosted: BaselineParams) -> PolicyRecord:
    """A hosted model on AgentEval, for comparison."""
    model, episodes, scores = pipeline.evaluate_hosted(hosted)
    return PolicyRecord(hosted.name, 0, model, None, episodes, scores)


def select_policy(policies: Sequence[PolicyRecord]) -> PolicyRecord:
    """The policy that the run reports, registers and links: the best on the validation split, or the last if there is no such split."""
    if not any(policy.validation_scores for policy in policies):
        return policies[-1]
    return policies[best_round([policy.validation_rank for policy in policies])]
