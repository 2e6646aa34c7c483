"""Checklist 9 and the life of instances: real processes, replaced, drained and never orphaned."""

import os
import signal
import sys
import time
from typing import Any

import pytest

from tests.emulators.conftest import COMMAND, ERROR, SUCCESS, Stage, endpoint, wait_until

DEAF = [*COMMAND, "deaf"]


def counts(stage: Stage) -> Any:
    return stage.emulator.instances()["my-ep"]


def pids(stage: Stage) -> list[int]:
    hosted = stage.emulator._started.result()[0].control.endpoints["my-ep"]
    return [one.pid for one in hosted.pool.instances]


def scale(stage: Stage, count: int) -> None:
    stage.control.update_endpoint_weights_and_capacities(
        EndpointName="my-ep",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": count}],
    )


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("limit", "instances", "peak", "seconds"),
    [(1, 1, 1, 0.02), (2, 2, 2, 0.1), (None, 1, 4, 0.1), (16, 1, 10, 2.0)],
)
def test_concurrency_is_instances_times_invocations_per_instance(
    stage, limit, instances, peak, seconds
):
    stage.start(
        endpoint(max_concurrent_invocations_per_instance=limit, initial_instance_count=instances)
    )
    stage.in_service(instances)
    for _ in range(10):
        stage.invoke(f"peak={seconds}")
    outputs = [
        stage.read(message["responseParameters"]["outputLocation"]).split()
        for _, message in stage.listener.wait(10)
    ]
    assert max(int(running) for running, _ in outputs) == peak
    assert len({pid for _, pid in outputs}) == instances


def test_instances_are_provisioning_then_in_service_then_gone(stage):
    stage.start(endpoint(initial_instance_count=0), provisioning_delay_seconds=0.8)
    stage.in_service(0)
    scale(stage, 1)
    assert stage.describe()["EndpointStatus"] == "Updating"
    assert counts(stage) == {"provisioning": 1}
    stage.in_service(1)
    assert counts(stage) == {"in_service": 1}
    scale(stage, 0)
    stage.in_service(0)
    assert counts(stage) == {}
    assert [count for _, count in stage.emulator.history["my-ep"]] == [0, 1, 0]


def test_a_provisioning_instance_that_is_no_longer_wanted_never_starts(stage):
    stage.start(endpoint(initial_instance_count=1), provisioning_delay_seconds=60)
    assert counts(stage) == {"provisioning": 1}
    started = time.monotonic()
    stage.stop()
    assert time.monotonic() - started < 5


def test_work_waits_at_zero_instances_and_runs_when_there_is_one(stage):
    stage.start(endpoint(initial_instance_count=0))
    stage.invoke()
    stage.in_service(0)
    time.sleep(0.2)
    assert stage.listener.results() == []
    scale(stage, 1)
    stage.listener.wait()


def test_a_dead_instance_is_replaced_and_its_work_is_done_again(stage, tmp_path):
    stage.start(endpoint())
    stage.in_service(1)
    topic, message = stage.result(f"crash={tmp_path / 'crashed'}")
    assert topic == SUCCESS
    assert stage.read(message["responseParameters"]["outputLocation"]) == b"survived"
    assert len(stage.listener.results()) == 1


def test_a_killed_instance_is_replaced_when_idle_too(stage):
    stage.start(endpoint())
    stage.in_service(1)
    (before,) = pids(stage)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: pids(stage) not in ([], [before]) and counts(stage) == {"in_service": 1})


def test_a_hung_instance_fails_its_pings_and_is_replaced(stage):
    stage.start(
        endpoint(), ping_timeout_seconds=0.2, ping_failures_allowed=2, stop_grace_seconds=0.2
    )
    stage.in_service(1)
    (before,) = pids(stage)
    os.kill(before, signal.SIGSTOP)
    wait_until(lambda: before not in pids(stage) and counts(stage) == {"in_service": 1})
    assert not is_alive(before)


@pytest.mark.parametrize(("knob", "told"), [("redeliver", 1), ("lose", 0)])
def test_work_of_a_lost_instance_is_redelivered_or_lost_as_the_knob_says(stage, knob, told):
    stage.start(endpoint(), on_instance_loss=knob, stop_grace_seconds=0.2, command=DEAF)
    stage.in_service(1)
    stage.invoke("sleep=2")
    wait_until(lambda: stage.emulator.status()["my-ep"]["in_flight"] == 1)
    scale(stage, 0)
    stage.in_service(0)
    wait_until(lambda: stage.emulator.status()["my-ep"]["waiting"] == told)
    scale(stage, 1)
    stage.in_service(1)
    stage.invoke(InferenceId="next")
    results = [message["inferenceId"] for _, message in stage.listener.wait(told + 1)]
    assert len(results) == told + 1


def test_work_that_kills_every_instance_fails_after_as_many_as_the_knob_says(stage):
    stage.start(endpoint(), redeliveries_allowed=1)
    stage.in_service(1)
    topic, message = stage.result("crash")
    assert topic == ERROR
    assert "instances that worked on the request were lost" in message["failureReason"]
    topic, _ = stage.result()
    assert topic == SUCCESS


def test_scaling_in_lets_an_instance_finish_within_its_grace(stage):
    stage.start(endpoint(), stop_grace_seconds=5, command=DEAF)
    stage.in_service(1)
    (pid,) = pids(stage)
    stage.invoke("sleep=0.5")
    wait_until(lambda: stage.emulator.status()["my-ep"]["in_flight"] == 1)
    scale(stage, 0)
    wait_until(lambda: counts(stage) == {"stopping": 1})
    stage.listener.wait()
    os.kill(pid, signal.SIGKILL)
    stage.in_service(0)
    assert [topic for topic, _ in stage.listener.results()] == [SUCCESS]


def test_an_instance_that_never_starts_makes_the_endpoint_failed(stage):
    stage.start(endpoint(instance_command=["/no/such/program"]), replace_backoff_seconds=0.05)
    wait_until(lambda: stage.describe()["EndpointStatus"] == "Failed")
    assert "did not pass the ping health check" in stage.describe()["FailureReason"]


def test_what_an_instance_says_is_kept_in_a_log(stage):
    shouting = [sys.executable, "-c", "print('I am here', flush=True); raise SystemExit(1)"]
    stage.start(endpoint(instance_command=shouting))

    def logs() -> list[str]:
        return [one.read_text() for one in (stage.root / "data/logs").rglob("*.log")]

    assert wait_until(lambda: [one for one in logs() if one]) == ["I am here\n"]


def test_an_instance_gets_the_environment_of_its_container(stage, tmp_path):
    script = f"import os; open({str(tmp_path / 'env')!r}, 'w').write(os.environ['MODEL'])"
    stage.start(
        endpoint(instance_command=[sys.executable, "-c", script], environment={"MODEL": "mistral"})
    )
    wait_until(lambda: (tmp_path / "env").exists() and (tmp_path / "env").read_text() == "mistral")


def test_stopping_the_emulator_leaves_no_process(stage):
    stage.start(endpoint(initial_instance_count=2))
    stage.in_service(2)
    processes = pids(stage)
    stage.stop()
    assert not any(is_alive(pid) for pid in processes)


def test_a_notification_is_tried_until_the_topic_takes_it(stage):
    stage.start(endpoint(), test_notifications=False)
    stage.listener.refusals = 3
    topic, _ = stage.result()
    assert topic == SUCCESS
    assert sum(stage.metric("NotificationFailures")) == 3


def test_a_failing_request_does_not_hold_up_the_others(stage):
    stage.start(endpoint(max_concurrent_invocations_per_instance=4))
    for number in range(8):
        stage.invoke("status=500" if number % 2 else None)
    topics = [topic for topic, _ in stage.listener.wait(8)]
    assert sorted(topics) == sorted([SUCCESS] * 4 + [ERROR] * 4)
