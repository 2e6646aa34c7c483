"""Become a command that dies with its parent: ``python launch.py <parent pid> <command...>``.

Run by path, in an isolated interpreter, between the emulator and each instance: the kernel then
kills the instance when the emulator is killed, whatever the instance's own program does. (Asking
for that in the emulator's process, between fork and exec, is not safe in a program with threads.)
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the operator's own command
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error}")


if __name__ == "__main__":
    main()
