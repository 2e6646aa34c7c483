"""Dying with the parent process, so that no instance is left behind when it is killed."""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable

#: How often a machine without pidfds is asked whether the parent is still the same.
POLL_SECONDS = 0.5


def die_with_parent() -> None:
    """End this process at once when its parent is gone.

    Not by Linux's parent-death signal: that one comes when the *thread* that started us ends,
    and a parent may well have started us from a pool. A pipe as standard input is watched too:
    it also tells of a parent that died before we could look.
    """
    if sys.platform != "win32":
        parent = os.getppid()
        _watch(_wait_by_pidfd if hasattr(os, "pidfd_open") else _wait_by_polling, parent)
    if sys.stdin is not None and stat.S_ISFIFO(os.fstat(0).st_mode):
        _watch(_wait_for_end_of_pipe, 0)


def _watch(wait: Callable[[int], None], argument: int) -> None:
    def run() -> None:
        wait(argument)
        os._exit(1)

    threading.Thread(target=run, name=wait.__name__, daemon=True).start()


def _wait_by_pidfd(parent: int) -> None:
    try:
        descriptor = os.pidfd_open(parent)
    except ProcessLookupError:
        return
    except OSError:  # an old kernel, or a sandbox without the call
        _wait_by_polling(parent)
        return
    select.select([descriptor], [], [])


def _wait_by_polling(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)


def _wait_for_end_of_pipe(descriptor: int) -> None:
    while os.read(descriptor, 1024):
        pass
