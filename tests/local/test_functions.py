"""Handlers are found through the template, and called as Lambda calls them."""

import re

import pytest

from backburner_local import functions
from backburner_local.template import Function, Trigger

CODE = """
calls = []

def handler(event, context):
    calls.append(event)
    return {"event": event, "name": context.function_name,
            "left": context.get_remaining_time_in_millis(), "id": context.aws_request_id}
"""


def declared(folder: str, handler: str = "app.handler") -> Function:
    return Function(
        name="Work",
        folder=folder,
        handler=handler,
        timeout_seconds=20,
        triggers=(
            Trigger(kind="SQS", properties={"Queue": "a"}),
            Trigger(kind="SNS", properties={"Topic": "b"}),
            Trigger(kind="SQS", properties={"Queue": "c"}),
        ),
    )


@pytest.fixture
def root(tmp_path, request):
    # Modules stay loaded, by the names of their folders.
    name = re.sub(r"\W", "_", request.node.name)
    folder = tmp_path / name
    folder.mkdir()
    (folder / "app.py").write_text(CODE)
    return folder


def test_a_handler_gets_its_event_and_a_context(root):
    function = functions.load(root.parent, declared(root.name))

    answer = function({"hello": 1})

    assert answer["event"] == {"hello": 1}
    assert answer["name"] == function.name == "Work"
    assert 0 < answer["left"] <= 20_000


def test_every_invocation_has_an_id_of_its_own(root):
    function = functions.load(root.parent, declared(root.name))
    assert function({})["id"] != function({})["id"]


def test_a_module_is_loaded_once_and_kept_as_a_warm_function_is(root):
    first = functions.load(root.parent, declared(root.name))
    second = functions.load(root.parent, declared(root.name))
    assert first.handler is second.handler


def test_event_sources_are_found_by_their_kind(root):
    function = functions.load(root.parent, declared(root.name))
    assert [one.properties["Queue"] for one in function.triggers("SQS")] == ["a", "c"]
    assert function.triggers("S3") == []


def test_a_folder_without_code_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        functions.load(tmp_path, declared("nothing-here"))


def test_a_handler_that_the_module_has_not_is_an_error(root):
    with pytest.raises(AttributeError, match="other"):
        functions.load(root.parent, declared(root.name, "app.other"))
