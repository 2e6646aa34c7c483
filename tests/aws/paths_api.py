"""Every path of the API."""

import json
from urllib.parse import urlencode, urlsplit

from backburner.domain.batch import BatchStatus
from backburner.services import keys, reservations
from tests.aws import account
from tests.aws.scenarios import scenario
from tests.aws.world import MODEL, AwsWorld, requests
from tests.backend import answer_with, by_name, succeed
from tests.world import CHAT, chat


@scenario()
def a_batch_is_run_and_all_of_it_is_read(world: AwsWorld) -> None:
    batch = world.submit(30)
    world.run()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    shown = world.get(f"/v1/batches/{batch.id}").json
    assert [one["id"] for one in world.get("/v1/batches").json["data"]] == [batch.id]
    assert len(world.get("/v1/files").json["data"]) == 2
    path = f"/v1/files/{shown['output_file_id']}"
    assert world.get(path).json["purpose"] == "batch_output"
    assert len(world.get(f"{path}/content").lines) == 30
    assert len(world.get(f"{path}/content", "offset=10").lines) == 20
    assert world.ask("DELETE", f"/v1/files/{shown['input_file_id']}").json["deleted"]
    world.delete_object(f"files/acme/{shown['output_file_id']}")
    assert world.get(f"{path}/content").status == 404


@scenario()
def results_are_read_while_the_batch_runs(world: AwsWorld) -> None:
    lines = [*requests(2), b"no json", *requests(58, prefix="more")]
    batch = world.submit(lines, x_on_invalid="skip")
    world.pump()
    output, errors = (
        f"/v1/files/{one}/content"
        for one in (world.batch(batch).output_file_id, world.batch(batch).error_file_id)
    )
    world.answer()
    assert not world.batch(batch).is_released
    assert len(world.get(output).lines) == 4
    assert len(world.get(errors).lines) == 1
    assert len(world.get(errors, "offset=1").lines) == 0
    world.run()
    assert len(world.get(output).lines) == 60


@scenario()
def requests_in_the_call_are_run_and_read_one_by_one(world: AwsWorld) -> None:
    given = [{"custom_id": f"r-{n}", "body": chat("x", model=MODEL)["body"]} for n in range(60)]
    made = world.post("/v1/batches", {"endpoint": CHAT, "requests": given}).json
    world.pump()
    world.answer()
    path = f"/v1/batches/{made['id']}"
    assert len(world.get(f"{path}/results", "skip=1").lines) == 3
    world.run()
    assert len(world.get(path).json["results"]) == 60
    assert len(world.get(f"{path}/results", "skip=10").lines) == 50
    content = f"/v1/files/{world.get(path).json['output_file_id']}/content"
    assert len(world.get(content, "offset=20&limit=30").lines) == 30


@scenario()
def a_large_file_is_read_by_a_link_of_its_own(world: AwsWorld) -> None:
    file_id = world.upload(b"x" * 4_300_000)
    answer = world.get(f"/v1/files/{file_id}/content")
    assert answer.status == 302
    assert f"files/acme/{file_id}" in answer.headers["location"]


@scenario()
def a_failed_batch_shows_what_was_wrong(world: AwsWorld) -> None:
    batch = world.submit([b"no json"])
    world.run()
    assert world.batch(batch).status is BatchStatus.FAILED
    assert world.get(f"/v1/batches/{batch.id}").json["errors"]["data"][0]["line"] == 1
    world.delete_object(f"errors/acme/{batch.id}.json")
    assert world.get("/v1/batches").json["data"][0]["errors"]["data"]


@scenario()
def batches_are_cancelled_at_every_stage(world: AwsWorld) -> None:
    unplanned = world.submit(2)
    assert world.post(f"/v1/batches/{unplanned.id}/cancel").json["status"] == "cancelling"
    world.run()
    canary = world.submit(60)
    world.pump()
    assert not world.batch(canary).is_released
    assert world.post(f"/v1/batches/{canary.id}/cancel").status == 200
    world.run()
    waiting = world.submit(8)
    world.pump("plan")
    assert world.post(f"/v1/batches/{waiting.id}/cancel").status == 200
    world.run()
    for batch in (unplanned, canary, waiting):
        assert world.batch(batch).status is BatchStatus.CANCELLED


@scenario()
def a_batch_is_paused_and_resumed(world: AwsWorld) -> None:
    batch = world.submit(60)
    world.pump()
    assert world.post(f"/v1/batches/{batch.id}/pause").json["x_state"] == "paused"
    world.run()
    assert world.batch(batch).status is BatchStatus.IN_PROGRESS
    assert world.post(f"/v1/batches/{batch.id}/resume").json["x_paused"] is False
    # What comes into the queue while the batch is paused is taken out by dispatch.
    late = world.submit(8)
    assert world.post(f"/v1/batches/{late.id}/pause").status == 200
    world.run()
    assert world.post(f"/v1/batches/{late.id}/resume").status == 200
    world.run()
    for one in (batch, late):
        assert world.batch(one).status is BatchStatus.COMPLETED


@scenario()
def what_failed_is_retried(world: AwsWorld) -> None:
    batch = world.submit(8)
    world.run(reply=by_name({f"line-{n}": 400 for n in (2, 5)}))
    path = f"/v1/batches/{batch.id}"
    named = {"request_ids": ["line-2"]}
    one = world.post(f"{path}/retry-requests", named).json
    assert world.post(f"{path}/retry-requests", named).json["id"] == one["id"]
    assert world.post(f"{path}/retry").status == 400  # the other waits for its end
    world.run()
    two = world.post(f"{path}/retry").json
    world.run()
    merged = world.get(f"/v1/batches/{two['id']}").json["x_merged_file_id"]
    assert len(world.get(f"/v1/files/{merged}/content").body.splitlines()) == 8
    assert world.post(f"{path}/retry").status == 400


@scenario()
def a_response_is_made_and_read(world: AwsWorld) -> None:
    response = world.respond()
    path = f"/v1/responses/{response.id}"
    assert world.get(path).json["status"] == "in_progress"
    world.run()
    assert world.get(path).json["status"] == "completed"


@scenario()
def a_large_response_is_kept_in_objects(world: AwsWorld) -> None:
    response = world.respond("x" * 500)
    assert response.input_key is not None
    world.run(reply=lambda request: succeed(request) | {"more": "x" * 500})
    path = f"/v1/responses/{response.id}"
    assert world.get(path).json["status"] == "completed"
    world.delete_object(response.input_key)
    assert world.get(path).status == 404


@scenario()
def a_response_is_cancelled_while_it_runs(world: AwsWorld) -> None:
    response = world.respond()
    assert world.post(f"/v1/responses/{response.id}/cancel").json["status"] == "cancelled"
    world.pump()
    assert world.batch(response).status is BatchStatus.CANCELLED


@scenario()
def a_response_is_continued_and_deleted(world: AwsWorld) -> None:
    first = world.respond("x" * 500)
    world.run()
    path = f"/v1/responses/{first.id}"
    assert len(world.get(f"{path}/input_items").json["data"]) == 1
    asked = {"model": MODEL, "input": "on", "background": True, "previous_response_id": first.id}
    second = world.post("/v1/responses", asked)
    assert second.status == 200
    assert world.ask("DELETE", path).json["deleted"]
    assert world.get(path).status == 404
    assert world.ask("DELETE", f"/v1/responses/{second.json['id']}").json["deleted"]
    world.run()


@scenario()
def a_request_is_asked_for_read_and_deleted(world: AwsWorld) -> None:
    body = json.dumps(chat("one", model=MODEL)["body"]).encode()
    answer = world.ask("POST", CHAT, body, prefer="wait=1")
    assert answer.status == 202
    path = f"/v1/requests/{answer.json['id']}"
    assert world.get(f"{path}/status").json["status"] == "in_progress"
    world.run()
    assert world.get(path).json["object"] == "chat.completion"
    assert world.get("/v1/requests").json["data"]
    assert world.ask("DELETE", path).json["deleted"]


def _ask_raw(world: AwsWorld, body: bytes, **query: str) -> str:
    """A raw request; returns where its answer will be."""
    asked = urlencode({"model": MODEL} | query)
    answer = world.ask("POST", "/v1/requests", body, query=asked, content_type="image/png")
    assert answer.status in (201, 202), answer.body
    return f"/v1/requests/{answer.json['id']}"


@scenario()
def a_raw_request_is_answered(world: AwsWorld) -> None:
    small, large = _ask_raw(world, b"\x00"), _ask_raw(world, b"\x00" * 10_000)
    for one in world.outstanding:
        world.answer(one, data=b"\xff")
    assert [world.get(path).body for path in (small, large)] == [b"\xff"] * 2
    assert world.ask("DELETE", large).status == 200
    world.run()


@scenario()
def a_raw_request_has_a_large_answer(world: AwsWorld) -> None:
    path = _ask_raw(world, b"\x00")
    world.answer(data=b"x" * 4_300_000)
    answer = world.get(path)
    assert answer.status == 303
    assert "response-content-type=image%2Fpng" in answer.headers["location"]


@scenario()
def a_raw_request_fails(world: AwsWorld) -> None:
    path = _ask_raw(world, b"\x00")
    world.fail(status=415)
    assert world.get(path).status == 415


@scenario()
def a_raw_request_is_uploaded(world: AwsWorld) -> None:
    asked = urlencode({"model": MODEL, "upload": "true"})
    made = world.ask("POST", "/v1/requests", query=asked, content_type="image/png").json
    split = urlsplit(made["start"]["url"])
    assert world.ask("POST", split.path, query=split.query).status == 400
    key = f"batches/acme/{made['id']}/body"
    assert key in made["upload"]["url"]
    world.own.s3.put_object(Bucket=world.bucket, Key=key, Body=b"\x00")
    assert world.ask("POST", split.path, query=split.query).status == 202
    world.answer(told=False, data=b"\xff")
    world.clock.advance(600)
    world.reap()
    assert world.get(f"/v1/requests/{made['id']}").status == 303


@scenario()
def a_raw_request_is_uploaded_and_never_started(world: AwsWorld) -> None:
    asked = urlencode({"model": MODEL, "upload": "true"})
    made = world.ask("POST", "/v1/requests", query=asked, content_type="image/png").json
    key = f"batches/acme/{made['id']}/body"
    world.own.s3.put_object(Bucket=world.bucket, Key=key, Body=b"\x00")
    world.clock.advance(reservations.SECONDS)
    world.reap()
    assert world.objects("batches/") == []


@scenario()
def a_response_waits_for_a_slot(world: AwsWorld) -> None:
    slots = world.env.catalog.models[MODEL].slots
    waiting = [world.respond() for _ in range(slots + 1)][-1]
    assert len(world.outstanding) == slots
    # One slot becomes free just before the next one is told to wait.
    world.recorder.meanwhile("dynamodb", "TransactWriteItems", world.answer, after=1)
    late = world.respond()
    world.run()
    assert world.recorder.is_all_done
    for response in (waiting, late):
        assert world.batch(response).status is BatchStatus.COMPLETED


@scenario()
def a_response_is_not_taken_by_the_endpoint(world: AwsWorld) -> None:
    world.recorder.refuse(
        "sagemaker-runtime", "InvokeEndpointAsync", "ThrottlingException", status=400
    )
    throttled = world.respond()
    assert not world.outstanding
    world.run()
    assert world.batch(throttled).status is BatchStatus.COMPLETED


@scenario()
def nobody_can_wake_the_endpoint(world: AwsWorld) -> None:
    account.delete_endpoint(world.own, world.stack)
    world.respond()
    account.create_endpoint(world.own, world.stack)
    world.run()


@scenario()
def who_has_no_key_reads_nothing(world: AwsWorld) -> None:
    assert world.ask("GET", "/v1/models").status == 200
    assert world.ask("GET", "/v1/batches", key="wrong").status == 401
    assert world.get("/v1/batches/batch_unknown").status == 404
    assert world.get("/v1/files/file_unknown/content").status == 404


@scenario()
def an_operator_revokes_a_key(world: AwsWorld) -> None:
    secret, _ = keys.create(world.env, "zeta")
    assert world.ask("GET", "/v1/models", key=secret).status == 200
    keys.revoke(world.env, secret)


@scenario()
def a_response_fails_for_good(world: AwsWorld) -> None:
    response = world.respond()
    world.run(reply=answer_with(400))
    assert world.get(f"/v1/responses/{response.id}").json["status"] == "failed"
    line = chat("one", model=MODEL)
    assert world.post("/v1/responses", line["body"] | {"model": "none"}).status in (400, 404)
