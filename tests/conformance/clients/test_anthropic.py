"""Every call of message batches, and messages, by the anthropic package."""

import itertools

import anthropic
import pytest
from anthropic import Anthropic
from conftest import KEY, MODEL, URL, until


@pytest.fixture(scope="module")
def ai():
    with Anthropic(base_url=URL, api_key=KEY) as client:
        yield client


def asked(name, **params):
    message = {"role": "user", "content": f"say {name}"}
    return {
        "custom_id": name,
        "params": {"model": MODEL, "max_tokens": 32, "messages": [message], **params},
    }


def a_batch(ai, count):
    return ai.messages.batches.create(requests=[asked(f"r{n}") for n in range(1, count + 1)])


def ended(ai, batch):
    return until(
        lambda: (
            (now := ai.messages.batches.retrieve(batch.id)).processing_status == "ended" and now
        ),
        "the batch's end",
    )


def counted(batch):
    counts = batch.request_counts
    return counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired


def test_a_batch_runs_to_its_results(ai):
    batch = a_batch(ai, 20)
    assert batch.id.startswith("msgbatch_")
    assert batch.type == "message_batch"
    assert batch.processing_status == "in_progress"
    assert batch.results_url is None
    assert counted(batch) == 20
    done = ended(ai, batch)
    assert done.request_counts.succeeded == counted(done) == 20
    assert done.results_url.startswith(URL)
    assert done.ended_at is not None
    results = list(ai.messages.batches.results(batch.id))
    assert [one.custom_id for one in results] == [f"r{n}" for n in range(1, 21)]
    message = results[0].result.message
    assert (message.type, message.role) == ("message", "assistant")
    assert message.content[0].text
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.usage.output_tokens > 0


def test_results_are_not_there_before_the_end(ai):
    batch = a_batch(ai, 1000)
    with pytest.raises(anthropic.AnthropicError):
        ai.messages.batches.results(batch.id)
    ai.messages.batches.cancel(batch.id)


def test_a_cancelled_batch_keeps_what_finished(ai):
    batch = a_batch(ai, 1000)
    cancelled = ai.messages.batches.cancel(batch.id)
    assert cancelled.processing_status in ("canceling", "ended")
    assert cancelled.cancel_initiated_at is not None
    done = ended(ai, batch)
    kinds = [one.result.type for one in ai.messages.batches.results(batch.id)]
    assert len(kinds) == counted(done) == 1000
    assert set(kinds) <= {"succeeded", "canceled"}
    assert kinds.count("canceled") == done.request_counts.canceled


def test_batches_are_listed_newest_first_and_deleted_once_they_ended(ai):
    made = [a_batch(ai, 1).id for _ in range(3)]
    listed = [one.id for one in itertools.islice(ai.messages.batches.list(limit=2), 3)]
    assert listed == made[::-1]  # over two pages
    running = a_batch(ai, 2000)
    with pytest.raises(anthropic.BadRequestError):
        ai.messages.batches.delete(running.id)
    ai.messages.batches.cancel(running.id)
    ended(ai, ai.messages.batches.retrieve(made[0]))
    deleted = ai.messages.batches.delete(made[0])
    assert (deleted.id, deleted.type) == (made[0], "message_batch_deleted")
    with pytest.raises(anthropic.NotFoundError) as refused:
        ai.messages.batches.retrieve(made[0])
    assert refused.value.request_id


def test_beta_is_the_same(ai):
    batch = ai.beta.messages.batches.create(requests=[asked("one")])
    until(lambda: ai.beta.messages.batches.retrieve(batch.id).processing_status == "ended")
    (result,) = list(ai.beta.messages.batches.results(batch.id))
    assert result.result.type == "succeeded"


def test_a_message_may_have_all_that_a_chat_has(ai):
    tool = {"name": "look", "description": "d", "input_schema": {"type": "object"}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "this"}}
    seen = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}
    batch = ai.messages.batches.create(
        requests=[
            asked(
                "all",
                system=[{"type": "text", "text": "Be short."}],
                messages=[
                    {"role": "user", "content": [{"type": "text", "text": "Look."}]},
                    {"role": "assistant", "content": [call]},
                    {"role": "user", "content": [seen]},
                ],
                tools=[tool],
                stop_sequences=["END"],
                temperature=0.5,
            )
        ]
    )
    ended(ai, batch)
    (result,) = list(ai.messages.batches.results(batch.id))
    assert result.result.type == "succeeded", result


@pytest.mark.parametrize(
    ("requests", "named"),
    [
        ([asked("a"), asked("a")], "requests.1.custom_id"),
        ([asked("a b")], "requests.0.custom_id"),
        ([asked("a"), asked("b", max_tokens=0)], "requests.1.params.max_tokens"),
        ([asked("a", model="nothing")], "requests.0.params.model"),
        ([asked("a", stream=True)], "requests.0.params.stream"),
        ([asked("a", messages=[])], "requests.0.params.messages"),
        ([], "requests"),
    ],
)
def test_a_bad_request_is_named(ai, requests, named):
    with pytest.raises((anthropic.BadRequestError, anthropic.NotFoundError)) as refused:
        ai.messages.batches.create(requests=requests)
    assert refused.value.body["type"] == "error"
    assert named in refused.value.body["error"]["message"]


def test_a_wrong_key_is_refused():
    stranger = Anthropic(base_url=URL, api_key="wrong")
    with stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.batches.list()


def test_a_message_waits_for_its_answer(ai):
    message = ai.messages.create(
        model=MODEL, max_tokens=32, messages=[{"role": "user", "content": "say 1"}]
    )
    assert message.content[0].text
