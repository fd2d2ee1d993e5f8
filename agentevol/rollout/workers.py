"""Rolling out in several processes, each with one processor thread, a share of the episodes and a share of the slots.

On a CPU one token of a small model is too little work for two threads: waking the second costs what it saves. Two processes do not wait
for each other. Which episode goes to which process depends on the work alone, so the same call gives the same trajectories.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

Job = Callable[[Any, Callable[[int, int], None]], Any]
Progress = Callable[[int, int], None]


class WorkerLost(RuntimeError):
    """A process of a rollout ended without a result: killed, most often for want of memory."""


@dataclass(frozen=True, slots=True)
class _Worker:
    process: Any
    pipe: Connection


_workers: list[_Worker] = []


def map_workers(job: Job, parts: Sequence[Any], progress: Progress | None = None) -> list[Any]:
    """`job(part, tick)` for every part, each in a process of its own; the results in the order of the parts.

    The processes stay for the next call, with what the job's module keeps (a loaded model). `job` is a function of a module; `tick(done,
    total)` counts for `progress`. Raises what a job raised, and WorkerLost; then no process is left with work of this call.
    """
    if len(parts) == 1:
        return [job(parts[0], progress or _quiet)]
    while len(_workers) < len(parts):
        _workers.append(_start())
    crew = _workers[: len(parts)]
    done, totals, results = [0] * len(parts), [0] * len(parts), [None] * len(parts)
    try:
        for worker, part in zip(crew, parts, strict=True):
            _send(worker, (job, part))
        busy = {worker.pipe: index for index, worker in enumerate(crew)}
        while busy:
            for pipe in wait(list(busy)):
                index = busy[pipe]  # type: ignore[index]
                kind, value = _receive(crew[index])
                if kind == "tick":
                    done[index], totals[index] = value
                    if progress is not None:
                        progress(sum(done), sum(totals))
                elif kind == "done":
                    results[index] = value
                    del busy[pipe]  # type: ignore[arg-type]
                else:
                    raise value
    except BaseException:
        shutdown_workers()  # the others are in the middle of work that nobody waits for
        raise
    return results


def shutdown_workers() -> None:
    """End the processes. The next call starts new ones."""
    while _workers:
        worker = _workers.pop()
        worker.pipe.close()
        worker.process.terminate()
        worker.process.join()


def _start() -> _Worker:
    # Not forked: a forked process would inherit PyTorch's threads as locks that nobody holds.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the libraries when the new process loads them
    try:
        process = context.Process(target=_serve, args=(theirs,), name="rollout", daemon=True)
        process.start()
    finally:
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads
    theirs.close()
    if not _workers:
        atexit.register(shutdown_workers)
    return _Worker(process, ours)


def _serve(pipe: Connection) -> None:
    """The life of a process: jobs until the other end of the pipe is gone, whether it was closed or its process killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    while True:
        try:
            job, part = pipe.recv()
        except EOFError:
            return
        try:
            answer = ("done", job(part, lambda done, total: pipe.send(("tick", (done, total)))))
        except BrokenPipeError:
            return
        except Exception as error:
            answer = ("failed", error)
        pipe.send(answer)


def _send(worker: _Worker, message: Any) -> None:
    try:
        worker.pipe.send(message)
    except OSError as error:
        raise _lost(worker) from error


def _receive(worker: _Worker) -> tuple[str, Any]:
    try:
        received: tuple[str, Any] = worker.pipe.recv()
    except (EOFError, OSError) as error:
        raise _lost(worker) from error
    return received


def _lost(worker: _Worker) -> WorkerLost:
    worker.process.join(5)
    return WorkerLost(
        f"a process that played episodes ended with exit code {worker.process.exitcode} and no result;"
        " where it was killed for want of memory (-9), lower rollout.concurrency, rollout.context_length or rollout.num_workers"
    )


def _quiet(done: int, total: int) -> None:
    pass
