"""Every path of Message Batches."""

from typing import Any

from tests.aws.scenarios import scenario
from tests.aws.world import MODEL, AwsWorld

PATH = "/v1/messages/batches"


def asked(count: int) -> dict[str, Any]:
    turns = [{"role": "user", "content": "hi"}]
    params = {"model": MODEL, "max_tokens": 5, "messages": turns}
    return {"requests": [{"custom_id": f"r-{n}", "params": params} for n in range(count)]}


@scenario()
def a_message_batch_is_run_read_and_deleted(world: AwsWorld) -> None:
    made = world.post(PATH, asked(20)).json
    world.run()
    path = f"{PATH}/{made['id']}"
    assert world.get(path).json["request_counts"]["succeeded"] == 20
    assert [one["id"] for one in world.get(PATH, "limit=5").json["data"]] == [made["id"]]
    assert len(world.get(f"{path}/results").lines) == 20
    assert world.ask("DELETE", path).json["type"] == "message_batch_deleted"
    assert world.get(path).status == 404
    assert world.objects("batches/") == world.objects("files/") == []


@scenario()
def a_message_batch_is_cancelled_before_it_is_planned(world: AwsWorld) -> None:
    made = world.post(PATH, asked(2)).json
    path = f"{PATH}/{made['id']}"
    assert world.post(f"{path}/cancel").json["processing_status"] == "canceling"
    world.run()
    assert [one["result"]["type"] for one in world.get(f"{path}/results").lines] == ["canceled"] * 2


@scenario()
def bad_messages_leave_nothing_behind(world: AwsWorld) -> None:
    body = asked(2)
    del body["requests"][1]["params"]["max_tokens"]
    assert world.post(PATH, body).status == 400
    assert world.objects("batches/") == []
