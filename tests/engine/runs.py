"""Runs of a scenario, step by step: clients and services that ask again until they are answered.

What comes next is data, not a place in the code, so that a run can go on from any of its moments.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar

from backburner.domain.batch import BatchStatus
from backburner.domain.errors import Conflict
from backburner.ports import QueueName
from backburner.services import webhooks
from backburner_local.adapters.messages import Message
from tests import oracle
from tests.backend import Reply, Submission, by_name
from tests.tap import Crash, Hook, PortError
from tests.world import LIMITS, World, chat

FAULTS = (Crash, PortError, Conflict)
LINES = 7
#: Small enough for canaries, for objects as well as inline bytes, and for short leases.
CENSUS_LIMITS = replace(
    LIMITS,
    canary_lines=2,
    canary_from_lines=7,
    inline_bytes=400,
    request_ttl_seconds=60,
    lease_margin_seconds=30.0,
)
#: The one line that needs a second attempt.
FIRST_REPLY = by_name({"acme-5": 500})
#: How often clients and services ask before a test gives up.
TRIES, MINUTES = 10, 40

#: Name of a method of the run, and its arguments.
Act = tuple[Any, ...]


class Run:
    """A batch with a canary and a line that is retried, a single request, a dropped file.

    A webhook is told of the first two. The backend is well.
    """

    #: The acts that the run begins with.
    script: ClassVar[tuple[Act, ...]] = (
        ("subscribe",),
        ("insist", "submit"),
        ("insist", "respond"),
        ("drop",),
        ("until_quiet",),
    )

    def __init__(self, world: World, *, twice: int | None = None) -> None:
        self.world = world
        #: Number of the event that comes twice.
        self._twice = twice
        self.events = 0
        #: Acts that are yet to come, the last first.
        self.acts: list[Act] = []
        self._next(*self.script)

    def play(self) -> None:
        while self.acts:
            self.step()

    def step(self) -> None:
        """Act once: handle a message, say, or make a call."""
        name, *arguments = self.acts.pop()
        getattr(self, name)(*arguments)

    def judge(self) -> None:
        """The run has ended, and as well as one without a fault."""
        world = self.world
        oracle.check_end(world, tidy=False)
        accepted = [one for one in world.all_batches() if (one.tenant, one.id) in world.accepted]
        assert len(accepted) == 2
        assert {batch.status for batch in accepted} == {BatchStatus.COMPLETED}
        dropped = [one.status for one in world.all_batches() if one.tenant == "dropper"]
        assert dropped == [BatchStatus.COMPLETED]

    def _next(self, *acts: Act) -> None:
        self.acts += reversed(acts)

    # ------------------------------------------------------------ acts of clients

    def subscribe(self) -> None:
        kinds = ["batch.completed", "response.completed"]
        hook = {"name": "hook", "url": "https://hooks.example.com", "event_types": kinds}
        webhooks.create(self.world.untapped, "acme", hook)

    def submit(self) -> None:
        mail = {"notify_email": "ada@example.com"}
        self.world.submit(LINES, window="1h", metadata=mail)

    def respond(self) -> None:
        self.world.respond("single", window="1h")

    def drop(self) -> None:
        key = self.world.drop("dropped.jsonl", [chat("dropped-1"), chat("dropped-2")])
        self._next(("comes", "notify_upload", key))

    def notify_upload(self, key: str) -> None:
        self.world.notify_upload(key)

    def insist(self, name: str, *arguments: Any, tries: int = 1) -> None:
        """Ask again until it is answered."""
        try:
            getattr(self, name)(*arguments)
        except FAULTS:
            assert tries < TRIES, "It fails every time."
            self.world.advance(30)
            self._next(("insist_again", tries + 1, name, *arguments))

    def insist_again(self, tries: int, name: str, *arguments: Any) -> None:
        self.insist(name, *arguments, tries=tries)

    # ------------------------------------------------------------ acts of the services

    def until_quiet(self, minutes: int = 0) -> None:
        assert minutes < MINUTES, f"not at rest after {MINUTES} minutes"
        self._next(("pump",), ("work",), ("rest", minutes))

    def rest(self, minutes: int) -> None:
        """A minute passes, unless all is done."""
        if self.world.is_quiet:
            return
        self.world.advance(60)
        with suppress(*FAULTS, ExceptionGroup):
            self.world.reap()
        self._next(("until_quiet", minutes + 1))

    def work(self) -> None:
        """The backend answers what it has, and the services take it in."""
        if self.world.outstanding:
            attempt = self.world.outstanding[0]
            self.world.answer(attempt, self._reply(attempt), told=False)
            number = self.world.backend.submissions.index(attempt)
            self._next(("comes", "notify", number), ("pump",), ("work",))

    def _reply(self, attempt: Submission) -> Reply | None:
        return FIRST_REPLY if attempt.shard.attempt == 1 else None

    def notify(self, number: int) -> None:
        self.world.notify_success(self.world.backend.submissions[number])

    def comes(self, name: str, *arguments: Any) -> None:
        """An event; its source tells again until it is heard."""
        self._next(*[("insist", name, *arguments)] * self._times())

    def pump(self) -> None:
        """Hand messages to their functions until the queues are quiet."""
        if received := self.world.receive():
            self._next(*(("handle", *one) for one in received), ("pump",))

    def handle(self, name: QueueName, message: Message) -> None:
        try:
            for _ in range(self._times()):
                self.world.handle(name, message, strict=False)
        except FAULTS:
            self._give_up_pumping()

    def _give_up_pumping(self) -> None:
        """What was received with it is seen again later."""
        while self.acts.pop()[0] != "pump":
            pass

    def _times(self) -> int:
        self.events += 1
        return 2 if self.events - 1 == self._twice else 1


def played(run: Run, hook: Hook | None = None) -> list[str]:
    """Play the run to its end and judge it; returns its port calls."""
    with run.world.tap.hooked(hook):
        run.play()
        calls = list(run.world.tap.calls)
    run.judge()
    return calls
