"""Many workers at once, on the real database: they get in each other's way, and nothing else."""

import threading
from contextlib import suppress

from backburner.domain.batch import BatchStatus
from backburner.ports import QueueName
from tests import oracle
from tests.backend import by_name
from tests.world import World, a_catalog, a_model, a_world, chat

WORKERS = 4


def test_workers_side_by_side_do_the_work_once():
    with a_world(catalog=a_catalog(a_model(slots=3)), has_threads=True) as world:
        batches = [
            world.submit([chat(f"{tenant}-{number}") for number in range(30)], tenant=tenant)
            for tenant in ("acme", "zeta")
        ]
        singles = [world.respond(f"single-{number}") for number in range(5)]
        in_parallel(world)
        world.settle()
        for batch in [*batches, *singles]:
            assert world.batch(batch).status is BatchStatus.COMPLETED
        oracle.check_end(world)


def answer_all(world: World) -> None:
    for attempt in world.outstanding:
        reply = by_name({"acme-3": 500, "zeta-7": 429, "single-2": 503})
        world.answer(attempt, reply if attempt.shard.attempt == 1 else None)
        world.notify_success(attempt)


def in_parallel(world: World) -> None:
    """Work until all is done; a backend of its own thread tells everything twice."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            for queue in QueueName:
                for message in world.queue.receive(queue, 2, 10.0):
                    for _ in range(2):
                        world.handle(queue, message, strict=False)

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2000):
            answer_all(world)
            if world.is_quiet:
                break
            world.advance(1)
            with suppress(ExceptionGroup):
                world.reap()
    finally:
        over.set()
        for thread in threads:
            thread.join()
