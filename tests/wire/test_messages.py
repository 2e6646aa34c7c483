"""Messages of one event: each is handled, and fails, by what it says."""

from typing import Any

from backburner.wire.messages import each_message


def event(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": f"m{n}", "body": body} for n, body in enumerate(bodies)]}


def failed(answer: dict[str, Any]) -> set[str]:
    return {item["itemIdentifier"] for item in answer["batchItemFailures"]}


def test_messages_that_say_the_same_are_handled_once():
    handled: list[str] = []
    answer = each_message(
        event('{"pool":"a"}', '{"pool":"b"}', '{"pool":"a"}'),
        lambda message: handled.append(message["pool"]),
    )
    assert handled == ["a", "b"]
    assert failed(answer) == set()


def test_messages_that_say_the_same_fail_together_and_leave_the_others_alone():
    def handle(message: dict[str, Any]) -> None:
        if message["pool"] == "a":
            raise ValueError("not today")

    assert failed(each_message(event('{"pool":"a"}', '{"pool":"b"}', '{"pool":"a"}'), handle)) == {
        "m0",
        "m2",
    }
