"""Time and memory of one piece of work in a process of its own."""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# A process keeps the memory that it has freed. A virtual machine may take back what a process gives back, and then
# the next run of the same work waits for it: writing 720 MB took 2 s on ours, and 0.05 s when it was kept.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1",
}
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def memory_mb(field: str) -> float:
    """Memory of this process: ``VmRSS`` now, ``VmHWM`` at its peak since the last `forget_peak`.

    Not ``ru_maxrss``, which on Linux a process inherits from the one that started it.
    """
    lines = (line.split() for line in STATUS.read_text(encoding="ascii").splitlines())
    return next(int(words[1]) for words in lines if words[0] == f"{field}:") / 1024


def forget_peak() -> None:
    """Let the peak start from what is in memory now, so that preparing the data leaves no trace in it."""
    gc.collect()
    CLEAR.write_text("5", encoding="ascii")


def seconds(work: Callable[[], Any]) -> float:
    """Seconds that one call takes; what it returns is let go of after the clock has stopped."""
    begin = time.perf_counter()
    kept = work()
    taken = time.perf_counter() - begin
    del kept
    return taken


def median_microseconds(work: Callable[[], Any], calls: int = 200) -> float:
    """Median time of one call."""
    work()
    return statistics.median(seconds(work) for _ in range(calls)) * 1e6


def in_a_process(module: str, arguments: Sequence[str], *, keep_memory: bool = False) -> dict[str, Any]:
    """Run a module as a script; the figures it prints last, as one line of JSON.

    With ``keep_memory``, which is for measuring time, the process returns no memory before it ends.

    Raises
    ------
    subprocess.CalledProcessError
        The script failed; its own message went to standard error.
    """
    environment = os.environ | (KEEP_MEMORY if keep_memory else {})
    command = [sys.executable, "-m", module, *arguments]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout  # noqa: S603 -- our own
    figures: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return figures
