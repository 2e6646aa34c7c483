"""Trees of processes: their CPU time, their end and their violent end."""

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time of these processes, of what they started, and of what has ended below them."""
    ticks = 0
    for root in roots:
        for pid in tree(root):
            try:
                stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
            except OSError:
                continue  # it has just ended; its parent has its time
            ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> Iterator[int]:
    """The process and everything below it, parents first."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [(task / "children").read_text(encoding="ascii").split() for task in tasks]
    except OSError:
        return
    for child in itertools.chain.from_iterable(children):
        yield from tree(int(child))


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a whole tree with SIGKILL, so that nobody in it can say or save anything more."""
    os.kill(process.pid, signal.SIGSTOP)  # nobody is started while the others are looked up
    for pid in list(tree(process.pid)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def stop(process: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    """End a process in order, and by force what is left of its tree."""
    below = list(tree(process.pid))
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process)
    time.sleep(0.1)
    for pid in below[1:]:
        if Path(f"/proc/{pid}").exists():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
