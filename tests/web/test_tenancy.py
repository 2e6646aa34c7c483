"""A tenant sees only its own."""

import json

import pytest

from tests.web.conftest import requests
from tests.world import CHAT

ROUTES = [
    ("GET", "/v1/files/{file}"),
    ("DELETE", "/v1/files/{file}"),
    ("GET", "/v1/files/{file}/content"),
    ("GET", "/v1/files/{output}"),
    ("DELETE", "/v1/files/{output}"),
    ("GET", "/v1/files/{output}/content"),
    ("GET", "/v1/files/{partial}"),
    ("DELETE", "/v1/files/{partial}"),
    ("GET", "/v1/files/{partial}/content"),
    ("GET", "/v1/batches/{batch}"),
    ("POST", "/v1/batches/{batch}/cancel"),
    ("POST", "/v1/batches/{batch}/retry"),
    ("GET", "/v1/batches/{batch}/results"),
    ("GET", "/v1/batches/{running}"),
    ("GET", "/v1/batches/{running}/results"),
    ("GET", "/v1/batches/{running}/events"),
    ("POST", "/v1/batches/{running}/cancel"),
    ("POST", "/v1/batches/{running}/pause"),
    ("POST", "/v1/batches/{running}/resume"),
    ("GET", "/v1/responses/{response}"),
    ("GET", "/v1/responses/{response}/input_items"),
    ("POST", "/v1/responses/{response}/cancel"),
    ("DELETE", "/v1/responses/{response}"),
    ("GET", "/v1/requests/{request}"),
    ("GET", "/v1/requests/{request}/status"),
    ("POST", "/v1/requests/{request}/cancel"),
    ("DELETE", "/v1/requests/{request}"),
]


@pytest.fixture
def ids(world, acme):
    """One of everything that the tenant acme can have."""
    done = acme.batch(requests(1))
    world.pump()
    world.reply()
    world.pump()
    done = acme.get(f"/v1/batches/{done['id']}").json
    running = acme.batch(requests(4))
    world.pump()
    world.reply(count=1)
    running = acme.get(f"/v1/batches/{running['id']}").json
    asked = {"model": "tiny", "input": "hi", "background": True}
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    later = {"prefer": "respond-async"}
    request = acme.ask("POST", CHAT, json.dumps(chat).encode(), later).json
    return {
        "request": request["id"],
        "file": acme.upload(b"x").json["id"],
        "batch": done["id"],
        "output": done["output_file_id"],
        "running": running["id"],
        "partial": running["output_file_id"],
        "response": acme.post("/v1/responses", asked).json["id"],
    }


def test_another_tenants_ids_name_nothing(acme, other, ids):
    for method, path in ROUTES:
        answer = other.ask(method, path.format(**ids))
        assert answer.status == 404, (method, path)
        stranger = other.ask(method, path.format(**{n: v[:-1] + "z" for n, v in ids.items()}))
        assert stranger.status == 404
        assert answer.error["type"] == stranger.error["type"]
    for path in ("/v1/files/{file}", "/v1/batches/{running}", "/v1/responses/{response}"):
        assert acme.get(path.format(**ids)).status == 200
    assert acme.get("/v1/batches/{running}".format(**ids)).json["status"] == "in_progress"


def test_another_tenants_file_is_no_input(other, ids):
    for name in ("file", "output"):
        answer = other.post("/v1/batches", {"input_file_id": ids[name], "endpoint": CHAT})
        assert answer.status == 404


def test_lists_hold_nothing_of_another_tenant(other, ids):
    for path in ("/v1/files", "/v1/batches", "/v1/requests"):
        assert other.get(path).json["data"] == []
        assert other.get(path, after=ids["file"]).json["data"] == []


def test_a_file_name_can_not_lead_out_of_the_tenants_own(world, other, ids):
    for path in (f"/v1/files/..%2Facme%2F{ids['file']}", f"/v1/files/../acme/{ids['file']}"):
        answer = other.get(f"{path}/content")
        assert answer.status == 404
        assert json.loads(answer.body)["error"]
