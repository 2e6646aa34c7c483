"""Where a batch would run, over HTTP."""

from dataclasses import replace

import pytest

from tests.world import a_catalog, a_model

MANY = {"requests": 1000, "bytes": 100_000, "prompt_bytes": 80_000, "answer_tokens": 64_000}


def test_each_model_is_told_its_backend_and_why(acme):
    answer = acme.post("/v1/estimates", {"models": {"tiny": MANY, "acme/large": {"requests": 1}}})
    assert answer.status == 200
    assert (answer.json["object"], answer.json["completion_window"]) == ("estimate", "24h")
    tiny, large = answer.json["data"]
    assert (tiny["model"], tiny["requests"], tiny["why"]) == ("tiny", 1000, "the only backend")
    assert large["requests"] == 1
    (offer,) = tiny["options"]
    assert offer["backend"] == tiny["backend"]
    assert offer["free_slots"] == offer["slots"] > 0
    assert offer["refusal"] is None


def test_answers_without_a_limit_are_taken_to_be_usual_ones(world):
    priced = a_model("tiny", input_price=0.0, output_price=2.0, answer_tokens=500)
    world.set_env(replace(world.untapped, catalog=a_catalog(priced)))
    asked = MANY | {"answer_tokens": 400_000, "unlimited_requests": 200}
    estimate = world.client("acme").post("/v1/estimates", {"models": {"tiny": asked}}).json
    (offer,) = estimate["data"][0]["options"]
    assert offer["cost_usd"] == (400_000 + 200 * 500) * 2.0 / 1e6


def test_nothing_is_stored(acme):
    acme.post("/v1/estimates", {"models": {"tiny": MANY}})
    assert acme.get("/v1/batches").json["data"] == []
    assert acme.get("/v1/files").json["data"] == []


@pytest.mark.parametrize(
    ("body", "param", "status"),
    [
        ({}, "models", 400),
        ({"models": []}, "models", 400),
        ({"models": {}}, "models", 400),
        ({"models": {"tiny": 7}}, "models.tiny", 400),
        ({"models": {"tiny": {}}}, "models.tiny.requests", 400),
        ({"models": {"tiny": {"requests": 0}}}, "models.tiny.requests", 400),
        ({"models": {"tiny": {"requests": True}}}, "models.tiny.requests", 400),
        ({"models": {"tiny": {"requests": 1.5}}}, "models.tiny.requests", 400),
        ({"models": {"tiny": MANY | {"bytes": -1}}}, "models.tiny.bytes", 400),
        ({"models": {"tiny": MANY | {"bytes": 2**60}}}, "models.tiny.bytes", 400),
        ({"models": {"tiny": MANY}, "endpoint": 7}, "endpoint", 400),
        ({"models": {"tiny": MANY}, "completion_window": "1y"}, "completion_window", 400),
        ({"models": {"huge": MANY}}, "model", 404),
    ],
)
def test_what_is_wrong_is_named(acme, body, param, status):
    answer = acme.post("/v1/estimates", body)
    assert (answer.status, answer.error["param"]) == (status, param)
