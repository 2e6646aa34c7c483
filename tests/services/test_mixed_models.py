"""Several models in one file: each line runs on its own, and fails for itself."""

from backburner.domain.batch import BatchStatus
from tests import oracle
from tests.backend import by_name
from tests.world import a_world_in_memory, chat


def test_lines_of_several_models_run_in_their_pools_and_come_out_in_order():
    with a_world_in_memory() as world:
        lines = [chat(f"r{n}", model="mistral" if n % 2 else "ministral") for n in range(1, 25)]
        batch = world.submit(lines)
        world.pump()
        world.answer()  # the canary
        world.pump()
        assert {one.shard.model for one in world.outstanding} == {"mistral", "ministral"}
        world.settle(by_name({"r2": 400, "r9": 422}))
        after = world.batch(batch)
        assert (after.status, after.model) == (BatchStatus.COMPLETED, None)
        assert [line["custom_id"] for line in world.errors(batch)] == ["r2", "r9"]
        names = [line["custom_id"] for line in world.output(batch)]
        assert names == sorted(names, key=lambda name: int(name[1:]))
        oracle.check_end(world)


def test_a_model_that_is_down_fails_its_own_lines_alone():
    with a_world_in_memory() as world:
        down = {f"r{n}": 500 for n in (2, 4, 6)}
        lines = [chat(f"r{n}", model="ministral" if n % 2 == 0 else "mistral") for n in range(1, 7)]
        batch = world.submit(lines)
        world.settle(by_name(down))
        after = world.batch(batch)
        assert (after.status, after.completed, after.failed) == (BatchStatus.COMPLETED, 3, 3)
        assert [line["custom_id"] for line in world.errors(batch)] == ["r2", "r4", "r6"]
        again = world.retry(batch)
        world.settle()
        assert world.batch(again).completed == 3
        assert len(world.merged(again)) == 6
        oracle.check_end(world)
