"""Results are cached by content: computed once, and again only if they are missing or damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agentevol.settings.filter import DEFAULT_FILTER, FilterParams
from agentevol.settings.rollout import RolloutParams
from tasks.artifact import Artifact
from tasks.cached_task import CachedTask, TaskOutput, cached_task
from tests.tasks.sharing import joined

pytestmark = pytest.mark.usefixtures("prefect_api", "project")


def letters(ran: list[str], version: str = "1") -> CachedTask:
    @cached_task("text", version=version)
    def letters(out: Path, *, letter: str, times: int = 1) -> TaskOutput:
        ran.append(letter)
        (out / "text").write_text(letter * times)
        return TaskOutput(facts={"length": times})

    return letters


def test_a_result_is_computed_once() -> None:
    ran: list[str] = []
    task = letters(ran)
    first, second = task(letter="a", times=3), task(letter="a", times=3)
    assert ran == ["a"]
    assert first == second
    assert first.facts == {"length": 3}
    assert (first.folder / "text").read_text() == "aaa"


def test_only_a_deleted_output_is_computed_again() -> None:
    ran: list[str] = []
    make, join = letters(ran), joined(ran)
    parts = [make(letter="a"), make(letter="b")]
    whole = join(parts=parts)
    shutil.rmtree(parts[1].folder)
    ran.clear()
    again = [make(letter="a"), make(letter="b")]
    assert join(parts=again) == whole
    assert ran == ["b"]


def test_a_damaged_output_is_computed_again() -> None:
    ran: list[str] = []
    task = letters(ran)
    artifact = task(letter="a")
    (artifact.folder / "text").write_text("x")
    assert (task(letter="a").folder / "text").read_text() == "a"
    assert ran == ["a", "a"]


def test_a_result_is_reused_if_prefect_has_no_record_of_it() -> None:
    ran: list[str] = []
    task = letters(ran)
    task.compute(letter="a")  # the process was killed before Prefect recorded the result
    task(letter="a")
    assert ran == ["a"]


def test_the_key_depends_on_name_version_and_content() -> None:
    task = letters([])
    assert task.key({"letter": "a"}) == task.key({"letter": "a", "times": 1})
    assert task.key({"letter": "a"}) != task.key({"letter": "b"})
    assert task.key({"letter": "a"}) != letters([], version="2").key({"letter": "a"})
    here, there = (Artifact(kind="text", path=path, digest="d", facts={"seconds": path}) for path in ("here", "there"))
    assert joined([]).key({"parts": [here]}) == joined([]).key({"parts": [there]})
    assert joined([]).key({"parts": [here]}) != joined([]).key({"parts": [here.model_copy(update={"digest": "e"})]})


def test_an_input_that_is_added_later_leaves_the_key_as_it_was_while_it_has_its_default() -> None:
    def earlier() -> CachedTask:
        @cached_task("text", version="1")
        def work(out: Path, *, letter: str) -> TaskOutput:
            return TaskOutput()

        return work

    @cached_task("text", version="1")
    def work(out: Path, *, letter: str, settings: FilterParams = DEFAULT_FILTER, copies: bool = True) -> TaskOutput:
        return TaskOutput()

    key = earlier().key({"letter": "a"})
    assert work.key({"letter": "a"}) == work.key({"letter": "a", "settings": FilterParams(), "copies": True}) == key
    assert work.key({"letter": "a", "copies": False}) != key
    assert work.key({"letter": "a", "settings": FilterParams(keep="all")}) != key


def test_comments_and_refactoring_do_not_change_the_key() -> None:
    def original() -> CachedTask:
        @cached_task("text", version="1")
        def work(out: Path, *, letter: str) -> TaskOutput:
            (out / "text").write_text(letter)
            return TaskOutput()

        return work

    def refactored() -> CachedTask:
        @cached_task("text", version="1")
        def work(out: Path, *, letter: str) -> TaskOutput:
            # The same in other words.
            path = out / "text"
            path.write_text(letter)
            return TaskOutput()

        return work

    assert original()(letter="a") == refactored()(letter="a")
    assert original().key({"letter": "a"}) == refactored().key({"letter": "a"})


def test_inputs_that_cannot_change_the_result_can_be_ignored() -> None:
    @cached_task("text", version="1", ignore=("label_only", "settings.max_new_tokens"))
    def work(out: Path, *, settings: RolloutParams, label_only: str) -> TaskOutput:
        return TaskOutput()

    key = work.key({"settings": RolloutParams(max_retries=1), "label_only": "x"})
    assert key == work.key({"settings": RolloutParams(max_retries=3, max_new_tokens=5), "label_only": "y"})
    assert key != work.key({"settings": RolloutParams(concurrency=3), "label_only": "x"})


def test_an_optional_input_that_is_not_given_does_not_change_the_key() -> None:
    @cached_task("text", version="1")
    def work(out: Path, *, letter: str) -> TaskOutput:
        return TaskOutput()

    key = work.key({"letter": "a"})

    @cached_task("text", version="1")  # type: ignore[no-redef]
    def work(out: Path, *, letter: str, settings: RolloutParams | None = None) -> TaskOutput:
        return TaskOutput()

    assert work.key({"letter": "a"}) == work.key({"letter": "a", "settings": None}) == key
    assert work.key({"letter": "a", "settings": RolloutParams()}) != key
    assert work.key({"letter": "a", "settings": RolloutParams(max_retries=1)}) == work.key(
        {"letter": "a", "settings": RolloutParams(max_retries=4)}
    )


def test_an_input_without_content_is_rejected() -> None:
    with pytest.raises(TypeError, match="an Artifact, settings or a plain value, not PosixPath"):
        letters([]).key({"letter": Path("a")})


def test_a_failing_body_stores_nothing(project: Path) -> None:
    @cached_task("text", version="1")
    def fails(out: Path, *, letter: str) -> TaskOutput:
        (out / "text").write_text(letter)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails(letter="a")
    assert not any((project / "runs" / "store").iterdir())


def test_obsolete_folders_are_removed_once_the_result_is_stored(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    checkpoint_existed: list[bool] = []

    @cached_task("text", version="1")
    def train(out: Path, *, fail: bool) -> TaskOutput:
        if fail:
            raise RuntimeError("the disk is full")
        checkpoint_existed.append(checkpoint.exists())
        return TaskOutput(obsolete=[checkpoint])

    with pytest.raises(RuntimeError):
        train(fail=True)
    assert checkpoint.exists()
    train(fail=False)
    assert checkpoint_existed == [True]
    assert not checkpoint.exists()
