"""The costs of the parts of a run, measured on this machine in about two minutes, for benchmarks/scale/simulation.py.

Invariant: every part is the product's own code on a small amount of work, in a process of its own. Seconds are processor seconds, because
other processes may run; so waiting for disks and networks is not in them.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scale import datasets
from benchmarks.scale.simulation import Costs
from benchmarks.scale.task_runs import begin_project, measure_task_runs
from tests.servers.s3 import S3Server

CHUNK, RESULTS, POLICIES = 10, 40, 12
FOLDERS = 20_000
"""So many folders are added to a store to see what each of them costs the next result."""
ROWS = (500, 2500)
HASHED = 128 * 1024**2


def measure(folder: Path, task_runs: int) -> tuple[Costs, list[dict[str, float]]]:
    """The costs, and the curve of Prefect's time per task run over the number of task runs (see `prefect_curve`)."""
    run = datasets.in_own_process
    curve, task_run_bytes, page_row = run(prefect_curve, folder / "prefect", task_runs)
    values = {
        "task_run": median(point["head"] + point["server"] for point in curve),
        "task_run_bytes": task_run_bytes,
        "page_row": page_row,
        **run(store, folder / "store"),
        **run(remote_store, folder / "remote"),
        **run(trajectories, folder / "rows"),
        **run(tracking, folder / "tracking"),
        **run(model, folder / "model"),
    }
    return Costs(**values), curve


def prefect_curve(folder: Path, count: int, points: int = 10) -> tuple[list[dict[str, float]], float, float]:
    """`count` task runs in one flow run (benchmarks/scale/task_runs.py); at least two.

    Returns the curve, a point for each tenth of them: `until` (the number of task runs), and per task run the `head`'s and the `server`'s
    processor seconds and the `wall` seconds; the bytes of Prefect's database per task run; and the seconds of a page per row of its table.
    """
    blocks, seconds_per_row = measure_task_runs(folder, count, max(1, count // points), afterwards=_page_row)
    curve: list[dict[str, float]] = [
        {"until": block.until, "head": block.flow, "server": block.server, "wall": block.wall} for block in blocks
    ]
    size = (blocks[-1].database_bytes - blocks[0].database_bytes) / (blocks[-1].until - blocks[0].until)
    return curve, size, seconds_per_row


def _page_row(clock: Callable[[], float]) -> float:
    """The processor seconds that a row adds to the page of a run."""
    from flows.run_page import RunPage

    page, seconds = RunPage(), []
    scores = {"success": 0.5, "success_low": 0.4, "success_high": 0.6, "n": 100, "errors": 0}
    for rows in (1, 400):
        start = clock()
        page.show_table({f"Iteration {number}": {"maze": scores, "overall": scores} for number in range(rows)})
        seconds.append(clock() - start)
    return max(0.0, seconds[1] - seconds[0]) / 399


def store(folder: Path) -> dict[str, float]:
    """Chunks in `runs/store`."""
    task = chunk_task(_episodes(folder))
    look_up = _per_call(lambda number: task.is_cached(number=number), RESULTS)
    write = _per_call(lambda number: task.compute(number=number), RESULTS)
    for number in range(FOLDERS):
        (folder / "runs" / "store" / f"roll-out-chunk-v3-{number:016x}").mkdir()
    crowded = _per_call(lambda number: task.compute(number=RESULTS + number), RESULTS)
    chunks = [task.read_artifact({"number": number}).folder.parent for number in range(RESULTS)]
    size = sum(file.stat().st_size for chunk in chunks for file in chunk.rglob("*") if file.is_file()) / (RESULTS * CHUNK)
    return {"look_up": look_up, "write": write, "write_per_folder": max(0.0, crowded - write) / FOLDERS, "trajectory_bytes": size}


def remote_store(folder: Path) -> dict[str, Any]:
    """The same chunks at a shared store: an S3 server in another process of this machine."""
    from tasks import paths, shared_store

    task = chunk_task(_episodes(folder / "one"))
    with s3_process() as (variables, count_requests):
        os.environ |= variables
        import botocore.session

        botocore.session.get_session().create_client("s3", endpoint_url=variables["AWS_ENDPOINT_URL"]).create_bucket(Bucket="costs")
        for number in range(RESULTS):
            task.compute(number=number)
        shared_store.use_shared_store("s3://costs/agentevol")
        seconds: list[float] = []
        requests: list[int] = []

        def timed(call: Callable[[int], Any]) -> None:
            before = count_requests()
            seconds.append(_per_call(call, RESULTS))
            requests.append(round((count_requests() - before) / RESULTS))

        timed(lambda number: task.is_cached(number=RESULTS + number))
        timed(lambda number: task.compute(number=number))  # publishes what is there
        assert paths.root() == folder / "one"
        begin_project(folder / "two")
        shared_store.use_shared_store("s3://costs/agentevol")
        timed(lambda number: task.compute(number=number))
    names = ("remote_look_up", "remote_write", "remote_read")
    return {**dict(zip(names, seconds, strict=True)), "remote_requests": tuple(requests)}


def trajectories(folder: Path) -> dict[str, float]:
    """The steps of benchmarks/scale/datasets.py, from the difference of two sizes; `write` stands for the joining of chunks."""
    sizes = list(ROWS)
    datasets.in_own_process(datasets.write_inputs, folder, sizes)
    seconds = []
    for size in sizes:
        names = ("filter", "merge", "gate", "tokenise", "write")  # each but the last one writes the input of the next
        seconds.append(sum(datasets.in_own_process(datasets.measure, folder / str(size), name)["cpu"] for name in names))
    return {"trajectory": (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])}


def tracking(folder: Path) -> dict[str, float]:
    """MLflow's record of policies with their scores, costs, datasets and twenty episodes."""
    from agentevol.data.dataset import write_dataset
    from agentevol.settings.schema import Params
    from tasks.mlflow_run import RunTracker
    from tests.tasks.test_mlflow_run import BASE, EPISODES, PROVENANCE, policy_record

    begin_project(folder)
    write_dataset(folder / "episodes", EPISODES * 5, {})
    with RunTracker(Params(), BASE, PROVENANCE) as tracker:
        tracker.log_policy(policy_record("bc-base", 0))
        before = _size(folder, "mlflow.db*")
        spent = _per_call(lambda number: tracker.log_policy(policy_record(f"iteration-{number + 1}", number + 1)), POLICIES)
    return {"policy": spent, "policy_bytes": (_size(folder, "mlflow.db*") - before) / POLICIES}


def model(folder: Path) -> dict[str, float]:
    """An engine for the embedded base model, and the rate of SHA-256."""
    from agentevol.data.artifact_folder import sha256_file
    from agentevol.rollout.engines.factory import create_engine

    folder.mkdir(parents=True)
    create_engine(datasets.BASE, None, num_slots=2, context_length=512)  # imports
    engine = _per_call(lambda _: create_engine(datasets.BASE, None, num_slots=2, context_length=512), 3)
    (folder / "weights").write_bytes(bytes(HASHED))
    return {"engine": engine, "hash_bytes": HASHED / _per_call(lambda _: sha256_file(folder / "weights"), 3)}


def chunk_task(episodes: list[Any]) -> Any:
    """A task whose result is a chunk of CHUNK episodes, without playing them."""
    from agentevol.data.dataset import write_dataset
    from tasks.cached_task import TaskOutput, cached_task

    @cached_task("trajectories", version="1")
    def chunk(out: Path, *, number: int) -> TaskOutput:
        rows = [episodes[(number * CHUNK + row) % len(episodes)] for row in range(CHUNK)]
        dataset = write_dataset(out / "dataset", rows, {"chunk": str(number)}, with_times=True)
        return TaskOutput(dataset.digest, "dataset", dataset.counts)

    return chunk


@contextmanager
def s3_process() -> Iterator[tuple[dict[str, str], Callable[[], int]]]:
    """An S3 server in a process of its own: the variables for its clients, and a function that returns the number of requests so far."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve_s3, args=(there,), daemon=True)
    process.start()

    def count_requests() -> int:
        here.send("count")
        return int(here.recv())

    try:
        yield here.recv(), count_requests
    finally:
        process.terminate()
        process.join()


def _serve_s3(connection: Any) -> None:
    server = S3Server()
    connection.send(server.variables())
    while connection.recv():
        connection.send(len(server.requests))


def _episodes(folder: Path) -> list[Any]:
    begin_project(folder)
    return datasets.expert_episodes(CHUNK)


def _per_call(call: Callable[[int], Any], count: int) -> float:
    """The median of the processor seconds of `count` calls."""
    spent = []
    for number in range(count):
        start = time.process_time()
        call(number)
        spent.append(time.process_time() - start)
    return median(spent)


def _size(folder: Path, pattern: str) -> int:
    return sum(file.stat().st_size for file in folder.glob(pattern))
