"""The record of a run in MLflow: one flat MLflow run per (parameters, base model), one step per iteration.

Invariant: logging the same thing again adds nothing. A run is found by its tag `agentevol.run_key`, a metric is logged only at steps where
it is missing, and traces, inputs and files only if their tag is missing. A flow that was killed and continues therefore leaves no
duplicate points. MLflow is read once, when the run is opened: one process at a time writes to a run (flows/evolve.run_lock).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

os.environ.setdefault("MLFLOW_ASYNC_TRACE_LOGGING_MAX_SPAN_BATCH_SIZE", "512")  # one transaction for many spans; the default loses traces
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from agentevol.data.artifact_folder import digest_json, folder_digest
from agentevol.data.dataset import read_dataset
from agentevol.report.model import RANDOM
from agentevol.settings.effects import flatten
from agentevol.settings.schema import Params
from tasks.artifact import PRODUCT, Artifact
from tasks.git_commit import commit, has_uncommitted_changes
from tasks.mlflow_champion import challenge
from tasks.mlflow_metrics import LOSS, bc_large_metrics, final_metrics, hosted_metrics, policy_metrics, random_metrics, zero_shot_metrics
from tasks.mlflow_models import log_model
from tasks.mlflow_store import SCHEMA_TAG, TRACKING_SCHEMA, connect, get_or_create_experiment
from tasks.mlflow_traces import delete_traces, log_traces, sample_episodes
from tasks.mlflow_views import install_views
from tasks.policy_record import PolicyRecord
from tasks.progress import say
from tasks.run_identity import group_tags, run_key, run_name, samples_text

EXPERIMENT = "agentevol"
MAX_DIGEST_LENGTH = 36  # MLflow's limit
MAX_BATCH = 1000  # MLflow's limit of metrics in one request
TRACES_PER_POLICY = 20
LOGGED = "mlflow.agentevol.logged"
"""The prefix of the tags that say what is logged already. MLflow's pages hide tags that begin with `mlflow.`."""
_CONTEXTS = {"agenteval": "evaluation", "validation": "validation"}
COMMITS_TAG, SELECTED_TAG, CHAMPION_TAG = "agentevol.commits", "agentevol.selected", "agentevol.champion"


class RunTracker:
    """A run in MLflow, open during a `with` block."""

    def __init__(self, params: Params, base: Artifact, provenance: Mapping[str, Any], sweep: str = "") -> None:
        """`provenance`: everything besides the parameters that decides the results (digests of datasets, versions of environments and
        tasks), as JSON values. `sweep`: the name of the sweep, if the run belongs to one; it is also the name of its experiment."""
        self.params, self.base = params, base
        self.key = run_key(params, base, provenance)
        self.name = run_name(params)
        self.sweep = sweep
        self.client = connect()
        self.experiment = get_or_create_experiment(self.client, sweep or EXPERIMENT)
        install_views(self.client, self.client.get_experiment(self.experiment), params.environments)
        self.run = self._find_or_create()
        self.id: str = self.run.info.run_id
        self._known_tags, self._known_metrics = dict(self.run.data.tags), set(self.run.data.metrics)

    def __enter__(self) -> RunTracker:
        self.client.update_run(self.id, status="RUNNING")
        self._set_tags(self._source_tags())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        self.client.set_terminated(self.id, status)

    @property
    def folder_name(self) -> str:
        """The run's name, with enough digits of its key to distinguish it from runs with other parameters."""
        return f"{self.name}-{self.key[:6]}"

    def model_params(self) -> dict[str, Any]:
        """The parameters that a model is compared by, on MLflow's page of models."""
        return {"M": self.params.evolve.iterations, "K": samples_text(self.params), "seed": self.params.seed}

    def log_inputs(self, datasets: Mapping[str, Artifact]) -> None:
        """The datasets that the run starts from."""
        for name, artifact in datasets.items():
            self._log_input(name, artifact, _CONTEXTS.get(name, "training"))

    def log_policy(self, policy: PolicyRecord) -> None:
        """The scores, costs, datasets and model of BC-Base or of an iteration's policy, and some of its episodes as traces."""
        step, model = policy.iteration, self._log_model(policy)
        self._log_metrics(policy.name, policy_metrics(policy), step, model)
        if policy.explored:
            self._log_input(f"explored-{step}", policy.explored, "explored")
            self._log_input(f"trained-on-{step}", _training_data(policy), "training")
        self._log_loss(policy, model)
        self._log_traces(policy, model)

    def log_bc_large(self, policy: PolicyRecord) -> None:
        """BC-Large, which belongs to no iteration: its scores as single values."""
        model = self._log_model(policy)
        self._log_metrics(policy.name, bc_large_metrics(policy), 0, model)
        self._log_input("agenttraj_l", _training_data(policy), "training")
        self._log_loss(policy, model)
        self._log_traces(policy, model)

    def log_zero_shot(self, policy: PolicyRecord) -> None:
        """The base model zero-shot: its success as single values."""
        self._log_metrics(policy.name, zero_shot_metrics(policy), 0)
        self._log_traces(policy)

    def log_hosted(self, policy: PolicyRecord) -> None:
        """A hosted model: its scores and usage, under its name."""
        self._log_metrics(policy.name, hosted_metrics(policy), 0)
        self._set_tags({f"agentevol.model.{policy.name}": f"{policy.model.path} sha256:{policy.model.digest}"})
        self._log_traces(policy)

    def log_random_baseline(self, scores: Artifact) -> None:
        """The random policy's success, as single values."""
        self._log_metrics(RANDOM, random_metrics(scores), 0)

    def log_report(self, folder: Path, bc_base: PolicyRecord, selected: PolicyRecord, bc_large: PolicyRecord | None) -> None:
        """The report's files, and what the selected policy gained as single values."""
        self._log_metrics("final", final_metrics(bc_base, selected, bc_large), 0)
        how = "best on the validation split" if selected.validation_scores else "the last: no validation split"
        self._set_tags({SELECTED_TAG: f"{selected.name} ({how})"})
        digest, tag = folder_digest(folder), f"{LOGGED}.report"
        if self._known_tags.get(tag) != digest:
            self.client.log_artifacts(self.id, str(folder), "report")
            self._set_tags({tag: digest})

    def challenge_champion(
        self, policy: PolicyRecord, random_episodes: Artifact | None, validation: Artifact, env_versions: Mapping[str, int]
    ) -> None:
        """Let the selected policy challenge the champion of its validation split, once. Without such a split there is none."""
        if CHAMPION_TAG in self._known_tags:
            return
        if policy.validation_episodes is None:
            self._set_tags({CHAMPION_TAG: "no: without a validation split there is no champion"})
            return
        verdict = challenge(self.client, self.id, self.folder_name, policy, random_episodes, validation, env_versions)
        text = f"{'yes' if verdict.champion else 'no'}: {verdict.reason}"
        self._set_tags({CHAMPION_TAG: text, "agentevol.champion_model": f"{verdict.name}/{verdict.version or 'none'}"})
        say(f"champion of {verdict.name}: {text}")

    def _find_or_create(self) -> Run:
        same_key = f"tags.`agentevol.run_key` = '{self.key}' AND tags.`{SCHEMA_TAG}` = '{TRACKING_SCHEMA}'"
        if runs := self.client.search_runs([self.experiment], same_key, max_results=1):
            return runs[0]
        tags = {"agentevol.run_key": self.key, SCHEMA_TAG: TRACKING_SCHEMA, "agentevol.model.base": self.base.digest}
        run = self.client.create_run(self.experiment, run_name=self.name, tags=tags | group_tags(self.params, self.sweep))
        params = self.model_params() | flatten(self.params.model_dump(mode="json", exclude={"sweep"}))
        self.client.log_batch(run.info.run_id, params=[Param(name, str(value)) for name, value in params.items()])
        return self.client.get_run(run.info.run_id)

    def _source_tags(self) -> dict[str, str]:
        """The commit in the tag that MLflow's pages show, all commits with which the run was continued in order, and DVC's experiment."""
        tags = {"mlflow.source.name": "agentevol evolve", "mlflow.source.type": "LOCAL", "agentevol.version": PRODUCT}
        if current := commit():
            known = self._known_tags.get(COMMITS_TAG, "").split()
            tags |= {"mlflow.source.git.commit": current, COMMITS_TAG: " ".join(dict.fromkeys([*known, current]))}
            tags |= {"agentevol.code_changed": str(has_uncommitted_changes()).lower()}
        if dvc_experiment := os.environ.get("DVC_EXP_NAME"):
            tags["agentevol.dvc_experiment"] = dvc_experiment
        return tags

    def _log_metrics(self, group: str, metrics: Mapping[str, float], step: int, model: str | None = None) -> None:
        """A tag per group says that all of its metrics are logged, so that they need not be looked up one by one."""
        tag, names_digest = f"{LOGGED}.metrics.{group}", digest_json(sorted(metrics))[:MAX_DIGEST_LENGTH]
        if self._known_tags.get(tag) == names_digest:
            return
        now = int(time.time() * 1000)
        missing = [
            Metric(name, value, now, step, model_id=model)
            for name, value in metrics.items()
            if not (name in self._known_metrics and self._is_logged(name, step))
        ]
        if missing:
            self.client.log_batch(self.id, metrics=missing)
            self._known_metrics |= {metric.key for metric in missing}
        self._set_tags({tag: names_digest})

    def _log_loss(self, policy: PolicyRecord, model: str) -> None:
        name = f"{LOSS}/{policy.name}"
        if name in self._known_metrics:
            return
        now = int(time.time() * 1000)
        points = [Metric(name, float(loss), now, int(step), model_id=model) for step, loss in policy.model.facts.get("loss", [])]
        for start in range(0, len(points), MAX_BATCH):
            self.client.log_batch(self.id, metrics=points[start : start + MAX_BATCH])
        self._known_metrics.add(name)

    def _log_model(self, policy: PolicyRecord) -> str:
        """The policy as a model of the run, for MLflow's page of models; returns its id. Its files stay in the store."""
        tag, model = f"{LOGGED}.model.{policy.name}", policy.model
        if tag not in self._known_tags:
            self._set_tags({tag: log_model(self.client, self.experiment, self.id, policy, self.model_params())})
        self._set_tags({f"agentevol.model.{policy.name}": f"{model.path} sha256:{model.digest}"})
        return self._known_tags[tag]

    def _is_logged(self, name: str, step: int) -> bool:
        return any(point.step == step for point in self.client.get_metric_history(self.id, name))

    def _log_input(self, name: str, artifact: Artifact, context: str) -> None:
        tag = f"{LOGGED}.input.{name}"
        if self._known_tags.get(tag) == artifact.digest:
            return
        source = json.dumps({"uri": str(artifact.folder)})
        dataset = Dataset(name, artifact.digest[:MAX_DIGEST_LENGTH], source_type="local", source=source)
        tags = [InputTag("mlflow.data.context", context), InputTag("sha256", artifact.digest), InputTag("rows", str(artifact.rows))]
        retry_once(lambda: self.client.log_inputs(self.id, datasets=[DatasetInput(dataset, tags)]))
        self._set_tags({tag: artifact.digest})

    def _log_traces(self, policy: PolicyRecord, model: str | None = None) -> None:
        tag = f"{LOGGED}.traces.{policy.name}"
        if tag in self._known_tags:
            return
        episodes, session = sample_episodes(read_dataset(policy.episodes.folder), TRACES_PER_POLICY), f"{self.folder_name} {policy.name}"
        delete_traces(self.client, self.experiment, session)  # of a process that was killed before it set the tag
        log_traces(episodes, run_id=self.id, experiment_id=self.experiment, session=session, model=model)
        self._set_tags({tag: str(len(episodes))})

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        new = [RunTag(name, value) for name, value in tags.items() if self._known_tags.get(name) != value]
        if new:
            self.client.log_batch(self.id, tags=new)
            self._known_tags |= tags


def retry_once(log_dataset: Callable[[], None]) -> None:
    """Log a dataset; retry if MLflow raised because a parallel run inserted the same dataset after MLflow looked for it."""
    try:
        log_dataset()
    except MlflowException:
        log_dataset()


def _training_data(policy: PolicyRecord) -> Artifact:
    assert policy.training_data is not None, "a model that the run did not train"
    return policy.training_data
