"""What MLflow is told of a run: one flat run per (parameters, base model), a step per iteration.

Invariant: telling it again adds nothing. A run is found again by its tag `run_key`, a figure is logged only at steps where it is missing,
and traces, inputs and files only where their tag is missing; so a flow that was killed and goes on leaves no doubled points. What MLflow
knows is read once, when the run is opened: one process at a time writes to a run (flows/steps.run_lock).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

os.environ.setdefault("MLFLOW_ASYNC_TRACE_LOGGING_MAX_SPAN_BATCH_SIZE", "512")  # one transaction for many spans; the default loses traces
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from agentevol.data.artifact_folder import digest_json, folder_digest
from agentevol.data.dataset import read_dataset
from agentevol.report.model import RANDOM
from agentevol.settings.effects import flatten
from agentevol.settings.schema import Params
from tasks.artifact import PRODUCT, Artifact
from tasks.git_commit import changed, commit
from tasks.mlflow_champion import challenge
from tasks.mlflow_store import connect, experiment
from tasks.mlflow_traces import forget, replay, sampled
from tasks.policy_record import PolicyRecord
from tasks.progress import say
from tasks.rollout import BILLED
from tasks.run_identity import groups, k_text, run_key, run_name

EXPERIMENT = "agentevol"
DIGEST_LENGTH = 36  # MLflow's limit
TRACES = 20
COSTS = ("seconds", "episodes", "tokens", "trained_tokens", "steps", *BILLED)


class Tracker:
    """A run in MLflow, opened for the duration of a `with` block."""

    def __init__(self, params: Params, base: Artifact, made_from: Mapping[str, Any], sweep: str = "") -> None:
        """`made_from`: what decides the figures besides the parameters (digests of sets, versions of environments and tasks), as JSON
        values.
        `sweep`: the name of the one that it is a run of, which is its experiment."""
        self.params, self.base = params, base
        self.key = run_key(params, base, made_from)
        self.name = run_name(params)
        self.sweep = sweep
        self.client = connect()
        self.experiment = experiment(self.client, sweep or EXPERIMENT)
        self.run = self._find_or_create()
        self.id: str = self.run.info.run_id
        self._known_tags, self._known_figures = dict(self.run.data.tags), set(self.run.data.metrics)

    def __enter__(self) -> Tracker:
        self.client.update_run(self.id, status="RUNNING")
        self._tags(self._made_with())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        self.client.set_terminated(self.id, status)

    @property
    def folder_name(self) -> str:
        """The run's name, with enough of its key to tell it from runs of other parameters."""
        return f"{self.name}-{self.key[:6]}"

    def inputs(self, sets: Mapping[str, Artifact]) -> None:
        """The data that the run starts from."""
        for name, artifact in sets.items():
            self._input(name, artifact, "evaluation" if name == "agenteval" else "training")

    def round(self, done: PolicyRecord) -> None:
        """A policy's scores, costs and data at its iteration, and some of its episodes as traces."""
        step, figures = done.iteration, _scores(done.scores) | _costs(done) | _left_out(done)
        figures["data/learnt_from"] = _learnt_from(done).rows
        if done.explored and done.kept:
            figures |= {"data/explored": done.explored.rows, "data/kept": done.kept.rows, "errors/explore": done.explored.facts["errors"]}
            self._input(f"explored-{step}", done.explored, "explored")
            self._input(f"learnt-from-{step}", _learnt_from(done), "training")
        self._figures(done.name, figures, step)
        self._learnt(done)
        self._traces(done)

    def large(self, done: PolicyRecord) -> None:
        """BC-Large, which belongs to no iteration: its scores and costs as single figures."""
        figures = _scores(done.scores) | _costs(done) | _left_out(done) | {"data/learnt_from": _learnt_from(done).rows}
        self._figures(done.name, {f"bc_large/{name}": value for name, value in figures.items()}, 0)
        self._learnt(done)
        self._input("agenttraj_l", _learnt_from(done), "training")
        self._traces(done)

    def baseline(self, done: PolicyRecord) -> None:
        """A hosted model: its scores and what it cost, below its name."""
        figures = _scores(done.scores) | _costs(done)
        self._figures(done.name, {f"baseline/{done.name}/{name}": value for name, value in figures.items()}, 0)
        self._tags({f"model.{done.name}": f"{done.model.path} sha256:{done.model.digest}"})
        self._traces(done)

    def by_chance(self, scores: Artifact) -> None:
        """The random player's scores, as single figures."""
        self._figures(RANDOM, {f"{RANDOM}/{name}": value for name, value in _scores(scores).items()}, 0)

    def report(self, folder: Path, rounds: list[PolicyRecord]) -> None:
        """The report's files, and the last iteration's scores and its gain on BC-Base as single figures."""
        first, last = rounds[0], rounds[-1]
        final = {f"final/{name}": value for name, value in _scores(last.scores).items()}
        self._figures("final", final | {"final/gain": last.success - first.success, "final/iteration": last.iteration}, 0)
        digest = folder_digest(folder)
        if self._known_tags.get("report") != digest:
            self.client.log_artifacts(self.id, str(folder), "report")
            self._tags({"report": digest})

    def champion(self, last: PolicyRecord, agenteval: Artifact, env_versions: Mapping[str, int]) -> None:
        """Let the last policy challenge the champion of its AgentEval set, once."""
        if "champion" in self._known_tags:
            return
        verdict = challenge(self.client, self.id, self.folder_name, last, agenteval, env_versions)
        said = f"{'yes' if verdict.champion else 'no'}: {verdict.why}"
        self._tags({"champion": said, "champion.model": f"{verdict.name}/{verdict.version}"})
        say(f"champion of {verdict.name}: {said}")

    def _find_or_create(self) -> Run:
        found = self.client.search_runs([self.experiment], f"tags.run_key = '{self.key}'", max_results=1)
        if found:
            return found[0]
        tags = {"run_key": self.key, "model.base": self.base.digest, **groups(self.params, self.sweep)}
        run = self.client.create_run(self.experiment, run_name=self.name, tags=tags)
        params = {
            "M": self.params.evolve.iterations,
            "K": k_text(self.params),
            **flatten(self.params.model_dump(mode="json", exclude={"sweep"})),
        }
        self.client.log_batch(run.info.run_id, params=[Param(name, str(value)) for name, value in params.items()])
        return self.client.get_run(run.info.run_id)

    def _made_with(self) -> dict[str, str]:
        """The commit, as MLflow's pages show it; where the run went on with another one, all of them in order, and DVC's experiment."""
        tags = {"mlflow.source.name": "agentevol evolve", "mlflow.source.type": "LOCAL", "evo.version": PRODUCT}
        if now := commit():
            known = self._known_tags.get("evo.commits", "").split()
            tags |= {"mlflow.source.git.commit": now, "evo.commits": " ".join(dict.fromkeys([*known, now]))}
            tags |= {"evo.code_changed": str(changed()).lower()}
        if named := os.environ.get("DVC_EXP_NAME"):
            tags["evo.dvc_experiment"] = named
        return tags

    def _figures(self, what: str, figures: Mapping[str, Any], step: int) -> None:
        """`what` they are of: a tag says that all of these are there, so that not every one has to be looked up."""
        tag, named = f"figures.{what}", digest_json(sorted(figures))[:DIGEST_LENGTH]
        if self._known_tags.get(tag) == named:
            return
        now = int(time.time() * 1000)
        missing = [
            Metric(name, float(value), now, step)
            for name, value in figures.items()
            if value is not None and not (name in self._known_figures and self._has(name, step))
        ]
        if missing:
            self.client.log_batch(self.id, metrics=missing)
            self._known_figures |= {metric.key for metric in missing}
        self._tags({tag: named})

    def _learnt(self, done: PolicyRecord) -> None:
        """The curve of the loss, and which model came out."""
        name, model = f"loss/{done.name}", done.model
        if name not in self._known_figures:
            now = int(time.time() * 1000)
            points = [Metric(name, float(loss), now, int(step)) for step, loss in model.facts.get("loss", [])]
            for start in range(0, len(points), 1000):  # MLflow's limit of one batch
                self.client.log_batch(self.id, metrics=points[start : start + 1000])
            self._known_figures.add(name)
        self._tags({f"model.{done.name}": f"{model.path} sha256:{model.digest}"})

    def _has(self, name: str, step: int) -> bool:
        return any(point.step == step for point in self.client.get_metric_history(self.id, name))

    def _input(self, name: str, artifact: Artifact, context: str) -> None:
        if self._known_tags.get(f"input.{name}") == artifact.digest:
            return
        data = MetaDataset(LocalArtifactDatasetSource(str(artifact.folder)), name=name, digest=artifact.digest[:DIGEST_LENGTH])
        tags = [InputTag("mlflow.data.context", context), InputTag("sha256", artifact.digest), InputTag("rows", str(artifact.rows))]
        twice(lambda: self.client.log_inputs(self.id, datasets=[DatasetInput(data._to_mlflow_entity(), tags)]))
        self._tags({f"input.{name}": artifact.digest})

    def _traces(self, done: PolicyRecord) -> None:
        tag = f"traces.{done.name}"
        if tag in self._known_tags:
            return
        episodes, session = sampled(read_dataset(done.episodes.folder), TRACES), f"{self.folder_name} {done.name}"
        forget(self.client, self.experiment, session)  # those of a replay that was killed before its tag
        replay(episodes, run_id=self.id, experiment_id=self.experiment, session=session)
        self._tags({tag: str(len(episodes))})

    def _tags(self, tags: Mapping[str, str]) -> None:
        new = [RunTag(name, value) for name, value in tags.items() if self._known_tags.get(name) != value]
        if new:
            self.client.log_batch(self.id, tags=new)
            self._known_tags |= tags


def twice(record: Callable[[], None]) -> None:
    """Record a data set; once more where MLflow failed, because another run wrote the same one between its look and its own writing."""
    try:
        record()
    except MlflowException:
        record()


def _learnt_from(done: PolicyRecord) -> Artifact:
    assert done.learnt_from is not None, "a hosted model"
    return done.learnt_from


def _scores(made: Artifact) -> dict[str, Any]:
    wanted = ("success", "success_low", "success_high", "reward", "reward_low", "reward_high", "errors", "n")
    return {f"{what}/{env}": score[what] for env, score in made.facts.items() for what in wanted}


def _costs(done: PolicyRecord) -> dict[str, Any]:
    return {f"{phase}/{name}": facts[name] for phase, facts in done.phases() for name in COSTS if name in facts}


def _left_out(done: PolicyRecord) -> dict[str, Any]:
    figures: dict[str, Any] = {"data/too_long": done.too_long()}
    figures |= {f"data/dropped/{reason.replace(' ', '_')}": count for reason, count in done.dropped().items()}
    return figures | {f"truncated/{why}/{phase}": count for (why, phase), count in done.cut().items()}
