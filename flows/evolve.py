"""The main job: behavioural cloning, M iterations of exploring and learning, BC-Large for comparison, and the report.

Invariant: the flow's body alone writes to MLflow and to the report, so a step that is taken from the store repeats no side effect; running
the same command again after any interruption goes on where it stopped and ends with the same table.
"""

from __future__ import annotations

from prefect import flow

from agentevol.settings.engines import BaselineParams
from agentevol.settings.types import Count, Merge, Natural, Rule, StartFrom
from flows.pipeline import Job, evolving, parameters, run_lock
from flows.run_page import RunPage
from tasks.artifact import Artifact
from tasks.mlflow_run import Tracker
from tasks.mlflow_store import connect
from tasks.policy_record import BASE, LARGE, PolicyRecord, iteration_name
from tasks.progress import say
from tasks.report import report
from tasks.run_identity import run_key


@flow(name="evolve", description="Agents that evolve: clone the expert, then explore, filter, merge and learn, M times.")
def evolve(
    params_file: str = "params.yaml",
    iterations: Count | None = None,
    samples: Count | list[Count] | None = None,
    seed: Natural | None = None,
    merge: Merge | None = None,
    start_from: StartFrom | None = None,
    rule: Rule | None = None,
    overrides: list[str] = [],  # noqa: B006  (Prefect shows the default in its form; it is never changed)
    experiment: str = "",
) -> str:
    """Run AgentEvol and return the folder of its report.

    Args:
        params_file: The file of parameters, relative to the project.
        iterations: M, instead of evolve.iterations.
        samples: K episodes per instruction, instead of evolve.samples; a list gives one number per iteration.
        seed: The seed of everything random, instead of seed.
        merge: With what the explored data is merged, instead of evolve.merge.
        start_from: What every iteration learns from, instead of evolve.start_from.
        rule: The learning rule, instead of evolve.rule.
        overrides: Further parameters as key=value, e.g. explore.temperature=1.0.
        experiment: In MLflow, for the runs of a sweep; "agentevol" by default.
    """
    chosen = {"merge": merge, "start_from": start_from, "rule": rule}
    params = parameters(params_file, iterations=iterations, samples=samples, seed=seed, overrides=[*overrides, *evolving(chosen)])
    with RunPage() as page:
        job = Job(params, page.gates)
        job.expert_gate("agenttraj")  # before MLflow is told of a run
        made_from = job.made_from()
        with run_lock(run_key(params, job.base, made_from)), Tracker(params, job.base, made_from, experiment) as track:
            page.links(experiment=track.experiment, run=track.id)
            track.inputs({"agenttraj": job.sets.agenttraj, "explore": job.sets.explore, "agenteval": job.sets.agenteval})
            rounds = [clone(job)]
            track.round(rounds[0])
            page.scores(rounds)

            kept: list[Artifact] = []
            for iteration in range(1, params.evolve.iterations + 1):
                rounds.append(iterate(job, rounds[-1], kept, iteration))
                track.round(rounds[-1])
                page.scores(rounds)
                if out_of_patience(rounds, params.evolve.patience):
                    say(f"stopping after iteration {iteration}: no better score for {params.evolve.patience} iterations (evolve.patience)")
                    break

            large = clone_large(job) if params.evaluate.bc_large else None
            if large:
                track.large(large)
                page.scores([*rounds, large])

            baselines = [compare(job, hosted) for hosted in params.evaluate.baselines]
            for baseline in baselines:
                track.baseline(baseline)

            by_chance = job.by_chance()
            if by_chance:
                track.by_chance(by_chance[1])
            folder = report(params, job.base, rounds, large, track.folder_name, baselines, by_chance)
            track.report(folder, rounds)
            track.champion(rounds[-1], job.sets.agenteval, made_from["env_versions"])
            page.links(experiment=track.experiment, run=track.id, folder=folder)
    return str(folder)


def prepare() -> None:
    """Open what takes a second or two and is needed in any case: MLflow's database, and what draws the report."""
    import matplotlib.figure  # noqa: F401

    connect()


def clone(job: Job) -> PolicyRecord:
    """BC-Base: the base model taught by AgentTraj, which the flow has let through the gate."""
    model = job.learn(BASE, job.sets.agenttraj, 0)
    return PolicyRecord(BASE, 0, model, job.sets.agenttraj, *job.evaluate(BASE, model, 0))


def clone_large(job: Job) -> PolicyRecord:
    """BC-Large: the same with AgentTraj-L, what imitation alone could reach with all the expert's data."""
    job.expert_gate("agenttraj_l")
    model = job.learn(LARGE, job.sets.agenttraj_l, 0)
    return PolicyRecord(LARGE, 0, model, job.sets.agenttraj_l, *job.evaluate(LARGE, model, 0))


def compare(job: Job, hosted: BaselineParams) -> PolicyRecord:
    """A hosted model on AgentEval, to compare with."""
    model, *played = job.baseline(hosted)
    return PolicyRecord(hosted.name, 0, model, None, *played)


def iterate(job: Job, previous: PolicyRecord, kept: list[Artifact], iteration: int) -> PolicyRecord:
    """One iteration: explore with the previous policy, keep what succeeded, merge, learn, evaluate. Appends to `kept`."""
    name = iteration_name(iteration)
    explored = job.explore(previous.name, previous.model, iteration)
    kept.append(job.keep(explored, iteration))
    merged = job.merge(kept)
    start = previous.model if job.params.evolve.start_from == "previous" else None
    model = job.learn(name, merged, iteration, start)
    return PolicyRecord(name, iteration, model, merged, *job.evaluate(name, model, iteration), explored=explored, kept=kept[-1])


def out_of_patience(rounds: list[PolicyRecord], patience: int | None) -> bool:
    """Whether the best score lies `patience` iterations back."""
    scores = [one.success for one in rounds]
    return patience is not None and len(scores) - 1 - scores.index(max(scores)) >= patience
