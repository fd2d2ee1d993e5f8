"""The computed run of benchmarks/scale: what is done by one node, by all of them, and by the head."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.scale import costs, run
from benchmarks.scale.simulation import DATA_TASKS, Costs, Workload, simulate, sizes, total_seconds

COSTS = Costs(
    task_run=0.1, task_run_bytes=100, look_up=0.01, write=0.02, write_per_folder=0.001, remote_look_up=0.1, remote_write=0.6,
    remote_read=0.3, remote_requests=(1, 6, 3), trajectory=0.5, trajectory_bytes=10, policy=3.0, policy_bytes=7, page_row=0.25, engine=1.0,
    hash_bytes=10.0,
)  # fmt: skip
WORK = Workload(
    nodes=2, iterations=3, trajectories=60, evaluated=10, chunk_size=5, episode=2.0, model_bytes=20.0, shared=False, latency=0.5, at_once=5,
    node_bytes=4.0, store_bytes=4.0, load_bytes=5.0,
)  # fmt: skip


def test_nodes_play_at_the_same_time_and_the_head_works_through_one_chunk_after_the_other() -> None:
    found = simulate(COSTS, WORK, 1)
    load = 1.0 + 20.0 * (1 / 10.0 + 1 / 5.0)
    chunk = load + 5 * 2.0 + 0.01 + 0.02
    fetch = 20.0 / (4.0 / 2)  # both nodes at once
    assert found.playing == pytest.approx((fetch + chunk) + 2 * chunk)  # two chunks are evaluated, then four explored
    assert found.look_ups == pytest.approx(2 * 6 * 0.01)
    assert found.collecting == pytest.approx(6 * 0.01)
    assert found.task_runs == pytest.approx((6 + DATA_TASKS) * 0.1)
    assert found.data == pytest.approx(30 * 0.5)
    assert found.busy == pytest.approx(30 * 2.0)
    many = simulate(COSTS, replace(WORK, nodes=100, store_bytes=1000.0), 1)
    assert many.playing < found.playing
    assert (many.look_ups, many.collecting, many.task_runs) == (found.look_ups, found.collecting, found.task_runs)


def test_what_the_store_holds_already_makes_later_iterations_slower() -> None:
    first, last = simulate(COSTS, WORK, 1), simulate(COSTS, WORK, 3)
    folders = 2 * (6 + DATA_TASKS)
    assert last.playing - first.playing == pytest.approx(3 * 0.001 * folders)  # three chunks for each node
    assert last.tracking - first.tracking == pytest.approx(2 * 0.25)
    assert total_seconds(COSTS, WORK) == pytest.approx(sum(simulate(COSTS, WORK, number).seconds for number in (1, 2, 3)))


def test_with_a_shared_store_nodes_and_head_wait_for_its_requests() -> None:
    here, shared = simulate(COSTS, WORK, 3), simulate(COSTS, replace(WORK, shared=True), 3)
    folders = 2 * (6 + DATA_TASKS)
    assert shared.look_ups - here.look_ups == pytest.approx(2 * 6 * (0.1 + 1 * 0.5 / 5))
    assert shared.collecting == pytest.approx(6 * (0.3 + 3 * 0.5 / 5 + 0.001 * folders))
    assert shared.playing - here.playing == pytest.approx(3 * (0.1 + 0.6 + 7 * 0.5 - 0.001 * folders))


def test_the_sizes_are_those_of_all_iterations() -> None:
    found = sizes(COSTS, replace(WORK, shared=True))
    assert found["results in the store"] == 3 * (6 + DATA_TASKS)
    assert found["bytes of chunks"] == (60 + 30) * 10
    assert found["bytes of policies"] == 3 * 20
    assert found["requests to S3"] == 18 * (3 + 6 + 3) + 6 * 3


def test_what_is_measured_is_all_that_the_computation_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {
        "prefect_curve": ([{"until": 2, "head": 0.3, "server": 0.1, "wall": 0.9}], 5.0, 0.25),
        "store": {"look_up": 1.0, "write": 2.0, "write_per_folder": 3.0, "trajectory_bytes": 4.0},
        "remote_store": {"remote_look_up": 1.0, "remote_write": 2.0, "remote_read": 3.0, "remote_requests": (1, 6, 3)},
        "trajectories": {"trajectory": 1.0},
        "tracking": {"policy": 1.0, "policy_bytes": 2.0},
        "model": {"engine": 1.0, "hash_bytes": 2.0},
    }
    monkeypatch.setattr(costs.datasets, "in_own_process", lambda part, *_: parts[part.__name__])
    found, curve = costs.measure(tmp_path, 2)
    assert (found.task_run, found.task_run_bytes, found.page_row) == (0.4, 5.0, 0.25)
    saved = tmp_path / "costs.json"
    saved.write_text(json.dumps({"when": "now", "machine": "this", "costs": asdict(found), "curve": curve}))
    monkeypatch.setattr("sys.argv", ["run", "--costs", str(saved)])
    run.main()
    printed = capsys.readouterr().out
    assert printed.startswith("measured now, this\n")
    assert "| remote_requests | 1, 6, 3 |" in printed
    assert "| 2 | 300 ms | 100 ms | 900 ms |" in printed
