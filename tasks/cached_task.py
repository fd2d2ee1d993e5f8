"""Tasks whose results are cached by the content of their inputs, and computed again only if they are missing or damaged.

Invariant: a result is stored in `runs/store/<task>-v<version>-<16 hex digits of the key>/`. The key covers the task's name, its explicit
version and the content of its inputs. The folder is complete or absent. Prefect's cache comes on top; only the folder counts. Where the run
has a shared store (tasks/shared_store.py), a missing folder is fetched from there, and every folder is copied there.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import Task
from pydantic import BaseModel

from agentevol.data.artifact_folder import atomic_folder, folder_digest, is_complete, read_manifest, write_manifest
from agentevol.settings.effects import key_values
from tasks import paths, shared_store
from tasks.artifact import PRODUCT, SCHEMA, Artifact, artifact_of, store_key
from tasks.locks import try_lock


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """The output of a task's body in its folder: the subfolder that is the result (`.` for all of it), and its description.

    `obsolete`: folders elsewhere that are needed after a kill, and useless once this result is stored.
    """

    digest: str | None = None
    subfolder: str = "."
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    obsolete: Sequence[Path] = ()


TaskBody = Callable[..., TaskOutput]


def cached_task(kind: str, *, version: str, ignore: tuple[str, ...] = ()) -> Callable[[TaskBody], CachedTask]:
    """Turn `body(out, *, ...) -> TaskOutput`, which writes into the folder `out`, into a Prefect task. The task is called without `out`
    and returns an Artifact.

    `version` is raised by hand when the body's meaning changes: comments and refactorings then cost nothing. Settings count by what
    their fields can change (agentevol/settings/effects.py). `ignore` names inputs, or fields of them ("settings.epochs"), that another
    input states instead. An input counts only where it differs from its default.
    """
    return lambda body: CachedTask(body, kind, version, ignore)


class CachedTask:
    """A task body, its Prefect task and its cache key."""

    def __init__(self, body: TaskBody, kind: str, version: str, ignore: tuple[str, ...]) -> None:
        self.body, self.kind, self.version, self.ignore = body, kind, version, ignore
        self.name = body.__name__
        self.task: Task[..., Any] = Task(
            _without_out(body, self.compute),
            name=self.name.replace("_", "-"),
            version=version,
            description=inspect.getdoc(body),
            cache_key_fn=lambda _, arguments: self.key(arguments),
            persist_result=True,
            result_serializer="json",
        )
        functools.update_wrapper(self, body)

    def __call__(self, *, label: str = "", **inputs: Any) -> Artifact:
        """Run as a Prefect task, or return the stored result. `label` is shown in the name of the task run, e.g. "iteration 2"."""
        task = self.task.with_options(
            task_run_name=f"{self.task.name} {label}".rstrip(),
            # Prefect's cache record only says that the task once ran; it does not count without the folder.
            refresh_cache=not is_complete(self.folder(inputs)),
        )
        task(**inputs)
        return self._publish(inputs)

    def compute(self, **inputs: Any) -> dict[str, Any]:
        """Run the body without Prefect, unless the result is here or in the shared store. Returns the artifact as a JSON value."""
        if not is_complete(self.folder(inputs)):
            self._compute(inputs)
        return self._publish(inputs).model_dump()

    def _compute(self, inputs: Mapping[str, Any]) -> None:
        final = self.folder(inputs)
        with paths.lock(final.name):
            if is_complete(final) or shared_store.fetch(final.name):  # another process or machine computed it
                return
            with atomic_folder(final) as out:
                output = self.body(out, **inputs)
                artifact = Artifact(
                    kind=self.kind,
                    path=(paths.STORE / final.name / output.subfolder).as_posix(),
                    digest=output.digest or folder_digest(out / output.subfolder),
                    counts=dict(output.counts),
                    facts=dict(output.facts),
                )
                origin = {"task": self.name, "version": self.version, "inputs": self._identity(inputs), "created_by": PRODUCT}
                write_manifest(out, self.kind, schema=SCHEMA, **origin, artifact=artifact.model_dump())
            for folder in output.obsolete:
                shutil.rmtree(folder, ignore_errors=True)

    def _publish(self, inputs: Mapping[str, Any]) -> Artifact:
        artifact, folder = self.read_artifact(inputs), self.folder(inputs)
        with contextlib.suppress(OSError):  # of another user
            os.utime(folder)  # its last use: `agentevol data gc` goes by it
        shared_store.publish(folder, artifact.digest)
        return artifact

    def is_stored(self, **inputs: Any) -> bool:
        """Whether the result exists here. Does not wait for another process that computes it."""
        return is_complete(self.folder(inputs))

    def is_cached(self, **inputs: Any) -> bool:
        """Whether the result exists, here or in the shared store; it is then here."""
        final = self.folder(inputs)
        if is_complete(final):
            return True
        with paths.lock(final.name):
            return is_complete(final) or shared_store.fetch(final.name)

    def are_cached(self, calls: Sequence[Mapping[str, Any]]) -> list[bool]:
        """`is_cached` for each of those inputs; several at a time where there is a shared store."""
        return shared_store.look_up_each(lambda inputs: self.is_cached(**inputs), calls)

    def is_being_computed(self, **inputs: Any) -> bool:
        """Whether another process that sees this folder computes the result now. Does not wait for it."""
        lock = try_lock(self.folder(inputs).name)
        if lock is not None:
            lock.release()
        return lock is None

    def read_artifact(self, inputs: Mapping[str, Any]) -> Artifact:
        """The description of the stored result. Raises IncompleteFolder, IncompatibleSchema."""
        folder = self.folder(inputs)
        return artifact_of(read_manifest(folder), folder)

    def folder(self, inputs: Mapping[str, Any]) -> Path:
        return paths.store() / self.key(inputs)

    def key(self, inputs: Mapping[str, Any]) -> str:
        """The folder's name. Raises TypeError for an input without content, such as a path."""
        return store_key(self.name, self.version, self._identity(inputs))

    def _identity(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        bound = inspect.signature(self.task.fn).bind(**inputs)
        bound.apply_defaults()
        defaults = {name: parameter.default for name, parameter in bound.signature.parameters.items()}
        found = {name: identity(value) for name, value in bound.arguments.items() if value != defaults[name]}
        for dotted in self.ignore:
            name, _, part = dotted.partition(".")
            (found.get(name, {}) if part else found).pop(part or name, None)
        return found


def identity(value: Any) -> Any:
    """The part of an input that belongs in the key, as a JSON value: an artifact's content, settings' values, plain values as they are."""
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


def _without_out(body: TaskBody, compute: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls `compute` and has the signature of `body` without its first parameter, which Prefect reads."""

    def run(**inputs: Any) -> Any:
        return compute(**inputs)

    functools.update_wrapper(run, body)
    signature = inspect.signature(body)
    run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return run
