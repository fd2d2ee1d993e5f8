"""Trajectories of other projects are imported, pass the gate as text only, and are learned from together with the expert set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentevol.data.action_format import format_of
from agentevol.data.dataset import read_dataset, write_dataset
from agentevol.data.experts import play_expert
from agentevol.data.trajectory import TEXT_ONLY, Message
from agentevol.settings.load import SettingsError, load_params
from flows.cli.main import app
from flows.datasets import load_datasets
from flows.pipeline import Pipeline
from tests.flows.tiny import Pushing

ROWS = [
    {"messages": [{"role": "user", "content": f"Say {word}."}, {"role": "assistant", "content": word}], "id": word} for word in ("a", "b")
]


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["data", *arguments])
    return result.exit_code, result.output


@pytest.fixture
def tiny(tiny_project: Path) -> Path:
    (tiny_project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tiny_project


def test_an_imported_set_is_learned_from_together_with_the_expert_set(tiny: Path) -> None:
    code, output = invoke("import", "rows.jsonl", "--as", "messages", "--out", "imported")
    assert code == 0, output
    assert "2 text only: they name no instruction of an environment" in output
    sampled = read_dataset(tiny / "imported")
    sampled[0].token_ids, sampled[0].loss_mask = [5, 6], [False, True]  # as another model's exploration would have them
    write_dataset(tiny / "imported", sampled, {})

    plain = load_datasets(load_params())
    pipeline = Pipeline(load_params(overrides=["data.extra=[imported]"]))
    pipeline.check_expert_set("agenttraj")
    assert f"{plain.agenttraj.rows + 2} trajectories" in pipeline.gate.reports["AgentTraj"]
    merged = pipeline.merge([])
    assert merged.counts == {**plain.agenttraj.counts, TEXT_ONLY: 2}
    rows = read_dataset(merged.folder)
    assert [row.item_id for row in rows][-2:] == ["messages/a", "messages/b"]
    assert all(row.token_ids is None for row in rows)
    assert pipeline.datasets.agenttraj_l.rows == plain.agenttraj_l.rows + 2
    assert (pipeline.datasets.validation.digest, pipeline.datasets.explore.digest) == (plain.validation.digest, plain.explore.digest)


def test_further_trajectories_get_the_action_format_of_the_run(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    played = [play_expert("pushing", item, "explore") for item in Pushing.instructions("explore")[-3:]]
    free_text = replace(played[1], messages=[played[1].messages[0], Message("assistant", "I push.", True), *played[1].messages[2:]])
    imported = replace(played[0], item_id="messages/a", env=TEXT_ONLY)
    write_dataset(tiny / "more", [played[0], free_text, played[2], imported], {})

    data = load_datasets(load_params(overrides=["agent.format=code", "data.extra=[more]"]))
    rows = {row.item_id: row for row in read_dataset(data.agenttraj.folder)}
    assert all(format_of(row.messages) == "code" for row in rows.values() if row.env == "pushing")
    assert free_text.item_id not in rows
    assert rows["messages/a"].messages == imported.messages
    output = " ".join(capsys.readouterr().err.split())
    assert "1 of 4 trajectories of more are text only, without functions, and stay as they are" in output
    assert (
        "1 of 4 trajectories of more cannot be written as code (agent.format) and are left out:"
        f" {free_text.item_id}: the answer 'I push.' cannot be written as code without loss"
    ) in output

    write_dataset(tiny / "as-code", [rows[episode.item_id] for episode in (played[0], played[2])], {})
    load_datasets(load_params(overrides=["agent.format=code", "data.extra=[as-code]"]))
    back = load_datasets(load_params(overrides=["data.extra=[as-code]"]))
    rows = {row.item_id: row for row in read_dataset(back.agenttraj.folder)}
    assert [rows[episode.item_id].messages for episode in (played[0], played[2])] == [played[0].messages, played[2].messages]
    assert len(list(tiny.glob("runs/store/convert-extra-*"))) == 2, "a set in the run's format is used as it is"


def test_a_folder_that_is_no_dataset_of_trajectories_is_refused(tiny: Path) -> None:
    with pytest.raises(SettingsError, match=r"data\.extra: rows\.jsonl given; allowed: folders that `agentevol data import`"):
        load_datasets(load_params(overrides=["data.extra=[rows.jsonl]"]))


def test_a_file_with_a_bad_row_leaves_nothing_behind(tiny: Path) -> None:
    (tiny / "rows.jsonl").write_text(json.dumps(ROWS[0]) + '\n{"messages": 3}\n')
    before = sorted(tiny.iterdir())
    code, output = invoke("import", "rows.jsonl", "--as", "messages", "--out", "imported")
    assert code == 1
    assert output == "agentevol: rows.jsonl: row 2: messages: 3 given; allowed: a list of messages that is not empty\n"
    assert sorted(tiny.iterdir()) == before


def test_long_rows_are_left_out_and_an_import_of_none_is_refused(tiny: Path) -> None:
    code, output = invoke("import", "rows.jsonl", "--as", "messages", "--out", "imported", "--max-tokens", "5")
    assert (code, output) == (1, "agentevol: rows.jsonl: no trajectory to import (2 rows: more than 5 tokens)\n")


def test_a_dataset_is_exported_and_imported_again(tiny: Path) -> None:
    assert invoke("import", "rows.jsonl", "--as", "messages", "--out", "imported")[0] == 0
    assert invoke("export", "imported", "--as", "xlam", "--out", "out.parquet") == (0, "out.parquet: 2 rows\n")
    assert invoke("import", "out.parquet", "--as", "xlam", "--out", "again")[0] == 0
    assert read_dataset(tiny / "again") == read_dataset(tiny / "imported")
    code, output = invoke("export", "imported", "--as", "xlam", "--out", "out.parquet")
    assert (code, output) == (1, "agentevol: out.parquet already exists: give another --out\n")
