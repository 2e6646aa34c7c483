"""Every path of webhooks, and of telling again what could not be told."""

from backburner.ports import HookAnswer
from tests.aws.scenarios import scenario
from tests.aws.world import AwsWorld

ENDPOINTS, DELIVERIES = "/v1/webhook_endpoints", "/v1/x-deliveries"
ENDPOINT = {
    "name": "hook",
    "url": "https://hooks.example.com/",
    "event_types": ["batch.completed", "response.completed"],
    "x_notify_email": "ann@example.com",
}


@scenario()
def webhooks_are_told(world: AwsWorld) -> None:
    made = world.post(ENDPOINTS, ENDPOINT).json
    world.post("/v1/x-callback-secret", {})
    world.submit(2, callback_url="https://mine.example.com/")
    world.respond()
    world.run()
    assert len(world.receiver.posted) == 3
    path = f"{ENDPOINTS}/{made['id']}"
    world.post(f"{path}/test", {"event_type": "batch.failed"})
    world.post(f"{path}/rotate_secret", {})
    assert world.ask("DELETE", path).json["deleted"]


@scenario()
def a_webhook_that_is_gone_is_disabled_and_told_again_later(world: AwsWorld) -> None:
    made = world.post(ENDPOINTS, ENDPOINT).json
    world.receiver.answer = lambda _: HookAnswer(status=410)
    world.respond()
    world.run()
    assert world.get(f"{ENDPOINTS}/{made['id']}").json["x_status"] == "disabled"
    assert world.recorder.names("deliver").count("sesv2:SendEmail") == 1
    world.receiver.answer = lambda _: HookAnswer(status=200)
    world.post(f"{ENDPOINTS}/{made['id']}", {"name": "mended"})
    (dead,) = world.get(DELIVERIES, "status=dead").json["data"]
    world.post(f"{DELIVERIES}/{dead['id']}/replay", {})
    world.run()
    world.respond()
    world.receiver.answer = lambda _: HookAnswer(status=410)
    world.run()
    assert world.post(f"{DELIVERIES}/replay", {"since": 0}).json["replayed"] == 1
    world.run()
