"""Runs a command, and ends it with all that it started once standard input closes.

That happens however the process ends that holds the other end, killed or not.
"""

import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> None:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=lambda: os._exit(process.wait() & 0xFF), daemon=True).start()
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
