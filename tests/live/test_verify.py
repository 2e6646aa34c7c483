"""The script for a real account, proven mechanically: moto and our emulator stand in for AWS.

What it measures there must be what the emulator was told to do: by default, and turned around.
"""

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from backburner_local.emulators.objects import S3Objects
from backburner_local.emulators.sagemaker import Knobs, SageMakerEmulator
from tests.live import verify
from tests.live.measurements import MEASUREMENTS
from tests.live.questions import NOT_MEASURED, QUESTIONS
from tests.live.report import rows
from tests.live.site import Site, left_over

#: moto's CloudFormation leaves out the queue's policy, which its SNS does not ask for.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..SQS..QueuePolicy")

#: A minute of AWS lasts so many seconds here.
MINUTE = 1.2
SCALE = MINUTE / 60

TURNED_AROUND: dict[str, Any] = {
    "default_concurrency": 7,
    "backlog_includes_inflight": False,
    "backlog_per_instance_at_zero": "backlog",
    "processed_metric_name": "InvocationsProcessed",
    "on_instance_loss": "lose",
    "failure_key": "filename",
    "failure_key_suffix": ".error",
    "failure_location_in": "top_level",
    "notify_expired": False,
    "test_notifications": False,
}

SERVICES = ("S3", "SNS", "SQS", "CLOUDFORMATION", "IAM", "STS")
EMULATED = ("SAGEMAKER", "SAGEMAKER_RUNTIME", "CLOUDWATCH")


@pytest.fixture
def moto():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def account(moto, monkeypatch):
    """boto3's environment: everything of AWS is moto, but for the emulator."""
    for name in [*SERVICES, *EMULATED]:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", moto)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return monkeypatch


@pytest.fixture
def emulate(account, tmp_path):
    """Start the emulator with knobs, where SageMaker's endpoints are looked for."""
    running = []

    def start(**knobs):
        sns = boto3.client("sns")

        def publish(topic: str, message: str) -> None:
            sns.publish(TopicArn=topic, Message=message)

        emulator = SageMakerEmulator(
            objects=S3Objects(boto3.client("s3")),
            publish=publish,
            data_dir=tmp_path / "emulator",
            knobs=Knobs(
                minute_seconds=MINUTE, time_scale=SCALE, ping_interval_seconds=0.2, **knobs
            ),
            instance_command=[
                *shlex.split(f"{sys.executable} -I -S"),
                str(Path(verify.__file__).with_name("serve.py")),
                "{port}",
            ],
        ).start()
        running.append(emulator)
        for name in EMULATED:
            account.setenv(f"AWS_ENDPOINT_URL_{name}", emulator.url)
        return emulator

    yield start
    for emulator in running:
        emulator.stop()


def run(tmp_path: Path, **options: Any) -> Any:
    given = {"image": "image", "instance_type": "ml.m5.large", "out": tmp_path / "report"}
    return verify.run(**{**given, "max_minutes": 5, "scale": SCALE, **options})


@pytest.mark.long
@pytest.mark.parametrize(
    "knobs", [pytest.param({}, id="default"), pytest.param(TURNED_AROUND, id="turned_around")]
)
def test_what_it_measures_is_what_the_emulator_does(emulate, tmp_path, knobs):
    emulator = emulate(**knobs)
    done, left = run(tmp_path)
    table = rows(done, Knobs(**knobs))
    differing = {
        row["id"]: (row.get("measured"), row["assumed"]) for row in table if not row.get("agrees")
    }
    assert (differing, done.errors, left) == ({}, {}, [])
    assert emulator.status() == {}, "an endpoint was left"
    assert left_over() == []
    written = json.loads((tmp_path / f"report/{done.name}.json").read_text())
    assert [row["id"] for row in written["questions"]] == [one.id for one in QUESTIONS]
    page = (tmp_path / f"report/{done.name}.md").read_text()
    assert ("**differs**" in page) == bool(knobs)
    assert "123456789012" not in page + json.dumps(written)


@pytest.mark.long
def test_everything_is_removed_when_a_run_breaks_off(emulate, tmp_path):
    emulator = emulate()

    def interrupted(site):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, measurements=[interrupted])
    assert emulator.status() == {}
    assert left_over() == []


@pytest.mark.long
def test_a_measurement_that_breaks_leaves_the_others_alone(emulate, tmp_path):
    emulate()

    def broken(site):
        raise ValueError("broken")

    done, _ = run(tmp_path, measurements=[broken, *MEASUREMENTS[:1]])
    assert done.errors == {"broken": "ValueError: broken"}
    assert {finding.question for finding in done.findings} >= {"default-output-key"}
    assert "broken" in (tmp_path / f"report/{done.name}.md").read_text()


@pytest.mark.long
def test_nothing_is_begun_when_the_time_is_over(emulate, tmp_path):
    emulate()
    done, _ = run(tmp_path, max_minutes=0)
    assert done.findings == []
    assert set(done.errors) == {measure.__name__ for measure in MEASUREMENTS}


@pytest.mark.long
def test_what_a_dead_run_left_is_cleaned_up_by_a_later_one(emulate, capsys):
    emulator = emulate()
    site = Site("backburner-live-dead", scale=SCALE)
    site.deploy()
    site.create_endpoint("limited", image="image", instance_type="ml.m5.large")
    site.s3.put_object(Bucket=site.out["Bucket"], Key="left", Body=b"x")
    assert left_over() == ["backburner-live-dead"]
    began = time.monotonic()
    assert verify.main(["cleanup"]) == 0
    assert time.monotonic() - began < 60
    assert (emulator.status(), left_over()) == ({}, [])


def test_without_consent_nothing_is_spent(account, capsys):
    code = verify.main(["run", "--image", "image", "--price-per-hour", "0.5"])
    said = capsys.readouterr().out
    assert code == 2
    assert "1.00 USD" in said
    assert "--yes-spend" in said
    assert left_over() == []


def test_every_question_says_what_is_assumed_and_how_it_is_settled():
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS)
    for question in QUESTIONS:
        assert question.asks.endswith("?")
        assert question.measured_by
        assert question.assumption(Knobs()) is not None
    assert all(NOT_MEASURED.values())
