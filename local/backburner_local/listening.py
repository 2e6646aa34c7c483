"""Sockets that wait for clients."""

import socket

#: Connections that may wait to be accepted.
BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        OSError: the port is taken, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)  # bound alone, the port could still go to another
    except OSError as error:
        listener.close()
        why = f"can't listen at {host}:{port}: {error.strerror}"
        raise OSError(error.errno, why) from error
    return listener
