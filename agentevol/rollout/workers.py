"""A pool of worker processes for rollouts, each with one processor thread, and where there are several GPUs with one of them.

On a CPU, generating one token of a small model is too little work for two threads: waking the second thread costs more than it saves. Two
processes do not wait for each other. Invariant: results come in the order of the shards; after an error no worker has work left.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from agentevol.rollout.engine import one_line_error

Progress = Callable[[int, int], None]
WorkerFunction = Callable[[Any, Progress], Any]


class WorkerLost(RuntimeError):
    """A worker process ended without a result; most often it was killed because memory ran out."""


@dataclass(frozen=True, slots=True)
class _Worker:
    process: Any
    pipe: Connection
    variables: dict[str, str]


_workers: list[_Worker] = []
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def map_workers(
    function: WorkerFunction, shards: Sequence[Any], progress: Progress | None = None, variables: Sequence[Mapping[str, str]] = ()
) -> list[Any]:
    """`function(shard, report_progress)` for every shard, each in its own process; results in the order of the shards.

    The processes stay for the next call, with what the module of `function` keeps (a loaded model). `function` must be importable by name.
    `report_progress(done, total)` reports for its shard; `progress` gets the sums. `variables`: environment variables of the process of
    each shard; without them a single shard runs in this process. Raises what `function` raised, or WorkerLost; then all worker processes
    have ended.
    """
    if len(shards) == 1 and not variables:
        return [function(shards[0], progress or _ignore_progress)]
    workers = [_worker(index, {**_ONE_THREAD, **(variables[index] if variables else {})}) for index in range(len(shards))]
    done, totals, results = [0] * len(shards), [0] * len(shards), [None] * len(shards)
    try:
        for worker, shard in zip(workers, shards, strict=True):
            _send(worker, (function, shard))
        busy = {worker.pipe: index for index, worker in enumerate(workers)}
        while busy:
            for pipe in wait(list(busy)):
                index = busy[pipe]  # type: ignore[index]
                kind, value = _receive(workers[index])
                if kind == "progress":
                    done[index], totals[index] = value
                    if progress is not None:
                        progress(sum(done), sum(totals))
                elif kind == "result":
                    results[index] = value
                    del busy[pipe]  # type: ignore[arg-type]
                else:
                    raise value
    except BaseException:
        shutdown_workers()  # the other workers are still busy, and their results are not needed any more
        raise
    return results


def shutdown_workers() -> None:
    """End all worker processes. The next call of `map_workers` starts new ones."""
    while _workers:
        _end(_workers.pop())


def _worker(index: int, variables: dict[str, str]) -> _Worker:
    """The worker of this number with these environment variables; one that has others is replaced."""
    if index < len(_workers) and _workers[index].variables == variables:
        return _workers[index]
    if index < len(_workers):
        _end(_workers[index])
        _workers[index] = _start_worker(variables)
    else:
        _workers.append(_start_worker(variables))
    return _workers[index]


def _end(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join()


def _start_worker(variables: dict[str, str]) -> _Worker:
    # Not forked: a forked process would inherit the locks of PyTorch's threads without the threads that release them.
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    previous = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)  # read by the libraries when the new process loads them
    try:
        process = context.Process(target=_run_worker, args=(child_end,), name="rollout", daemon=True)
        process.start()
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    child_end.close()
    if not _workers:
        atexit.register(shutdown_workers)
    return _Worker(process, parent_end, variables)


def _run_worker(pipe: Connection) -> None:
    """The main loop of a worker process. It ends when the parent closes its end of the pipe or is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    while True:
        try:
            function, shard = pipe.recv()
        except EOFError:
            return
        try:
            message = ("result", function(shard, lambda done, total: pipe.send(("progress", (done, total)))))
        except BrokenPipeError:
            return
        except Exception as error:
            message = ("error", _sendable(error))
        pipe.send(message)


def _sendable(error: Exception) -> Exception:
    """The error, or its text where its class cannot be sent to another process, such as one with further arguments."""
    try:
        pickle.loads(pickle.dumps(error))  # safe: these bytes come from this process
    except Exception:  # named boundary: its class decides what this raises
        return RuntimeError(one_line_error(error))
    return error


def _send(worker: _Worker, message: Any) -> None:
    try:
        worker.pipe.send(message)
    except OSError as error:
        raise _worker_lost(worker) from error


def _receive(worker: _Worker) -> tuple[str, Any]:
    try:
        message: tuple[str, Any] = worker.pipe.recv()
    except (EOFError, OSError) as error:
        raise _worker_lost(worker) from error
    return message


def _worker_lost(worker: _Worker) -> WorkerLost:
    worker.process.join(5)
    return WorkerLost(
        f"a worker process of the rollout ended with exit code {worker.process.exitcode} and no result;"
        " if it was killed because memory ran out (-9), lower rollout.concurrency, rollout.context_length or rollout.num_workers"
    )


def _ignore_progress(done: int, total: int) -> None:
    pass
