"""Mail on one machine: each message is a file that any mail program opens."""

import hashlib
import os
import threading
from pathlib import Path
from urllib.parse import quote

from backburner.ports import Clock, Mail
from backburner.wire import mime

_MAX_NAME = 200


class OutboxMailer:
    """Writes `.eml` files (RFC 5322) into a folder, one for each message id."""

    def __init__(self, folder: Path, sender: str, clock: Clock) -> None:
        self._folder = folder
        self._sender = mime.address(sender)
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)

    def send(self, mail: Mail) -> None:
        message = mime.compose(mail, sender=self._sender, now=self._clock.now())
        path = self._folder / _file_name(mail.message_id)
        staged = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        with staged.open("wb") as file:
            file.write(message)
            file.flush()
            os.fsync(file.fileno())  # once noted as delivered, nobody sends it again
        staged.replace(path)


def _file_name(message_id: str) -> str:
    name = quote(message_id.strip("<>"), safe="@")
    if len(name) > _MAX_NAME:
        name = hashlib.sha256(message_id.encode()).hexdigest()
    return f"{name}.eml"
