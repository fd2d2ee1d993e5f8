"""Programs in forked processes: a command of the tiny project, of Prefect or of DVC costs its own work, not ten seconds of imports.

`PreloadedProcess` starts a process that has imported everything and waits; `run_command` lets it fork itself for a command. As a program,
`python preloaded.py SOCKET MODULE ARGUMENT ...` does what `python -m MODULE ARGUMENT ...` does; it needs only the standard library.

Invariant: a command has a process, a folder, environment variables and standard streams of its own, and its exit code or signal is the
caller's. It ends when the caller does. What a new process does by itself (imports, Prefect's own API) is tested without this.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

TINY = "tests.flows.tiny"
PRELOADED = (
    *("flows.evolve", "flows.sweep", "flows.evaluate", "flows.collect", "flows.clone", "tasks.sweep_report", "tasks.episode_page"),
    *("agentevol.gate.gate", "agentevol.models", "agentevol.rollout.rollout", "agentevol.training.finetune"),
    *("agentevol.report.sweep.write", "agentevol.rollout.engines.transformers", "agentevol.rollout.engines.openai"),
    *("great_expectations.expectations", "matplotlib.figure", "mlflow.store.tracking.sqlalchemy_store", "pandas", "torch"),
    *("transformers.models.llama.modeling_llama", "prefect.cli.deployment", "prefect.cli.flow_run"),
    *("mlflow.pyfunc.context", "pyarrow.parquet", "matplotlib.backends.backend_agg"),
    *("dvc.cli.parser", "dvc.repo.experiments.queue.celery"),
)
"""What the programs import sooner or later."""


class PreloadedProcess:
    """The waiting process. It ends when `stop` is called or when the process that started it ends."""

    def __init__(self, root: Path) -> None:
        """`root`: the repository."""
        self.temporary = tempfile.TemporaryDirectory(prefix="agentevol-")  # pytest's folders are too long for a socket's name
        folder = Path(self.temporary.name)
        self.socket = folder / "commands"
        own = {"PYTHONPATH": str(root), "PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"}
        own |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # as the command line sets them for a local model
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DVC_", "MLFLOW_"))}
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.flows.preloaded", "--serve", str(self.socket)],
                cwd=folder,
                env={**inherited, **own},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError((folder / "log").read_text(errors="replace"))

    def command(self, module: str, *arguments: str) -> list[str]:
        """The command that does what `python -m MODULE ARGUMENT ...` does."""
        return [sys.executable, "-S", "-E", __file__, str(self.socket), module, *arguments]

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.temporary.cleanup()


def run_command(server: str, arguments: list[str]) -> int:
    """Run a command in a fork of the waiting process, with this process's folder, environment and streams. Returns its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server)
        request = json.dumps({"arguments": arguments, "cwd": os.getcwd(), "env": dict(os.environ)}).encode()
        socket.send_fds(connection, [len(request).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(request)
        code = int(connection.makefile("r").readline() or -signal.SIGKILL)
    if code < 0:  # end as the command did
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _serve(path: str) -> None:
    """Fork for every connection until standard input is closed. Returns in the process of a command, ready to run it."""
    import gc
    from importlib import import_module

    from flows.cli.command import QUIET_ENVIRONMENT
    from tests.flows.tiny import register

    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    register()
    gc.disable()
    for module in PRELOADED:
        import_module(module)
    gc.freeze()
    gc.enable()
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(path)
        listener.listen()
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while all(key.fileobj is listener for key, _ in selector.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
            _collect_ended_processes()
        else:
            _collect_ended_processes()
            os._exit(0)
    _monitor(connection)


def _monitor(connection: socket.socket) -> None:
    """Fork the process of the command, and send its exit code when it has ended. Returns in the process of the command."""
    length, streams, *_ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("rb") as stream:
        request = json.loads(stream.read(int.from_bytes(length, "big")))
    command = os.fork()
    if command == 0:
        connection.close()
        for number, stream_fd in enumerate(streams):
            os.dup2(stream_fd, number)
            os.close(stream_fd)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.argv, sys.path[0] = request["arguments"], request["cwd"]
        return
    for stream_fd in (0, 1, *streams):
        os.close(stream_fd)
    ended = os.pidfd_open(command)
    with selectors.DefaultSelector() as selector:
        selector.register(ended, selectors.EVENT_READ)
        selector.register(connection, selectors.EVENT_READ)
        if all(key.fileobj is connection for key, _ in selector.select()):
            os.kill(command, signal.SIGKILL)  # the caller has ended
    code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _collect_ended_processes() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run_module() -> None:
    """In the process of a command: run the module that sys.argv begins with, with the settings that Prefect would read in a new process."""
    from prefect.context import refresh_global_settings_context

    from flows.cli import command

    module, load_flow = sys.argv[0], command.load_flow

    def load(name: str) -> object:
        refresh_global_settings_context()  # of the API that the command line has started
        return load_flow(name)

    if module == TINY:
        command.load_flow = load  # type: ignore[assignment]
        del sys.modules[TINY]  # it becomes __main__
    else:
        refresh_global_settings_context()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _serve(sys.argv[2])
        _run_module()
    else:
        sys.exit(run_command(sys.argv[1], sys.argv[2:]))
