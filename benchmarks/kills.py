"""A whole small job survives kill -9 at any time: `python -m benchmarks.kills [--kills 50] [--folder runs/kills] [--minutes 120]`.

Each trial starts in an empty folder, so the databases of Prefect and MLflow are created in it. The job is killed at a random time, every
second trial together with all its child processes; then the same command runs to its end, and its results are compared with those of an
undisturbed run: the digest of every stored result, and the final table. Trials are recorded in `<folder>/trials.jsonl`: the same command
continues after an interruption, and stops after `--minutes`. The job is the tests' toy environment with a random model of 70,000 weights
(two iterations), or `--params FILE` for a job of the product. The exit code is 1 if a trial failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from agentevol.python_process import module_command, module_environment

SHARE_OF_TIME = 0.95
"""A kill comes at most this late, as a share of the undisturbed run's time."""
SLOWER = 20
"""A run that takes this many times as long as the undisturbed one has failed."""
NOT_INHERITED = ("PREFECT_", "MLFLOW_", "DVC_", "KILL_AT")


@dataclass(frozen=True, slots=True)
class Trial:
    """`kill_seconds`: when the kill came; `moment`: what the job was doing; `code`: the exit code of the second run."""

    number: int
    kill_seconds: float
    whole_tree: bool
    moment: str
    code: int
    equal: bool
    seconds: float
    message: str = ""

    @property
    def passed(self) -> bool:
        return self.code == 0 and self.equal


@dataclass(frozen=True, slots=True)
class Job:
    """A command, and the folder with the files that it starts from."""

    command: list[str]
    inputs: Path

    def prepare(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.inputs, folder)

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in module_environment().items() if not name.startswith(NOT_INHERITED)}
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(self.command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def results(folder: Path) -> dict[str, Any]:
    """What must be equal: the digest of every stored result by its key, and the final table without the costs."""
    manifests = sorted((folder / "runs" / "store").glob("*/manifest.json"))
    digests = {path.parent.name: json.loads(path.read_text(encoding="utf-8"))["artifact"]["digest"] for path in manifests}
    table = folder / "runs" / "latest" / "table.txt"
    return {"digests": digests, "table": table.read_text(encoding="utf-8").partition("Costs")[0] if table.is_file() else None}


def moment(folder: Path) -> str:
    """What the job was doing when it was killed."""
    if (folder / ".prefect" / "prefect.db.unfinished").exists():
        if list(folder.glob(".mlflow.db.*")):
            return "creating both databases"
        return "creating Prefect's database"
    if list(folder.glob(".mlflow.db.*")):
        return "creating MLflow's database"
    finished = len(results(folder)["digests"])
    return f"{finished} results stored" if finished else "before the first result"


def kill(process: subprocess.Popen[bytes], *, whole_tree: bool) -> None:
    """kill -9, as a system without memory or a power failure would."""
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    if whole_tree:
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
    process.wait()


def run_trial(number: int, job: Job, folder: Path, expected: dict[str, Any], seconds: float, rng: random.Random) -> Trial | None:
    """None if the job ended before the kill."""
    job.prepare(folder)
    kill_seconds = rng.uniform(0, SHARE_OF_TIME * seconds)
    whole_tree = number % 2 == 0
    process = job.start(folder)
    try:
        process.wait(timeout=kill_seconds)
        return None
    except subprocess.TimeoutExpired:
        kill(process, whole_tree=whole_tree)
    what = moment(folder)
    start = time.monotonic()
    process = job.start(folder)
    try:
        code = process.wait(timeout=SLOWER * seconds)
    except subprocess.TimeoutExpired:
        kill(process, whole_tree=True)
        code = -1
    finally:
        if process.poll() is None:  # the benchmark itself was interrupted
            kill(process, whole_tree=True)
    equal = results(folder) == expected
    message = "" if code == 0 else last_line(folder / "log")
    return Trial(number, round(kill_seconds, 1), whole_tree, what, code, equal, round(time.monotonic() - start, 1), message)


def undisturbed(job: Job, folder: Path, record: Path) -> tuple[dict[str, Any], float]:
    """The results of a run that nothing disturbs, and its seconds; read from `record` if they are there."""
    if record.is_file():
        stored = json.loads(record.read_text(encoding="utf-8"))
        return stored["results"], stored["seconds"]
    job.prepare(folder)
    start = time.monotonic()
    process = job.start(folder)
    try:
        code = process.wait()
    finally:
        if process.poll() is None:
            kill(process, whole_tree=True)
    seconds = time.monotonic() - start
    if code:
        raise SystemExit(f"the undisturbed run ended with code {code}: {last_line(folder / 'log')}")
    stored = {"results": results(folder), "seconds": seconds}
    temporary = record.with_suffix(".tmp")
    temporary.write_text(json.dumps(stored, indent=1), encoding="utf-8")
    temporary.replace(record)
    return stored["results"], seconds


def run(job: Job, folder: Path, kills: int, *, minutes: float, seed: int) -> list[Trial]:
    """The trials, those of earlier calls included."""
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * minutes
    expected, seconds = undisturbed(job, folder / "undisturbed", folder / "undisturbed.json")
    print(f"the undisturbed run: {len(expected['digests'])} results in {seconds:.0f} s", flush=True)
    record = folder / "trials.jsonl"
    trials = [Trial(**json.loads(line)) for line in record.read_text(encoding="utf-8").splitlines()] if record.is_file() else []
    draw = 0
    while len(trials) < kills and time.monotonic() < deadline:
        number = len(trials) + 1
        trial = run_trial(number, job, folder / "trial", expected, seconds, random.Random(f"{seed}:{number}:{draw}"))
        if trial is None:  # this time it was faster: another time is drawn
            draw += 1
            continue
        trials.append(trial)
        with record.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(trial)) + "\n")
        if not trial.passed:
            shutil.copytree(folder / "trial", folder / f"failed-{number}", dirs_exist_ok=True)
        print(row(trial), flush=True)
    return trials


def row(trial: Trial) -> str:
    verdict = "equal" if trial.passed else "DIFFERENT" if trial.code == 0 else f"FAILED ({trial.code}: {trial.message})"
    target = "all processes" if trial.whole_tree else "main process"
    return f"{trial.number:4} {trial.kill_seconds:8.1f} s  {target:13}  {trial.moment:27} {trial.seconds:8.1f} s  {verdict}"


def last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1][:200] if lines else "(no output)"


def toy_job(folder: Path) -> Job:
    from tests.flows.tiny import make_project

    if not (folder / "params.yaml").is_file():
        make_project(folder)
    return Job([*module_command("tests.flows.tiny"), "evolve"], folder)


def product_job(folder: Path, params: Path) -> Job:
    """A job of the product; the base model and the parameters are copied from the working directory."""
    if not (folder / params.name).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree("models/base", folder / "models" / "base", dirs_exist_ok=True)
        for name in {params.name, "params.yaml"}:
            shutil.copy(params.with_name(name), folder / name)
    return Job([*module_command("flows.cli"), "evolve", "--params", params.name], folder)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path("runs/kills"))
    parser.add_argument("--minutes", type=float, default=240, help="no new trial starts after this time")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills")
    parser.add_argument("--params", type=Path, help="a parameter file, such as params-small.yaml, instead of the toy")
    args = parser.parse_args(arguments)
    folder = args.folder.resolve()
    job = product_job(folder / "inputs", args.params) if args.params else toy_job(folder / "inputs")
    print(f"{'':4} {'killed at':>10}  {'killed':13}  {'it was':27} {'continued':>10}  results")
    trials = run(job, folder, args.kills, minutes=args.minutes, seed=args.seed)
    continued, equal = sum(trial.code == 0 for trial in trials), sum(trial.passed for trial in trials)
    rest = f"; {args.kills - len(trials)} not done, the same command continues" if len(trials) < args.kills else ""
    print(f"{continued} of {len(trials)} continued, {equal} of {len(trials)} with equal results{rest}")
    return int(equal < len(trials))


if __name__ == "__main__":
    sys.exit(main())
