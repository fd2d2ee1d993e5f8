"""The data of a run: the expert sets and instruction lists, reduced to its environments and limits.

Invariant: no instruction is in two of the sets that must be disjoint: training and explored instructions, the validation split, AgentEval.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentevol.data.artifact_folder import IncompleteFolder
from agentevol.data.dataset import open_dataset
from agentevol.data.trajectory import TEXT_ONLY
from agentevol.settings.agent import ActionFormat
from agentevol.settings.load import SettingsError
from agentevol.settings.schema import Params
from envs.base import Split
from tasks import paths
from tasks.artifact import Artifact
from tasks.collect import collect, data_lock, subset, validation_instructions
from tasks.datasets import add_extra, convert_answers, convert_extra, has_other_format
from tasks.env_versions import env_versions, functions_digest
from tasks.progress import say


@dataclass(frozen=True, slots=True)
class Datasets:
    """The data of a run.

    `agenttraj`, `agenttraj_l`: the expert sets D_s and D_l, each with the trajectories of `data.extra`. `explore`: the instructions to
    explore. `validation`: those that choose among the policies. `agenteval`: those to evaluate on. `held_out`: all of AgentEval, because
    instructions outside the limits must not be trained on either.
    """

    agenttraj: Artifact
    agenttraj_l: Artifact
    explore: Artifact
    validation: Artifact
    agenteval: Artifact
    held_out: Artifact


def load_datasets(params: Params) -> Datasets:
    """Verify or rebuild the data of `data.folder`, and put the parts that the run uses into the store."""
    limits, environments = params.data.limits, params.environments
    extra = [_extra_set(folder) for folder in params.data.extra]
    wanted: dict[str, tuple[Split, int | None]] = {
        "agenttraj": ("train", limits.train),
        "agenttraj_l": ("train_large", limits.train_large),
        "explore": ("explore", limits.explore),
        "agenteval": ("eval", limits.eval),
    }
    with data_lock():
        data = collect(params.data.folder, environments)
        say("data: " + ", ".join(f"{name} {artifact.rows}" for name, artifact in data.items()))
        held_out = subset(data["agenteval"], split="eval", environments=list(data["agenteval"].counts), limit=None)
        parts = {name: subset(data[name], split=split, environments=environments, limit=limit) for name, (split, limit) in wanted.items()}
        validation = validation_instructions(
            data=data["explore"],
            used=[parts["agenttraj"], parts["agenttraj_l"], parts["explore"], *extra],
            held_out=held_out,
            environments=environments,
            limit=limits.validation,
        )
    if params.agent.format != "react":  # the format in which experts are recorded
        for name in ("agenttraj", "agenttraj_l"):
            parts[name] = convert_answers(
                data=parts[name],
                action_format=params.agent.format,
                env_versions=env_versions(parts[name]),
                functions=functions_digest(parts[name]),
            )
    if extra:
        extra = [_in_format(folder, part, params.agent.format) for folder, part in zip(params.data.extra, extra, strict=True)]
        parts |= {name: add_extra(initial=parts[name], extra=extra, label=name) for name in ("agenttraj", "agenttraj_l")}
    return Datasets(**parts, validation=validation, held_out=held_out)


def _extra_set(folder: str) -> Artifact:
    """A folder of `data.extra`. Raises SettingsError if it holds no dataset of trajectories."""
    path = paths.resolve(folder)
    try:
        dataset = open_dataset(path, kind="trajectories")
    except IncompleteFolder as error:
        raise SettingsError(
            f"data.extra: {folder} given; allowed: folders that `agentevol data import` or `agentevol data get --out` wrote ({error})"
        ) from None
    return Artifact(kind="trajectories", path=paths.record(path), digest=dataset.digest, counts=dataset.counts)


def _in_format(folder: str, extra: Artifact, action_format: ActionFormat) -> Artifact:
    """The set with its episodes in the run's format; says what has no format, and names what cannot be converted."""
    text_only = extra.counts.get(TEXT_ONLY, 0)
    if text_only and action_format != "react":
        say(f"data.extra: {text_only} of {extra.rows} trajectories of {folder} are text only, without functions, and stay as they are")
    if not has_other_format(extra, action_format):
        return extra
    converted = convert_extra(
        data=extra, action_format=action_format, env_versions=env_versions(extra), functions=functions_digest(extra), label=folder
    )
    if left_out := converted.facts["left_out"]:
        examples = converted.facts["examples"]
        more = f"; and {left_out - len(examples)} more" if left_out > len(examples) else ""
        say(
            f"data.extra: {left_out} of {extra.rows} trajectories of {folder} cannot be written as {action_format} (agent.format) and are"
            f" left out: {'; '.join(examples.values())}{more}"
        )
    return converted


def check_validation_split(params: Params, validation: Artifact) -> None:
    """Say in which environments the validation split is smaller than its limit. Raises SettingsError if early stopping has none."""
    limit = params.data.limits.validation
    if params.evolve.patience and not validation.rows:
        raise SettingsError(
            f"evolve.patience: {params.evolve.patience} given, but early stopping needs validation instructions and there are none;"
            " allowed: null, or data.limits.validation above 0 and lower data.limits.explore, train and train_large"
        )
    if limit == 0:
        return
    counts = {env: validation.counts.get(env, 0) for env in params.environments}
    if not validation.rows:
        say(
            "validation: no instruction is left over by data.limits.train, train_large and explore,"
            " so the last iteration is reported and no policy becomes champion"
        )
    elif short := {env: count for env, count in counts.items() if limit is not None and count < limit}:
        say(
            f"validation: {', '.join(f'{count} instructions in {env}' for env, count in short.items())} instead of {limit}"
            " (data.limits.validation): the run learns from the others or explores them"
        )
