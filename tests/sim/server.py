"""What the model, its server and its account do in a simulation."""

import random
from collections.abc import Callable

from backburner.domain.errors import (
    BackendError,
    BackendFull,
    BackendRefused,
    BackendThrottled,
)
from backburner.ports import Room
from tests.backend import REPLIES, Reply, Submission, by_name, succeed
from tests.sim.stage import Stage
from tests.world import jsonl

#: What may become of a result's bytes.
MANGLED: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda data: data[: len(data) * 2 // 3],
    "without the last newline": lambda data: data[:-1],
    "out of order": lambda data: b"".join(reversed(data.splitlines(keepends=True))),
    "each line twice": lambda data: data + data,
    "too many lines": lambda data: data + b'{"line":9999,"status_code":200,"body":{}}\n',
    "nothing": lambda data: b"",
    "no text": lambda data: bytes(range(256)) + b"\n" + data,
    "lines of nothing": lambda data: b"null\n[]\n1\n\n" + data,
}


class Server(Stage):
    """Attempts end well, badly or not at all, and the word of it is late, twice or lost."""

    def finish(self, dice: random.Random) -> None:
        """An attempt ends; its lines mostly well."""
        if attempt := self.attempt(dice):
            self.end(attempt, dice)

    def end(self, attempt: Submission, dice: random.Random) -> None:
        name = dice.choice((*["all succeed"] * 8, *sorted(REPLIES)))
        if name != "all succeed":
            self.count(f"model: {name}")
        self.world.answer(attempt, REPLIES[name], told=False)
        self._tell(dice, attempt)

    def finish_badly(self, dice: random.Random) -> None:
        """An attempt ends with a result that no model should write; whatever is raw is right."""
        if attempt := self.attempt(dice):
            name = dice.choice(sorted(MANGLED))
            self.count(f"model: {name}")
            lines = jsonl([one for one in map(_reply(dice), attempt.requests) if one is not None])
            data = MANGLED[name](attempt.body if attempt.shard.is_raw else lines)
            self.world.answer(attempt, data=data, told=False)
            self._tell(dice, attempt)

    def fail(self, dice: random.Random) -> None:
        if attempt := self.attempt(dice):
            self.count("attempt failed")
            self.world.fail(attempt, told=False, said=b'{"error":"no room"}')
            times = dice.choice((1, 1, 2, 0))
            self.told(times)
            for _ in range(times):
                self.tell_failure(attempt, status=dice.choice((500, 500, 503, 415)))

    def lose(self, dice: random.Random) -> None:
        if attempt := self.attempt(dice):
            self.count("attempt lost")
            self.world.lose(attempt)

    def tell_of_any(self, dice: random.Random) -> None:
        """A notification of any attempt: again, of the other kind, or before there is a result."""
        if attempts := self.world.backend.submissions:
            self.count("notification out of order")
            tell = dice.choice((self.world.notify_end, self.tell_failure))
            tell(dice.choice((self.last or attempts[-1], dice.choice(attempts))))

    def tell_failure(self, attempt: Submission, *, status: int = 500) -> None:
        """Of a job, one learns only that it ended."""
        if attempt.job is not None:
            self.world.notify_end(attempt)
        else:
            self.world.notify_error(attempt, status=status)

    def refuse_next(self, dice: random.Random) -> None:
        kinds = (BackendThrottled, BackendThrottled, BackendFull, BackendRefused, BackendError)
        kind = dice.choice(kinds)
        is_taken = kind is not BackendRefused and dice.random() < 0.3
        self.count(f"backend: {kind.__name__}" + (", taken all the same" if is_taken else ""))
        errors = [kind("not now") for _ in range(dice.choice((1, 1, 4)))]
        self.world.backend.fail_next(*errors, is_taken=is_taken)

    def scale(self, dice: random.Random) -> None:
        """Instances come and go, and jobs of others in the account."""
        self.world.backend.instance_count = dice.randint(0, 2)
        limit, others = dice.choice((None, 1, 2, 3)), dice.randint(0, 1)
        self.world.backend.room_left = dice.choice((None, Room(limit=limit, others=others)))
        self.world.report_backlog()

    def _tell(self, dice: random.Random, attempt: Submission) -> None:
        times = dice.choice((1, 1, 1, 2, 0))
        self.told(times)
        for _ in range(times):
            self.world.notify_end(attempt)


def _reply(dice: random.Random) -> Reply:
    return dice.choice((succeed, succeed, by_name({}, REPLIES["every third is missing"])))
