"""The device that the figures are of: time, peak memory, matrix rate."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import torch


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(function: Callable[[], object], device: torch.device) -> float:
    """Seconds until all work that the function started has ended."""
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def repeat(function: Callable[[], object], device: torch.device, *, warm_up: int, seconds: float, most: int) -> float:
    """Median seconds of a call, after `warm_up` calls; calls it for about `seconds`, at most `most` and at least 2 times."""
    for _ in range(warm_up):
        function()
    times: list[float] = []
    while len(times) < most and (len(times) < 2 or sum(times) < seconds):
        times.append(seconds_of(function, device))
    return statistics.median(times)


def free_memory(device: torch.device) -> None:
    """Return what is not in use, and count the peak from here."""
    import gc

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """The most memory that was allocated since `free_memory`; on a CPU that of the process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
