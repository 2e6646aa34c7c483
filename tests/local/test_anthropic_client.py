"""The unmodified `anthropic` package, and the command line, against a whole stack."""

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from backburner.services import keys
from backburner_local import cli
from tests.late import Late
from tests.local.stacks import MODEL, wait_until

if TYPE_CHECKING:
    import anthropic
else:
    anthropic = Late("anthropic")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def connect(stack) -> Iterator[Callable[..., "anthropic.Anthropic"]]:
    """Clients of the stack; closed afterwards."""
    made: list[anthropic.Anthropic] = []

    def connect(key: str, **options: Any) -> "anthropic.Anthropic":
        one = anthropic.Anthropic(base_url=stack.url, api_key=key, max_retries=0, **options)
        made.append(one)
        return one

    yield connect
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def claude(connect, dev_key):
    return connect(dev_key)


def asked(number: int, text: str | None = None, **members: Any) -> Any:
    said = f"say {number}" if text is None else text
    whole = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": said}]}
    return {"custom_id": f"r{number}", "params": whole | members}


def run(claude: "anthropic.Anthropic", requests: list[Any], **options: Any) -> Any:
    """Make a batch and wait until it has ended."""
    batch = claude.messages.batches.create(requests=requests, **options)

    def ended() -> Any:
        now = claude.messages.batches.retrieve(batch.id)
        counts = now.request_counts
        assert (
            counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
            == len(requests)
        )
        return now if now.processing_status == "ended" else None

    return wait_until(ended, "the end of the batch")


def test_requests_become_a_batch_and_results_come_back_in_order(claude):
    batch = run(claude, [asked(n) for n in range(1, 121)])
    assert batch.request_counts.to_dict() == {
        "processing": 0,
        "succeeded": 120,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
    }
    results = list(claude.messages.batches.results(batch.id))
    assert [one.custom_id for one in results] == [f"r{n}" for n in range(1, 121)]
    assert [one.result.message.content[0].text for one in results] == [
        f"say {n}" for n in range(1, 121)
    ]
    assert {one.result.message.stop_reason for one in results} == {"end_turn"}
    assert results[0].result.message.usage.output_tokens > 0


def test_what_fails_is_an_error_beside_the_rest(claude):
    batch = run(claude, [asked(1), asked(2, "null:status=400"), asked(3)])
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (2, 1)
    results = {one.custom_id: one.result for one in claude.messages.batches.results(batch.id)}
    assert results["r2"].type == "errored"
    assert results["r2"].error.error.type == "invalid_request_error"
    assert results["r2"].error.error.message == "The request asked for status 400."


def test_a_batch_is_cancelled_and_keeps_what_it_has(claude):
    slow = [asked(n, "null:delay=1") for n in range(600)]  # more shards than slots
    batch = claude.messages.batches.create(requests=slow)
    wait_until(
        lambda: claude.messages.batches.retrieve(batch.id).request_counts.succeeded,
        "the first results",
    )
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.batches.delete(batch.id)
    cancelled = claude.messages.batches.cancel(batch.id)
    assert cancelled.processing_status == "canceling"
    assert cancelled.cancel_initiated_at is not None
    wait_until(
        lambda: claude.messages.batches.retrieve(batch.id).processing_status == "ended",
        "the cancellation",
    )
    kinds = [one.result.type for one in claude.messages.batches.results(batch.id)]
    counts = claude.messages.batches.retrieve(batch.id).request_counts
    assert len(kinds) == 600
    assert set(kinds) == {"succeeded", "canceled"}
    assert (counts.succeeded, counts.canceled) == (
        kinds.count("succeeded"),
        kinds.count("canceled"),
    )
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.batches.cancel(batch.id)


def test_lists_are_walked_page_by_page_and_batches_are_deleted(stack, connect):
    secret, _ = keys.create(stack.env, "newcomer")
    newcomer = connect(secret)
    assert list(newcomer.messages.batches.list()) == []
    made = [run(newcomer, [asked(n)]).id for n in range(4)][::-1]
    assert [one.id for one in newcomer.messages.batches.list(limit=3)] == made
    assert [one.id for one in newcomer.beta.messages.batches.list(limit=1)] == made
    before = newcomer.messages.batches.list(before_id=made[-1], limit=2)
    assert [one.id for one in before.data] == made[1:3]
    assert newcomer.messages.batches.delete(made[0]).type == "message_batch_deleted"
    assert [one.id for one in newcomer.messages.batches.list()] == made[1:]
    with pytest.raises(anthropic.NotFoundError):
        newcomer.messages.batches.retrieve(made[0])


def test_large_results_come_by_a_signed_link(claude):
    batch = run(claude, [asked(n, "x" * 2500 + str(n)) for n in range(1800)])
    results = list(claude.messages.batches.results(batch.id))
    assert [one.custom_id for one in results] == [f"r{n}" for n in range(1800)]


def test_bad_requests_are_named_and_nothing_is_made(claude):
    bad = [asked(1), asked(1), asked(3, temperature=7), asked(4, model="claude-9")]
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.batches.create(requests=bad)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id
    message = caught.value.body["error"]["message"]  # type: ignore[index]
    for place in (
        "requests.1.custom_id",
        "requests.2.params.temperature",
        "requests.3.params.model",
    ):
        assert place in message


def test_requests_may_come_in_a_file(claude, client, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(asked(n)) + "\n" for n in range(3)))
    batch = claude.messages.batches.create(
        requests=[], extra_body={"requests_file_id": client.upload(path)["id"]}
    )
    wait_until(
        lambda: claude.messages.batches.retrieve(batch.id).processing_status == "ended", "the end"
    )
    assert len(list(claude.messages.batches.results(batch.id))) == 3


def test_tokens_are_counted(claude):
    counted = claude.messages.count_tokens(
        model=MODEL, system="Be brief.", messages=[{"role": "user", "content": "hello"}]
    )
    assert 2 < counted.input_tokens < 40


def test_errors_have_the_classes_that_the_client_knows(claude, connect):
    with pytest.raises(anthropic.AuthenticationError):
        connect("bb-wrong").messages.batches.list()
    with pytest.raises(anthropic.NotFoundError) as caught:
        claude.messages.batches.retrieve("msgbatch_none")
    assert caught.value.type == "not_found_error"
    with pytest.raises(anthropic.AnthropicError):
        claude.messages.batches.results(claude.messages.batches.create(requests=[asked(1)]).id)


def test_the_command_line_knows_message_batches(stack, claude, tmp_path):
    environment = {"BACKBURNER_URL": stack.url, "BACKBURNER_DATA_DIR": str(stack.options.data_dir)}

    def backburner(*arguments: object) -> Any:
        return CliRunner().invoke(cli.main, list(map(str, arguments)), env=environment)

    batch = run(claude, [asked(1), asked(2, "null:status=400")])
    shown = backburner("status", batch.id)
    assert f"{batch.id}  completed  1 completed, 1 failed, 2 in all" in shown.stdout
    assert shown.exit_code == 3
    target = tmp_path / "results.jsonl"
    assert backburner("results", batch.id, "-o", target).exit_code == 0
    assert [json.loads(line)["custom_id"] for line in target.read_text().splitlines()] == [
        "r1",
        "r2",
    ]
    assert "leave out the option" in backburner("results", batch.id, "--errors").stderr
    assert "it has ended" in backburner("cancel", batch.id).stderr
    running = claude.messages.batches.create(requests=[asked(1, "null:delay=2")])
    assert "has no results" in backburner("results", running.id).stderr
    assert "cancel" in backburner("cancel", running.id).stdout
