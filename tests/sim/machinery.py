"""What the functions, the schedules and the clock do in a simulation."""

import random
from dataclasses import replace

from backburner.ports import QueueName
from backburner.services import dispatch
from backburner_local.adapters.messages import Message
from tests.sim.lag import LaggingStore
from tests.sim.stage import LAG_SECONDS, Stage


class Machinery(Stage):
    """Messages and minutes: late, twice, out of order."""

    def work(self, dice: random.Random) -> None:
        """The functions get their messages, until none is left."""
        while received := self.world.receive():
            for name, message in received:
                self._handle(name, message)

    def work_on_one(self, dice: random.Random) -> None:
        """One message is handed over, perhaps twice: the others are late."""
        for name, message in self.world.receive(dice.choice(tuple(QueueName))):
            times = dice.choice((1, 1, 2))
            self.told(times)
            for _ in range(times):
                self._handle(name, message)

    def hand_over_again(self, dice: random.Random) -> None:
        """A message that was done with long ago, or is being handled just now."""
        if self.handled:
            self.count("late duplicate")
            name, message = dice.choice((self.handled[-1], dice.choice(self.handled)))
            self.world.handle(name, message, strict=not self.is_faulty)

    def _handle(self, name: QueueName, message: Message) -> None:
        self.handled.append((name, message))
        self.world.handle(name, message, strict=not self.is_faulty)

    def ask_for_anything(self, dice: random.Random) -> None:
        """A message of any batch comes, whether it is time for it or not."""
        if everything := self.world.all_batches():
            self.count("message out of order")
            batch = dice.choice(everything)
            queue = dice.choice((QueueName.PLAN, QueueName.FINALIZE, QueueName.FINALIZE))
            self.world.queue.send(queue, {"tenant": batch.tenant, "batch_id": batch.id})

    def dispatch(self, dice: random.Random) -> None:
        dispatch.dispatch(self.world.env, self.some_pool(dice))

    def some_pool(self, dice: random.Random) -> str:
        """Mostly one that something waits for."""
        pools = [place.pool for place in self.prompt.catalog.each()]
        waiting = {item["id"] for item in self.world.store.query("pools") if _has_waiting(item)}
        return dice.choice([one for one in pools if one in waiting] or pools)

    def minute(self, dice: random.Random) -> None:
        """A minute passes, as the schedules see it."""
        self.world.advance(60)
        self.world.report_backlog()
        self.world.reap()
        self.work(dice)

    def seconds(self, dice: random.Random) -> None:
        self.world.advance(dice.uniform(0, 10))

    def reap_twice(self, dice: random.Random) -> None:
        self.world.reap()
        self.world.reap()

    def redrive(self, dice: random.Random) -> None:
        for queue in QueueName:
            self.world.queue.redrive(queue)

    def jump(self, dice: random.Random) -> None:
        """The clock jumps, or nothing ran for so long: leases end, batches expire."""
        self.count("clock jump")
        self.world.advance(dice.choice((150, 600, 1200, 4000)))
        self.calm_since = self.world.clock.now()

    def lag(self, dice: random.Random) -> None:
        """From now on, the store's indexes show what is new only after a while; or do again."""
        self.count("index that lags")
        lagging = LaggingStore(self.prompt.store, self.world.clock, lag_seconds=LAG_SECONDS)
        is_late = self.world.untapped is self.prompt
        self.world.set_env(replace(self.prompt, store=lagging) if is_late else self.prompt)


def _has_waiting(item: object) -> bool:
    return isinstance(item, dict) and item.get("waiting_lines", 0) > 0
