"""The engine process: reads requests from standard input, steps them, writes answers back."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from typing import BinaryIO, NoReturn

from backburner_model.engines.frames import LENGTH_BYTES, Cancel, Reply, frame, read_order
from backburner_model.engines.openvino import model_folder
from backburner_model.engines.scheduler import Scheduler
from backburner_model.settings import Settings

logger = logging.getLogger(__name__)

#: Linux's prctl option: a signal to get when the parent is gone.
PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    replies = _private_output()
    _leave_signals_to_parent()
    settings = Settings.from_environment()

    def publish(answers: list[Reply]) -> None:
        try:
            replies.write(frame(answers))
            replies.flush()
        except BrokenPipeError:
            os._exit(0)

    scheduler = Scheduler(model_folder(settings.model_dir), settings, publish)
    scheduler.load()
    publish([])
    threading.Thread(target=_read_orders, args=(scheduler,), daemon=True).start()
    try:
        scheduler.run()
    except Exception:
        logger.exception("engine.ended")
    os._exit(1)  # the other thread is inside a read that nothing else ends


def _read_orders(scheduler: Scheduler) -> None:
    """Feed the scheduler until the server is gone; then end, whatever is still running."""
    while header := sys.stdin.buffer.read(LENGTH_BYTES):
        order = read_order(sys.stdin.buffer.read(int.from_bytes(header, "big")))
        if isinstance(order, Cancel):
            scheduler.cancel(order.number)
        else:
            scheduler.submit(order)
    os._exit(0)


def _private_output() -> BinaryIO:
    """The pipe to the server; whatever a library prints goes to standard error instead."""
    sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def _leave_signals_to_parent() -> None:
    """The server drains when it is told to end, and needs us until then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        # The server's main thread starts us and lives as long as it does.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
