"""The sections of a sweep's report: a title, a text, tables, figures and details.

Invariant: a comparison that the grid does not allow (one K, one way of merging) is replaced by a sentence; every rate has its interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from agentevol.data.trajectory import Trajectory
from agentevol.evaluation.clusters import score_over_seeds
from agentevol.evaluation.scores import OVERALL, Score, drop_incomplete_overall, score
from agentevol.report.formatting import format_count, format_duration, format_rate
from agentevol.report.model import BC_BASE, BC_LARGE, OUTPUT_OF_PHASE, RANDOM, ZERO_SHOT, iteration_label
from agentevol.report.sweep import comparisons, plots
from agentevol.report.sweep.coverage import coverage_section
from agentevol.report.sweep.model import (
    SeedResult,
    Sweep,
    errors_as_failures,
    example_failures,
    format_seeds,
    score_after,
    score_curve,
    score_of_seeds,
    total_and_distinct_seconds,
)
from agentevol.report.sweep.section import Section, Table
from agentevol.report.verifier import verifier_rows

_INTERVAL = "with 95 % intervals (one seed: Wilson; several: a bootstrap over the instructions, which the seeds share)"
_MAX_EXAMPLE_LENGTH = 6_000  # characters of an episode that is shown


def sections(sweep: Sweep) -> list[Section]:
    """All sections of the report, in their order."""
    return [
        _methods(sweep),
        _curves(sweep),
        _iterations_by_environment(sweep),
        comparisons.samples_section(sweep),
        comparisons.ablations_section(sweep),
        comparisons.paired_tests_section(sweep),
        _costs(sweep),
        _balance(sweep),
        coverage_section(sweep),
        *_verifier(sweep),
        _failures(sweep),
        _lineage(sweep),
    ]


def _methods(sweep: Sweep) -> Section:
    scores = _method_scores(sweep)
    text = (
        f"Success on AgentEval in %, {format_count(len(sweep.seeds), 'seed')}, {_INTERVAL}"
        " (the random baseline is one run, and has no value for environments that do not list their actions)."
    )
    success = Table(
        ["policy", *sweep.environments],
        [[label, *(format_rate(by_env.get(env)) for env in sweep.environments)] for label, by_env in scores.items()],
    )
    reward = Table(
        ["mean reward x 100 [95 %]", *sweep.environments],
        [[label, *(format_rate(by_env.get(env), "reward") for env in sweep.environments)] for label, by_env in scores.items()],
    )
    tables = [success, reward]
    if any(score.errors for by_env in scores.values() for score in by_env.values()):
        failed = _method_scores(errors_as_failures(sweep))
        header = ["success with errors counted as failures", *sweep.environments]
        tables.append(Table(header, [[label, *(format_rate(failed[label].get(env)) for env in sweep.environments)] for label in failed]))
    overall = {label: by_env[OVERALL] for label, by_env in scores.items() if OVERALL in by_env and by_env[OVERALL].n}
    return Section("Methods", text, tables, {"methods": plots.bars(overall, "All environments together")})


def _method_scores(sweep: Sweep) -> dict[str, dict[str, Score]]:
    """The scores of every method, by its label."""
    scores: dict[str, dict[str, Score]] = {}
    if sweep.random:
        scores[RANDOM] = _random_baseline(sweep)
    if zero_shot := score_of_seeds(sweep.results_with(ZERO_SHOT, sweep.rules[0]), ZERO_SHOT):
        scores[ZERO_SHOT] = zero_shot
    scores |= _cloning_scores(sweep, BC_BASE)
    for setting in sweep.settings:
        scores[sweep.policy_label(setting)] = score_after(sweep.results_of(setting), sweep.iterations)
    scores |= _cloning_scores(sweep, BC_LARGE)
    for label in sweep.hosted_models():
        scores[label] = score_of_seeds(sweep.results_with(label, sweep.rules[0]), label)
    return scores


def _cloning_scores(sweep: Sweep, label: str) -> dict[str, dict[str, Score]]:
    """The scores of BC-Base or BC-Large, of each learning rule if there are several, because cloning uses the rule too."""
    by_rule = {rule: sweep.results_with(label, rule) for rule in sweep.rules}
    scores = {}
    for rule, results in by_rule.items():
        if results:
            name = f"{label}, {rule.replace('_', ' ')}" if len(by_rule) > 1 else label
            scores[name + sweep.seeds_suffix(results)] = score_of_seeds(results, label)
    return scores


def _random_baseline(sweep: Sweep) -> dict[str, Score]:
    """The scores of the random baseline, without an overall one if an environment is missing."""
    return drop_incomplete_overall(score(sweep.random), lambda env_score: env_score.n, sweep.environments)


def _curves(sweep: Sweep) -> Section:
    figures: dict[str, str] = {}
    for env in [OVERALL, *sweep.environments[:-1]]:
        lines = {sweep.setting_label(setting): score_curve(sweep.results_of(setting), env) for setting in sweep.settings}
        references = {BC_LARGE: score_of_seeds(sweep.results_with(BC_LARGE, sweep.rules[0]), BC_LARGE).get(env)}
        if sweep.random:
            references[RANDOM] = _random_baseline(sweep).get(env)
        title = "All environments" if env == OVERALL else env
        figures[f"curve-{env}"] = plots.curves(lines, references, title, small=env != OVERALL)
    longest = max((result.curve for result in sweep.results), key=len)
    rows = [[sweep.setting_label(setting), *(_point(sweep.results_of(setting), label) for label in longest)] for setting in sweep.settings]
    header = ["setting", BC_BASE, *(iteration_label(number) for number in range(1, len(longest)))]
    text = (
        "Success over the iterations; a run of M iterations contains the shorter ones. A line ends at the last iteration that all of its"
        " seeds have; the table also has the later iterations of single seeds, and every interval."
    )
    return Section("The curve over M", text, [Table(header, rows)], figures)


def _iterations_by_environment(sweep: Sweep) -> Section:
    """Every policy of the first setting in every environment: the tables of the main job, over all seeds of the setting. The table of the
    progress is left out where no episode has one."""
    setting = sweep.settings[0]
    results = sweep.results_of(setting)
    scores: dict[str, dict[str, Score]] = {RANDOM: _random_baseline(sweep)} if sweep.random else {}
    for label in (ZERO_SHOT, *min((result.curve for result in results), key=len), BC_LARGE, *sweep.hosted_models()):
        scores[label] = score_of_seeds(results, label)
    if all(result.selected for result in results):
        scores["selected"] = score_over_seeds([result.policies[result.selected] for result in results])
    scores = {label: by_env for label, by_env in scores.items() if by_env}
    instructions = {(episode.env, episode.item_id) for episode in results[0].policies[BC_BASE]}
    n = {env: sum(env in (name, OVERALL) for name, _ in instructions) for env in sweep.environments}

    def table(title: str, metric: str) -> Table:
        rows = [
            [env, f"{n[env]} x {len(results)}", *(format_rate(by_env.get(env), metric) for by_env in scores.values())]
            for env in sweep.environments
        ]
        return Table([title, "n", *scores], rows)

    tables = [table("environment", "success")]
    seeds = format_seeds(result.seed for result in results)
    text = f"{setting.label(sweep.settings)}, {seeds}: success in %, {_INTERVAL}. n: instructions x seeds."
    if "selected" in scores:
        text += " selected: the iteration of each seed that is best on the validation split; AgentEval has no part in the selection."
    if any(score.progress_n for by_env in scores.values() for score in by_env.values()):
        tables.append(table("progress", "progress"))
        text += " Below, the mean progress x 100 of the episodes that have one: the share of the goal that an episode reached at best."
    return Section("Iterations by environment", text, tables)


def _costs(sweep: Sweep) -> Section:
    rows = []
    for run in sweep.runs:
        episodes, rollout_tokens, trained_tokens, seconds = (
            sum(getattr(cost, name) for cost in run.costs) for name in ("episodes", "tokens", "trained_tokens", "seconds")
        )
        label = f"M{run.iterations} {run.setting.label(sweep.settings)} seed {run.seed}"
        rows.append([label, f"{episodes:,}", f"{rollout_tokens:,}", f"{trained_tokens:,}", format_duration(seconds), run.folder])
    total, distinct = total_and_distinct_seconds(sweep.runs)
    text = (
        f"The cost of each run by itself. The sum is {format_duration(total)}; work that runs share was done once, so the sweep took"
        f" {format_duration(distinct)} ({100 * distinct / total:.0f} %)."
        if total
        else ""
    )
    header = ["run", "episodes", "rollout tokens", "trained tokens", "time", "folder"]
    return Section("Cost of each run", text, [Table(header, rows)])


def _balance(sweep: Sweep) -> Section:
    title = "Exploration and training"
    longest = max(sweep.runs, key=lambda run: (run.iterations, -run.seed), default=None)
    if longest is None or not longest.costs:
        return Section(title, "No costs were recorded.")
    seconds: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for cost in longest.costs:
        seconds[cost.policy][cost.step] = seconds[cost.policy].get(cost.step, 0.0) + cost.seconds
    by_step = {step: sum(of_policy.get(step, 0.0) for of_policy in seconds.values()) for step in OUTPUT_OF_PHASE}
    total = sum(by_step.values()) or 1.0
    shares = ", ".join(f"{step} {100 * spent / total:.0f} %" for step, spent in by_step.items() if spent)
    label = f"M{longest.iterations} {longest.setting.label(sweep.settings)}, seed {longest.seed}"
    return Section(title, f"{label}: {shares} of the time.", figures={"balance": plots.balance(seconds, label)})


def _verifier(sweep: Sweep) -> list[Section]:
    """The quality of every verifier; no section where no reward was learned."""
    rows: list[list[str]] = []
    columns: list[str] = []
    for result in sweep.results:
        name = f"{result.setting.label(sweep.settings)}, seed {result.seed}"
        for label, by_env in result.verifier.items():
            columns, of_iteration = verifier_rows(by_env)
            rows += [[f"{name}, {label.lower()}", *row] for row in of_iteration]
    text = "The verifier of the explored episodes, on held-out instructions; the interval of the AUC is from a bootstrap over instructions."
    return [Section("Verifier", text, [Table(["verifier", *columns], rows)])] if rows else []


def _failures(sweep: Sweep) -> Section:
    result = sweep.results_of(sweep.settings[0])[0]
    details = [
        (
            f"{episode.item_id} ({episode.task_type}): {episode.rounds} rounds, reward {episode.reward:g}, {episode.status}",
            _transcript(episode),
        )
        for episode in example_failures(result.policies[result.final])
    ]
    label = f"{result.setting.label(sweep.settings)}, {result.final.lower()}, seed {result.seed}"
    return Section("Failed episodes", f"The first failed episodes of {label} in each environment.", details=details)


def _lineage(sweep: Sweep) -> Section:
    meta = [[str(name), str(value)] for name, value in sweep.meta.items()]
    models = []
    for result in sweep.results:
        for label, artifacts in result.lineage.items():
            names = ("model", "learnt from", "explored")  # as in run.json
            digests = [str(artifacts.get(name, {}).get("sha256", ""))[:12] for name in names]
            models.append([f"{result.setting.label(sweep.settings)} seed {result.seed}", label, *digests])
    tables = [Table(["name", "value"], meta), Table(["run", "policy", "model", "training set", "explored"], models)]
    return Section("Lineage", "The first twelve digits of SHA-256 digests of contents; run.json of each run has them in full.", tables)


def _point(results: Sequence[SeedResult], label: str) -> str:
    """The overall success of a policy, with the seeds that have it if some do not."""
    having = [result for result in results if label in result.policies]
    seeds = f" ({format_seeds(result.seed for result in having)})" if having and len(having) < len(results) else ""
    return format_rate(score_of_seeds(having, label).get(OVERALL)) + seeds


def _transcript(episode: Trajectory) -> str:
    text = "\n\n".join(f"{'POLICY' if message.role == 'assistant' else 'ENVIRONMENT'}: {message.content}" for message in episode.messages)
    return text if len(text) <= _MAX_EXAMPLE_LENGTH else f"{text[:_MAX_EXAMPLE_LENGTH]}\n(truncated)"
