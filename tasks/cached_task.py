"""Tasks whose results are kept by the content of what went in, and made again only when they are missing or damaged.

Invariant: a result lies in `runs/store/<task>-v<version>-<16 hex of the key>/`, the key covers the task's name, its explicit version and
the content of its inputs, and the folder is whole or absent. Prefect's cache is used on top; the folder alone decides.
"""

from __future__ import annotations

import functools
import inspect
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import Task
from pydantic import BaseModel

from agentevol.data.artifact_folder import atomic_folder, digest_json, folder_digest, is_complete, read_manifest, write_manifest
from agentevol.settings.effects import key_values
from tasks import paths
from tasks.artifact import PRODUCT, SCHEMA, Artifact, artifact_of

KEY_DIGITS = 16


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What a task's body has written into its folder: the part of it that is handed on (`.` for all) and what to say of it.

    `obsolete`: folders elsewhere that are of no use once this one stands; until then a kill would need them.
    """

    digest: str | None = None
    part: str = "."
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    obsolete: Sequence[Path] = ()


Body = Callable[..., TaskOutput]


def cached_task(kind: str, *, version: str, ignore: tuple[str, ...] = ()) -> Callable[[Body], CachedTask]:
    """Make a Prefect task of `body(out, *, ...) -> TaskOutput`, which writes into the folder `out`. The task is called
    without `out` and returns an Artifact.

    `version` is raised by hand when the body's meaning changes: comments and refactorings then cost nothing. Settings count by what
    their fields can change (agentevol/settings/effects.py). `ignore` names inputs, or fields of them ("settings.epochs"), that another
    input states instead. An input that is None by default counts only where it is given.
    """
    return lambda body: CachedTask(body, kind, version, ignore)


class CachedTask:
    """A body, its Prefect task and its key."""

    def __init__(self, body: Body, kind: str, version: str, ignore: tuple[str, ...]) -> None:
        self.body, self.kind, self.version, self.ignore = body, kind, version, ignore
        self.name = body.__name__
        self.task: Task[..., Any] = Task(
            _without_out(body, self.make),
            name=self.name.replace("_", "-"),
            version=version,
            description=inspect.getdoc(body),
            cache_key_fn=lambda _, arguments: self.key(arguments),
            persist_result=True,
            result_serializer="json",
        )
        functools.update_wrapper(self, body)

    def __call__(self, *, label: str = "", **inputs: Any) -> Artifact:
        """Run as a Prefect task, or take what is there. `label` is what the run is called in Prefect, e.g. "iteration 2"."""
        task = self.task.with_options(
            task_run_name=f"{self.task.name} {label}".rstrip(),
            # A record of Prefect's says only that the work was once done: without its folder it does not count.
            refresh_cache=not self.is_done(**inputs),
        )
        task(**inputs)
        return self.describe(inputs)

    def make(self, **inputs: Any) -> dict[str, Any]:
        """The work itself, without Prefect: nothing where the folder is complete. Returns the artifact as a JSON value."""
        final = self.folder(inputs)
        if is_complete(final):
            return self.describe(inputs).model_dump()
        with paths.lock(final.name):
            if is_complete(final):  # another process made it meanwhile
                return self.describe(inputs).model_dump()
            with atomic_folder(final) as out:
                made = self.body(out, **inputs)
                artifact = Artifact(
                    kind=self.kind,
                    path=(paths.STORE / final.name / made.part).as_posix(),
                    digest=made.digest or folder_digest(out / made.part),
                    counts=dict(made.counts),
                    facts=dict(made.facts),
                )
                known = {"task": self.name, "version": self.version, "inputs": self._identity(inputs), "created_by": PRODUCT}
                write_manifest(out, self.kind, schema=SCHEMA, **known, artifact=artifact.model_dump())
            for folder in made.obsolete:
                shutil.rmtree(folder, ignore_errors=True)
        return self.describe(inputs).model_dump()

    def is_done(self, **inputs: Any) -> bool:
        return is_complete(self.folder(inputs))

    def describe(self, inputs: Mapping[str, Any]) -> Artifact:
        folder = self.folder(inputs)
        return artifact_of(read_manifest(folder), folder)

    def folder(self, inputs: Mapping[str, Any]) -> Path:
        return paths.store() / self.key(inputs)

    def key(self, inputs: Mapping[str, Any]) -> str:
        """The folder's name. Raises TypeError for an input that has no content to go by, such as a path."""
        digest = digest_json({"task": self.name, "version": self.version, "inputs": self._identity(inputs)})
        return f"{self.name.replace('_', '-')}-v{self.version}-{digest[:KEY_DIGITS]}"

    def _identity(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        bound = inspect.signature(self.task.fn).bind(**inputs)
        bound.apply_defaults()
        absent = {name for name, given in bound.signature.parameters.items() if given.default is None and bound.arguments[name] is None}
        found = {name: identity(value) for name, value in bound.arguments.items() if name not in absent}
        for dotted in self.ignore:
            name, _, part = dotted.partition(".")
            (found.get(name, {}) if part else found).pop(part or name, None)
        return found


def forget(artifact: Artifact) -> None:
    """Remove a result from the store, so that its task is done again."""
    shutil.rmtree(paths.store() / Path(artifact.path).relative_to(paths.STORE).parts[0], ignore_errors=True)


def identity(value: Any) -> Any:
    """What of an input counts, as a JSON value: an artifact's content, settings' values, plain values as they are."""
    if isinstance(value, Artifact):
        return {"kind": value.kind, "digest": value.digest}
    if isinstance(value, BaseModel):
        return key_values(value)
    if isinstance(value, Mapping):
        return {str(key): identity(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [identity(entry) for entry in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a task's input must be an Artifact, settings or a plain value, not {type(value).__name__}: its content is its key")


def _without_out(body: Body, make: Callable[..., Any]) -> Callable[..., Any]:
    """A function that does `make` and looks to Prefect like `body`, except for its first parameter."""

    def run(**inputs: Any) -> Any:
        return make(**inputs)

    functools.update_wrapper(run, body)
    signature = inspect.signature(body)
    run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return run
