"""Models over HTTP."""

import pytest


def test_all_models_are_listed(acme):
    page = acme.get("/v1/models").json
    assert [one["id"] for one in page["data"]] == [
        "tiny",
        "acme/large",
        "mistral-tiny",
        "embedder",
        "vision",
    ]
    assert page["has_more"] is False


@pytest.mark.parametrize(
    ("path", "name"),
    [("tiny", "tiny"), ("acme/large", "acme/large"), ("acme%2Flarge", "acme/large")],
)
def test_a_model_is_found_by_its_name(acme, path, name):
    model = acme.get(f"/v1/models/{path}").json
    assert (model["id"], model["object"]) == (name, "model")
    assert model["x_context_window"] == 4096


@pytest.mark.parametrize("name", ["huge", "a/b", "%F0%9F", "日本"])
def test_a_model_that_is_not_there_is_not_found(acme, name):
    answer = acme.get(f"/v1/models/{name}")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
