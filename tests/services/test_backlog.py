"""The backlog metric: always there, and true."""

from dataclasses import replace
from typing import Any

from backburner.domain.errors import BackendError
from backburner.ports import QueueName
from backburner.services import backlog, capacity
from tests import oracle
from tests.world import World, a_catalog, a_model, a_world_in_memory, chat


def latest(world: World, endpoint: Any = "backburner-mistral") -> Any:
    return [dict(v) for v, about in world.published if about == {"EndpointName": endpoint}][-1]


def test_zeros_are_published_while_there_is_nothing(world):
    world.report_backlog()
    for endpoint in ("backburner-mistral", "backburner-ministral", "backburner-embed"):
        values = latest(world, endpoint)
        assert {name: value for name, value in values.items() if name != "Instances"} == {
            "OutstandingRequests": 0,
            "WaitingRequests": 0,
            "InFlightRequests": 0,
            "OutstandingRequestsPerInstance": 0,
            "OldestWaitingSeconds": 0,
            "WantedInstances": 0,
        }


def test_waiting_and_running_requests_are_counted(world):
    world.submit(12)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.answer()
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.submit([chat(f"later-{n}") for n in range(3)])
    world.pump(QueueName.PLAN)
    world.advance(30)
    world.report_backlog()
    values = latest(world)
    assert values["WaitingRequests"] == 3
    assert values["InFlightRequests"] == 8
    assert values["OutstandingRequests"] == 11
    assert values["OutstandingRequestsPerInstance"] == 11
    assert values["OldestWaitingSeconds"] == 30
    assert values["WantedInstances"] >= 1
    world.settle()
    world.report_backlog()
    assert latest(world)["OutstandingRequests"] == 0
    oracle.check_end(world)


def test_with_no_instance_all_requests_are_one_instances(world):
    world.backend.instance_count = 0
    world.submit(3)
    world.pump(QueueName.PLAN)
    world.report_backlog()
    assert latest(world)["OutstandingRequestsPerInstance"] == 3


def test_waiting_work_is_looked_at_although_its_message_was_lost(world):
    world.submit(2)
    world.pump(QueueName.PLAN)
    world.queue.delete(world.queue.receive(QueueName.DISPATCH, 10, 1))
    world.report_backlog()
    world.pump(QueueName.DISPATCH)
    assert len(world.outstanding) == 1


def test_wanted_instances_follow_the_measured_rate_and_the_deadline():
    model = a_model(slots=8, slots_per_instance=1, max_instances=5)
    with a_world_in_memory(catalog=a_catalog(model)) as world:
        world.submit(4, window="15m")
        world.pump(QueueName.PLAN, QueueName.DISPATCH)
        world.advance(40)  # four requests in forty seconds: a tenth of one a second
        world.answer()
        world.submit([chat(f"more-{n}") for n in range(200)], window="15m")
        world.pump(QueueName.PLAN)
        (measured,) = backlog.report_backlog(world.env)
        # 4 of 200 lines are the canary, all that waits now: one instance does it in 40 s.
        assert measured.wanted == 1
        world.pump(QueueName.DISPATCH)
        world.answer()
        world.pump(QueueName.PLAN)
        (measured,) = backlog.report_backlog(world.env)
        assert measured.wanted == 2


def test_what_depends_on_an_unknown_number_of_instances_is_left_out(world):
    def unknown(model: Any) -> int:
        raise BackendError("throttled")

    world.submit(3)
    world.pump(QueueName.PLAN)
    world.backend.instances = unknown
    world.report_backlog()
    values = latest(world)
    assert values["OutstandingRequests"] == 3
    assert not {"WantedInstances", "Instances", "OutstandingRequestsPerInstance"} & set(values)
    world.pump(QueueName.DISPATCH)  # asking for capacity must not keep work from being sent
    assert len(world.outstanding) == 1


def test_capacity_that_could_not_be_asked_for_is_asked_for_again_soon(world):
    def refuse(model: Any, wanted: int) -> None:
        raise BackendError("updating")

    asked: list[int] = []
    world.backend.instance_count = 0
    world.backend.wake = refuse
    world.submit(3)
    world.pump()
    world.backend.wake = lambda _, wanted: asked.append(wanted)
    world.advance(capacity.ASK_AGAIN_SECONDS)
    world.pump()
    assert asked == [1]


class TestOwnBacklog:
    """What a tenant sees of the pools."""

    def test_each_tenant_sees_its_own_part(self, world):
        world.submit(12)
        world.submit(3, tenant="other")
        world.pump(QueueName.PLAN, QueueName.DISPATCH)
        waiting = {
            tenant: [(one.waiting, one.in_flight) for one in backlog.of_tenant(world.env, tenant)]
            for tenant in ("acme", "other", "nobody")
        }
        assert waiting["nobody"] == [(0, 0)] * 3
        assert waiting["other"][0] == (0, 1)
        assert waiting["acme"][0] == (0, 1)  # its canary: the rest is not released yet
        world.submit([chat(f"later-{n}") for n in range(3)])
        world.pump(QueueName.PLAN)
        (own, *_) = backlog.of_tenant(world.env, "acme")
        assert (own.waiting, own.in_flight) == (3, 1)

    def test_where_the_backend_is_not_asked_the_last_report_tells_its_instances(self, world):
        world.set_env(replace(world.env, limits=replace(world.env.limits, asks_instances=False)))
        counts = []
        for count in (0, 2, 1):
            world.backend.instance_count = count
            seen = backlog.of_tenant(world.env, "acme")[0].instances
            world.report_backlog()
            counts.append((seen, backlog.of_tenant(world.env, "acme")[0].instances))
        assert counts == [(None, 0), (0, 2), (2, 1)]

    def test_where_it_is_asked_it_tells_what_there_is_now(self, world):
        for count in (0, 2):
            world.backend.instance_count = count
            assert backlog.of_tenant(world.env, "acme")[0].instances == count

    def test_a_report_that_finds_nothing_new_writes_nothing(self, world):
        world.report_backlog()
        before = len(world.tap.calls)
        world.report_backlog()
        assert "store.transact" not in world.tap.calls[before:]
