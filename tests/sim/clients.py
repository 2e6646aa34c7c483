"""What clients do in a simulation."""

import random
from collections.abc import Callable
from contextlib import suppress

from backburner.domain.batch import Batch, BatchKind
from backburner.domain.errors import BackburnerError, InvalidRequest, NotFound, StateConflict
from backburner.ports import Environment, QueueName
from backburner.services import batches, files, pausing
from tests import oracle
from tests.sim.stage import TENANTS, Stage
from tests.world import Line, chat, jsonl, message

#: Models that the requests of one batch are for; the last ones run as jobs, if they are not few.
MIXES = (
    ("mistral", "mistral", "mistral", "ministral"),
    ("mistral", "mistral", "mistral", "ministral"),
    ("mistral", "magistral"),
    ("magistral",),
    ("codestral",),
    ("codestral",),
)
#: The last one is long enough for the lease of a job to end.
WINDOWS = ("15m", "15m", "15m", "1h", "1h", "3h")
_BAD_LINES = (b"no JSON", b'{"half":', b"[]")


class Clients(Stage):
    """They ask for work, and have it paused, cancelled, run again or forgotten."""

    def submit(self, dice: random.Random) -> None:
        tenant = dice.choice(TENANTS)
        self.world.submit(
            self._lines(dice, dice.randint(1, 14)),
            tenant=tenant,
            window=dice.choice(WINDOWS),
            on_invalid=dice.choice(("fail", "skip")),
            priority=dice.randint(0, 9),
            max_tokens=dice.choice((None, None, None, 10, 40)),
            metadata=_notify(dice, tenant),
        )

    def ask_messages(self, dice: random.Random) -> None:
        """A Message Batch: bad requests that come with it are refused, those of a file are not."""
        models, count = dice.choice(MIXES), dice.randint(1, 9)
        lines: list[Line] = [message(self.name(), model=dice.choice(models)) for _ in range(count)]
        is_file, bad = dice.random() < 0.4, None
        if dice.random() < 0.2:
            self.count("bad request")
            bad = dice.randint(0, count)
            lines.insert(bad, dice.choice(_BAD_LINES))
        window, tenant = dice.choice(WINDOWS), dice.choice(TENANTS)
        refusal = ""
        try:
            self.world.submit_messages(lines, tenant=tenant, window=window, is_file=is_file)
        except InvalidRequest as error:
            refusal = error.message
        expected = "" if is_file or bad is None else f"requests.{bad}"
        if refusal[: len(expected)] != expected or bool(refusal) is not bool(expected):
            raise oracle.BrokenError(
                [f"9. {oracle.GUARANTEES[9]} But: {bad} was told as {refusal!r}"]
            )

    def respond(self, dice: random.Random) -> None:
        window = dice.choice(("15m", "1h"))
        model = dice.choice(("mistral", "mistral", "ministral", "magistral"))
        self.world.respond(self.name(), tenant=dice.choice(TENANTS), model=model, window=window)

    def burst(self, dice: random.Random) -> None:
        """More single requests of a tenant than there are slots: they share these."""
        window, tenant = dice.choice(("15m", "1h")), dice.choice(TENANTS)
        model = dice.choice(("mistral", "ministral"))
        for _ in range(dice.randint(3, 7)):
            self.world.respond(self.name(), tenant=tenant, model=model, window=window)

    def ask_raw(self, dice: random.Random) -> None:
        tenant = dice.choice(TENANTS)
        self.world.ask_raw(
            self._raw_body(dice),
            tenant=tenant,
            is_reserved=dice.random() < 0.3,
            completion_window=dice.choice(("15m", "1h")),
            metadata=_notify(dice, tenant),
        )

    def drop(self, dice: random.Random) -> None:
        if dice.random() < 0.3:
            key = self.world.drop(f"{self.name()}.png", self._raw_body(dice))
        else:
            lines = jsonl(self._lines(dice, dice.randint(0, 6)))
            key = self.world.drop(f"{self.name()}.jsonl", lines)
        times = dice.choice((1, 1, 2, 0))
        self.told(times)
        for _ in range(times):
            self.world.notify_upload(key)

    def cancel(self, dice: random.Random) -> None:
        if batch := self.some_batch(dice):
            self._cancel(batch)

    def _cancel(self, batch: Batch) -> None:
        with suppress(NotFound):  # it was removed just now
            batches.cancel(self.world.env, batch.tenant, batch.id, kind=batch.kind)

    def pause(self, dice: random.Random) -> None:
        self._control(dice, pausing.pause)

    def resume(self, dice: random.Random) -> None:
        self._control(dice, pausing.resume)

    def _control(self, dice: random.Random, act: Callable[[Environment, str, str], object]) -> None:
        if batch := self.some_batch(dice, BatchKind.FILE):
            with suppress(StateConflict):
                act(self.world.env, batch.tenant, batch.id)

    def retry(self, dice: random.Random) -> None:
        everything = [one for one in self.world.all_batches() if one.kind is BatchKind.FILE]
        ended = [one for one in everything if one.is_terminal and one.failed]
        if everything:
            with suppress(StateConflict):
                self.world.retry(dice.choice(ended or everything))

    def remove(self, dice: random.Random) -> None:
        """A Message Batch that has ended, or is made to, is forgotten, told or not."""
        if not self._removable() and (batch := self.some_batch(dice, BatchKind.MESSAGES)):
            self._cancel(batch)
            self.world.pump(QueueName.PLAN, QueueName.FINALIZE, strict=not self.is_faulty)
        if ended := self._removable():
            self.world.remove(dice.choice(ended))

    def _removable(self) -> list[Batch]:
        everything = [one for one in self.world.all_batches() if one.kind is BatchKind.MESSAGES]
        return [one for one in everything if one.is_terminal]

    def delete_an_input(self, dice: random.Random) -> None:
        if known := sorted(self.world.uploaded):
            with suppress(BackburnerError):
                files.delete(self.world.env, *dice.choice(known))

    def _lines(self, dice: random.Random, count: int) -> list[Line]:
        models = dice.choice(MIXES)
        lines: list[Line] = [chat(self.name(), model=dice.choice(models)) for _ in range(count)]
        if dice.random() < 0.2:
            self.count("bad line")
            lines.insert(dice.randint(0, count), dice.choice(_BAD_LINES))
        return lines

    def _raw_body(self, dice: random.Random) -> bytes:
        """A small one that travels in its shard, or one that is an object."""
        return f"\x00{self.name()}\n\u00ff".encode() * dice.choice((1, 200))


def _notify(dice: random.Random, tenant: str) -> dict[str, str]:
    return {"notify_email": f"{tenant}@example.com"} if dice.random() < 0.5 else {}
