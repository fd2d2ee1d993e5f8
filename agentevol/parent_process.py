"""A child process that ends when its parent does, however the parent ends (kill -9 too).

Invariant: the parent starts the child with `stdin=subprocess.PIPE` and writes nothing to the pipe. Only the parent holds the pipe's other
end, so the child reads the end of file as soon as the parent closes the pipe or is gone. Imports nothing outside the standard library.
"""

from __future__ import annotations

import os
import signal
import threading
import time

_STDIN = 0


def end_with_parent(grace_seconds: float = 0.0) -> None:
    """End this process once its standard input is closed. Returns at once: a daemon thread waits for that.

    grace_seconds: above 0 the process first gets SIGTERM and is ended that many seconds later; at 0 it is ended immediately. Either way it
    ends by `os._exit(1)`, so neither `finally` blocks nor exit handlers run.
    """
    threading.Thread(target=_wait_and_exit, args=(grace_seconds,), name="end-with-parent", daemon=True).start()


def _wait_and_exit(grace_seconds: float) -> None:
    while os.read(_STDIN, 4096):
        pass
    if grace_seconds > 0:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds)
    os._exit(1)
