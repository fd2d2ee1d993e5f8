"""The gate stops each planted defect, and its message names the rows, the problem and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from agentevol.data.experts import play_expert
from agentevol.data.schema_check import schema_error
from agentevol.data.trajectory import COLUMNS, TEXT_ONLY, Column, Message, Trajectory
from agentevol.gate.gate import GateFailed, GateReport, check_dataset
from agentevol.settings.gate import GateParams
from tests.agentevol.counting import Counting, play_counting

pytestmark = pytest.mark.usefixtures("counting")


def expert_set() -> list[Trajectory]:
    return [play_expert("counting", item) for item in Counting.instructions("train")]


def check(trajectories: Sequence[Trajectory], **changes: object) -> GateReport:
    arguments = {"evaluation": Counting.instructions("eval"), "settings": GateParams(), **changes}
    return check_dataset(trajectories, **arguments)  # type: ignore[arg-type]


def only_finding(report: GateReport, name: str) -> str:
    assert [finding.check for finding in report.findings] == [name]
    return str(report.findings[0])


def test_sound_sets_pass_and_the_report_lists_the_checks() -> None:
    report = check(expert_set(), expert=True, token_count=lambda trajectory: 10, required_environments=["counting"])
    assert report.passed
    report.raise_if_failed()
    assert set(report.checks) >= {
        "schema",
        "roles",
        "reward, lowest",
        "success",
        "evaluation by id",
        "duplicates",
        "length",
        "replay",
        "coverage",
    }
    assert sum(report.checks.values()) == 0
    assert "# Gate: passed" in report.markdown()


def test_explored_data_passes_too() -> None:
    assert check([play_counting(4, ["5"]), play_counting(4, ["8", "5"], sample=1), play_counting(5, ["6", "7"])]).passed


def test_an_instruction_of_the_benchmark_is_stopped() -> None:
    report = check([*expert_set(), play_counting(1, ["2", "3"])])
    assert [finding.check for finding in report.findings] == ["evaluation by id", "evaluation by text"]
    assert report.findings[0].rows == ["counting_1 (iteration 1, sample 0)"]
    with pytest.raises(
        GateFailed, match=r"of 5 trajectories(.|\n)*belongs to AgentEval \(1 row: counting_1 .*What to do: remove these rows"
    ):
        report.raise_if_failed()


def test_an_instruction_of_the_validation_split_is_stopped() -> None:
    rows = [play_counting(4, ["5"]), play_counting(5, ["6", "7"])]
    report = check(rows, validation=[Counting.instruction("counting_5")])
    assert [(finding.check, finding.rows) for finding in report.findings] == [
        ("validation by id", ["counting_5 (iteration 1, sample 0)"]),
        ("validation by text", ["counting_5 (iteration 1, sample 0)"]),
    ]
    assert check(rows, validation=[Counting.instruction("counting_6")]).passed
    assert "validation by id" not in check(rows).checks


def test_a_benchmark_problem_under_another_id_is_stopped() -> None:
    planted = play_counting(1, ["2", "3"], item_id="counting_4")
    message = only_finding(check([*expert_set()[:2], planted]), "evaluation by opening")
    assert "counting_4 (iteration 1, sample 0)" in message
    assert "opens an episode of AgentEval" in message


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"reward": 1.5}, "reward, highest", "above the environment's range"),
        ({"reward": -0.5, "success": False}, "reward, lowest", "below the environment's range"),
        ({"success": False}, "success", "does not agree with the environment's rule"),
        ({"reward": float("nan")}, "schema", "does not fit the schema"),
        ({"reward": "1"}, "schema", "does not fit the schema: reward is '1'"),
        ({"token_ids": [1, 2], "loss_mask": [True]}, "schema", "does not fit the schema"),
        ({"status": "error", "error": "gone"}, "status", "an error ended the episode"),
        ({"item_id": "counting_99"}, "instruction", "no such instruction"),
        ({"env": "chess"}, "environment", "no such environment"),
        ({"messages": [Message("user", "a"), Message("user", "b"), Message("assistant", "c", True)]}, "roles", "do not alternate"),
        ({"messages": [Message("assistant", "c", True)]}, "roles", "do not alternate"),
        ({"messages": [Message("user", "a"), Message("assistant", "c", False)]}, "loss", "nothing to learn"),
    ],
)
def test_a_planted_defect_is_named_with_its_row(changes: dict[str, object], name: str, words: str) -> None:
    bad = play_counting(4, ["5"], **changes)
    report = check([play_counting(5, ["6", "7"]), bad])
    message = only_finding(report, name)
    assert words in message
    assert f"(1 row: {bad.item_id} (iteration 1, sample 0))" in message
    assert "What to do: " in message


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_the_type_of_every_column_is_checked(column: Column) -> None:
    assert str(schema_error(play_counting(4, ["5"], **{column.name: object()}))).startswith(f"{column.name} is <object")
    assert (schema_error(play_counting(4, ["5"], **{column.name: None})) is None) == column.optional


def test_every_row_that_does_not_fit_the_schema_is_stopped() -> None:
    required = [column.name for column in COLUMNS if not column.optional]
    wrong = [play_counting(4, ["5"], **{column.name: object()}) for column in COLUMNS]
    missing = [play_counting(4, ["5"], **{name: None}) for name in required]
    sound = [play_counting(5, ["6", "7"]), play_counting(4, ["5"], **{column.name: None for column in COLUMNS if column.optional})]
    report = check([sound[0], *wrong, *missing, sound[1]])
    message = only_finding(report, "schema")
    assert f"a field does not fit the schema: {COLUMNS[0].name} is <object" in message
    assert report.findings[0].count == len(wrong) + len(missing)
    assert check(sound).passed


def test_duplicates_are_all_named() -> None:
    report = check([play_counting(4, ["5"]), play_counting(5, ["6", "7"]), play_counting(4, ["5"], sample=3)])
    only_finding(report, "duplicates")
    assert report.findings[0].rows == ["counting_4 (iteration 1, sample 0)", "counting_4 (iteration 1, sample 3)"]
    report = check([play_counting(4, ["5"]), play_counting(4, ["5"], sample=3)], allow_duplicates=True)
    assert report.passed
    assert report.skipped == {"duplicates": "filter.deduplicate is false", "length": "no tokenizer was given"}


def test_what_does_not_fit_the_context_is_named() -> None:
    rows = [play_counting(4, ["5"]), play_counting(5, ["6", "7"])]
    report = check(rows, settings=GateParams(max_tokens=3), token_count=lambda trajectory: len(trajectory.messages))
    assert "more tokens than gate.max_tokens (1 row: counting_5" in only_finding(report, "length")
    assert check(rows).skipped == {"length": "no tokenizer was given"}


def test_a_set_can_be_an_iterator_and_the_replayed_sample_does_not_depend_on_its_order() -> None:
    rows = [*expert_set(), *(play_expert("counting", item) for item in Counting.instructions("train_large")[4:])]
    rows[2].messages[2].content = "You are elsewhere."
    assert only_finding(check(iter(rows), expert=True), "replay") == only_finding(check(rows[::-1], expert=True), "replay")


@pytest.mark.parametrize(
    ("index", "text", "words"),
    [
        (1, "Thought: so\nAction: 7", "message 2: 'You are at"),
        (2, "You are elsewhere.", "message 2: 'You are elsewhere.' is recorded"),
        (0, "Another prompt", "message 0: 'Another prompt' is recorded"),
    ],
)
def test_an_expert_episode_that_does_not_replay_is_stopped(index: int, text: str, words: str) -> None:
    rows = expert_set()
    rows[1].messages[index].content = text
    message = only_finding(check(rows, expert=True), "replay")
    assert rows[1].item_id in message
    assert words in message
    assert check(rows).passed


def test_a_recorded_number_of_rounds_must_replay() -> None:
    rows = expert_set()
    rows[0].rounds = 9
    assert "9 rounds are recorded" in only_finding(check(rows, expert=True, settings=GateParams(replay="all")), "replay")
    assert check(rows, expert=True, settings=GateParams(replay="none")).skipped["replay"] == "gate.replay is none"


def test_coverage_is_reported_per_difficulty_and_blocks_below_the_minimum() -> None:
    report = check([play_counting(4, ["5"]), play_counting(5, ["6", "7"])])
    assert [(part.difficulty, part.instructions, part.covered) for part in report.coverage] == [("easy", 4, 1), ("hard", 5, 1)]
    blocked = check([play_counting(4, ["5"])], settings=GateParams(min_coverage=0.2))
    assert "counting, hard: 0 of 5 covered, below 0.2" in only_finding(blocked, "coverage")


def test_an_expert_set_must_reach_every_environment_of_the_run() -> None:
    report = check(expert_set(), expert=True, required_environments=["counting", "maze"])
    assert "there is no trajectory of maze" in only_finding(report, "coverage")


def test_an_empty_set_is_stopped() -> None:
    assert "the set is empty" in only_finding(check([]), "rows")


def test_a_failed_report_as_a_page() -> None:
    page = check([play_counting(4, ["5"], reward=1.5)]).markdown()
    assert "# Gate: **failed**" in page
    assert "| reward, highest | 1 |" in page
    assert "| counting | hard | 5 | 0 | 0 % |" in page


def text_only(first: str, **changes: object) -> Trajectory:
    """A conversation of another project, as `agentevol data import` marks it."""
    trajectory = play_counting(4, ["5"], env=TEXT_ONLY, item_id="agentinstruct/os_3", task_type="agentinstruct", reward=0.3, **changes)
    return replace(trajectory, messages=[Message("user", first), Message("assistant", "Ok.", True)])


def test_a_conversation_without_an_environment_passes_as_text_only() -> None:
    report = check([*expert_set(), text_only("List the files.")], expert=True, required_environments=["counting"])
    assert report.passed
    assert {part.env for part in report.coverage} == {"counting"}  # it covers no instruction


def test_a_conversation_without_an_environment_must_not_be_one_of_the_benchmark() -> None:
    opening = Counting.instructions("eval")[0].text
    assert "counting_" not in opening
    message = only_finding(check([text_only(f"You count. {opening}")]), "evaluation by opening")
    assert "agentinstruct/os_3" in message


def test_a_row_of_an_unknown_environment_that_is_not_marked_is_stopped() -> None:
    assert "agentevol data import" in only_finding(
        check([text_only("?"), replace(text_only("?"), env="elsewhere", sample=1, item_id="x_1")]), "environment"
    )
