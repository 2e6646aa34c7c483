"""Instances come when there is work, and go when there is none: as the template says."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.local.stacks import CHAT, MODEL, lines, names, request, requests, wait_until

pytestmark = pytest.mark.slow

ENDPOINT = "backburner-mistral"


class Place:
    """A stack whose instances are counted."""

    def __init__(self, data_dir: Path, ending: ExitStack, **options: Any) -> None:
        chosen = Options(data_dir=data_dir, port=0, engine="null", durable=False, **options)
        self.stack = ending.enter_context(Stack(chosen))
        key = (data_dir / "dev.key").read_text().strip()
        self.client = ending.enter_context(Client.connect(self.stack.url, key))
        self._input = data_dir.parent / "in.jsonl"

    def submit(self, content: bytes) -> str:
        self._input.write_bytes(content)
        file_id = self.client.upload(self._input)["id"]
        batch = self.client.create_batch(
            input_file_id=file_id, endpoint=CHAT, completion_window="24h"
        )
        return str(batch["id"])

    def status(self, batch_id: str) -> str:
        return str(self.client.batch(batch_id)["status"])

    def output(self, batch_id: str) -> list[str]:
        found = lines(self.client.content(self.client.batch(batch_id)["output_file_id"]))
        return [line["custom_id"] for line in found]

    def variant(self) -> dict[str, Any]:
        """The endpoint's one variant, as boto3 would see it."""
        asked = {"EndpointName": ENDPOINT}
        answer = self.stack.emulator.call("sagemaker", "DescribeEndpoint", asked)
        assert answer is not None
        variant: dict[str, Any] = answer["ProductionVariants"][0]
        return variant

    def running(self) -> int:
        return int(self.variant()["CurrentInstanceCount"])

    def wants_more(self) -> bool:
        dimensions = {"EndpointName": ENDPOINT}
        self.stack.emulator.put_metric("Backburner", "WantedInstances", dimensions, 2)
        return True

    def started(self) -> int:
        """Instances that ever were: each has a log."""
        return len(list((self.stack.options.data_dir / "sagemaker").rglob("i-*.log")))


@pytest.fixture
def place(tmp_path) -> Iterator[Callable[..., Place]]:
    """Starts a stack with the given options."""
    with ExitStack() as ending:
        yield lambda **options: Place(tmp_path / "data", ending, **options)


def test_instances_go_from_none_to_the_most_and_back_to_none_and_come_again(place):
    here = place(minute_seconds=0.5, idle_minutes=2, max_instances=2)
    assert here.running() == 0
    assert here.started() == 0

    batch_id = here.submit(requests(16) + requests_with_delay(17, 1000, seconds=1.0))

    wait_until(lambda: here.running() == 1, "the first instance")
    # Work that must be done sooner wants more; windows that short are not for a test to wait for.
    wait_until(lambda: here.wants_more() and here.running() == 2, "both instances")
    wait_until(lambda: here.status(batch_id) == "completed", "the end of the batch")
    wait_until(lambda: here.running() == 0, "the end of the instances")
    assert here.output(batch_id) == names(1000)
    assert here.started() == 2

    again = here.submit(requests(3))
    wait_until(lambda: here.status(again) == "completed", "the end of the second batch")
    assert here.output(again) == names(3)
    assert here.started() == 3


def test_work_asks_for_an_instance_itself_and_does_not_wait_for_an_alarm(place):
    others = _servers()  # of a stack that other tests share
    here = place(minute_seconds=3600.0)  # no schedule fires again, and no alarm at all

    batch_id = here.submit(requests(100))

    wait_until(lambda: here.status(batch_id) == "completed", "the end of the batch")
    assert here.output(batch_id) == names(100)
    assert here.started() == 1

    servers = _servers() - others
    assert servers
    here.stack.stop()
    assert not _servers() & servers, "an instance outlived its stack"


def test_a_single_request_asks_for_an_instance_which_takes_its_time_to_come(place):
    here = place(minute_seconds=3600.0, provisioning_seconds=1.0)

    made = here.client.http.post(
        "/v1/responses", json={"model": MODEL, "input": "hello", "background": True}
    ).json()

    def status() -> str:
        response = here.client.http.get(f"/v1/responses/{made['id']}").json()
        return str(response["status"])

    wait_until(lambda: here.variant()["DesiredInstanceCount"] == 1, "the wish for an instance")
    assert here.running() == 0
    assert status() in ("queued", "in_progress")
    wait_until(lambda: status() == "completed", "the response")


@pytest.mark.long
def test_an_instance_that_works_is_not_stopped_for_being_idle(place):
    here = place(minute_seconds=0.2, idle_minutes=1)

    # Some ten times as long as an idle endpoint lasts.
    batch_id = here.submit(request(1) + request(2, "null:delay=2"))

    wait_until(lambda: here.status(batch_id) == "completed", "the end of the batch")
    assert here.output(batch_id) == ["r1", "r2"]
    assert here.started() == 1
    wait_until(lambda: here.running() == 0, "the end of the instance")


def test_the_backlog_is_reported_at_zero_too(place):
    here = place(minute_seconds=0.5)

    def reported() -> str:
        text: str = here.client.http.get("/metrics").text
        return text

    wait_until(lambda: "backburner_outstanding_requests" in reported(), "the report")
    values = dict(line.rsplit(" ", 1) for line in reported().splitlines() if line[0] != "#")
    dimension = f'{{endpoint_name="{ENDPOINT}"}}'
    assert values[f"backburner_outstanding_requests{dimension}"] == "0"
    assert values[f"backburner_instances{dimension}"] == "0"


def requests_with_delay(first: int, last: int, *, seconds: float) -> bytes:
    text = f"null:delay={seconds}"
    return b"".join(request(number, text) for number in range(first, last + 1))


def _servers() -> set[str]:
    """Processes of the model's server that this process started."""
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        found |= set((thread / "children").read_text().split())
    return {pid for pid in found if _is_server(pid)}


def _is_server(pid: str) -> bool:
    try:
        return b"backburner_model.server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
