"""Tiny tasks for the tests of the store: they write a letter, and join what others wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tasks.artifact import Artifact
from tasks.cached_task import CachedTask, TaskOutput, cached_task

Machine = Callable[[str, str], None]
"""`machine(name, url)`: continue in the project of that machine, whose shared store is at the URL ("": none)."""


def letters(ran: list[str], suffix: str = "") -> CachedTask:
    @cached_task("text", version="1")
    def letters(out: Path, *, letter: str) -> TaskOutput:
        ran.append(letter)
        (out / "part").mkdir()
        (out / "part" / "text").write_text(letter + suffix)
        return TaskOutput(subfolder="part", facts={"runs": len(ran)})

    return letters


def joined(ran: list[str]) -> CachedTask:
    @cached_task("text", version="1")
    def joined(out: Path, *, parts: list[Artifact]) -> TaskOutput:
        ran.append("joined")
        (out / "text").write_text("".join((part.folder / "text").read_text() for part in parts))
        return TaskOutput()

    return joined


def compute(task: CachedTask, **inputs: object) -> Artifact:
    return Artifact(**task.compute(**inputs))


def job(ran: list[str]) -> Artifact:
    return compute(joined(ran), parts=[compute(letters(ran), letter=letter) for letter in "ab"])
