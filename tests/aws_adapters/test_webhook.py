"""Posts to receivers on real sockets: certificates, names that change, answers that never end."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from backburner.adapters.webhook import MOST_BYTES, HttpsWebhooks, resolve
from backburner.domain.errors import InvalidRequest, Undelivered
from tests.receiver import NAME, Receiver, Reply

BODY = b'{"id":"evt_1"}'
HERE = "127.0.0.1"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Receiver(tmp_path_factory.mktemp("receiver")) as receiver:
        yield receiver


@pytest.fixture
def receiver(shared):
    shared.forget()
    return shared


def webhooks(receiver: Receiver, **options) -> HttpsWebhooks:
    """For development, as nothing here is public; and believing the receiver alone."""
    given = {"may_be_local": True, "tls": receiver.trust(), **options}
    return HttpsWebhooks(**given)


def test_what_is_posted_arrives_as_it_is(receiver):
    answer = webhooks(receiver).post(receiver.url + "?a=b", {"webhook-id": "evt_1"}, BODY)
    assert (answer.status, answer.is_success) == (200, True)
    (heard,) = receiver.heard
    assert (heard.path, heard.body, heard.event_id) == ("/hook?a=b", BODY, "evt_1")
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["host"] == f"{HERE}:{receiver.port}"


@pytest.mark.parametrize("status", [204, 301, 302, 307, 308, 400, 410, 429, 500, 503])
def test_the_status_is_told_and_no_redirect_is_followed(receiver, status):
    receiver.reply = lambda _: Reply(status=status, headers={"Location": receiver.url})
    assert webhooks(receiver).post(receiver.url, {}, BODY).status == status
    assert len(receiver.heard) == 1


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ("120", 120, 120),
        ("0", 0, 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 10**8, 10**10),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("9" * 400, 10**8, 10**9),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(receiver, given, least, most):
    receiver.reply = lambda _: Reply(status=503, headers={"Retry-After": given})
    answer = webhooks(receiver).post(receiver.url, {}, BODY)
    assert least <= answer.retry_after_seconds <= most


# ---------------------------------------------------------------- whom it leads to


class Names:
    """A name server that may say something else each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def test_a_name_is_resolved_once_and_its_certificate_checked(receiver):
    names = Names([HERE], ["169.254.169.254"])
    answer = webhooks(receiver, resolve=names).post(receiver.named_url, {}, BODY)
    assert answer.is_success
    assert names.asked == [(NAME, receiver.port)]
    assert receiver.heard[0].headers["host"] == f"{NAME}:{receiver.port}"


def test_of_several_addresses_the_next_is_tried(receiver):
    names = Names(["::1", HERE])
    assert webhooks(receiver, resolve=names).post(receiver.named_url, {}, BODY).is_success


@pytest.mark.parametrize(
    "found",
    [
        [],
        ["10.0.0.1"],
        [HERE, "10.0.0.1"],  # one is enough
        ["169.254.169.254", HERE],
        ["::ffff:127.0.0.1"],
        ["fd00:ec2::254"],
        ["64:ff9b::7f00:1"],
        ["0.0.0.0"],
    ],
)
def test_a_name_that_leads_to_what_is_not_public_is_not_connected_to(receiver, found):
    hooks = webhooks(receiver, resolve=Names(found))
    with pytest.raises(Undelivered, match="no public address"):
        hooks.post(receiver.named_url, {}, BODY)
    assert receiver.heard == []


def test_a_name_that_was_public_when_it_was_given_is_looked_at_on_every_connection(receiver):
    names = Names([HERE], ["192.168.0.1"])
    hooks = webhooks(receiver, resolve=names)
    hooks.post(receiver.named_url, {}, BODY)
    with pytest.raises(Undelivered):
        hooks.post(receiver.named_url, {}, BODY)
    assert len(receiver.heard) == 1


def test_outside_of_development_this_machine_is_not_connected_to(receiver):
    hooks = webhooks(receiver, may_be_local=False, resolve=Names([HERE]))
    with pytest.raises(Undelivered, match="no public address"):
        hooks.post(receiver.named_url, {}, BODY)
    with pytest.raises(InvalidRequest):
        hooks.post(receiver.url, {}, BODY)
    assert receiver.heard == []


def test_a_name_that_nobody_knows_is_told_like_one_that_is_private():
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(Undelivered) as one:
        HttpsWebhooks(resolve=unknown).post("https://example.com", {}, BODY)
    with pytest.raises(Undelivered) as other:
        HttpsWebhooks(resolve=Names(["10.0.0.1"])).post("https://example.com", {}, BODY)
    assert one.value.message == other.value.message


def test_the_system_resolves_names_to_addresses():
    assert HERE in resolve("localhost", 443)


def test_a_certificate_of_nobody_we_know_is_refused(receiver):
    with pytest.raises(Undelivered, match="certificate"):
        HttpsWebhooks(may_be_local=True).post(receiver.url, {}, BODY)
    assert receiver.heard == []


def test_a_certificate_for_another_name_is_refused(receiver):
    hooks = webhooks(receiver, resolve=Names([HERE]))
    with pytest.raises(Undelivered, match="certificate"):
        hooks.post(f"https://other.example.com:{receiver.port}/", {}, BODY)
    assert receiver.heard == []


def test_for_development_there_need_be_no_tls(tmp_path):
    with Receiver(tmp_path, is_encrypted=False) as receiver:
        assert HttpsWebhooks(may_be_local=True).post(receiver.url, {}, BODY).is_success


# ---------------------------------------------------------------- what it answers


@contextmanager
def raw_server(act: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server without TLS that does as it likes with one connection; its URL."""
    with socket.create_server((HERE, 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                while not connection.recv(10**6).endswith(BODY):
                    pass
                act(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://{HERE}:{listener.getsockname()[1]}/"
        thread.join(5)


def quick() -> HttpsWebhooks:
    return HttpsWebhooks(may_be_local=True, connect_seconds=0.3, total_seconds=0.3)


def drip(connection: socket.socket) -> None:
    """A byte every so often: no single wait is long."""
    for _ in range(100):
        connection.sendall(b"H")
        time.sleep(0.05)


def flood(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * (4 * MOST_BYTES))


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda connection: time.sleep(0.5), "in time"),
        (drip, "in time"),
        (flood, "64 KB"),
        (lambda connection: None, "without an answer"),
        (lambda connection: connection.sendall(b"SSH-2.0-x\r\n\r\n\r\n"), "not HTTP"),
        (lambda connection: connection.sendall(b"HTTP/1.1 2000 OK\r\n\r\n"), "not HTTP"),
    ],
)
def test_a_receiver_that_misbehaves_is_not_told(act, reason):
    began = time.monotonic()
    with raw_server(act) as url, pytest.raises(Undelivered, match=reason):
        quick().post(url, {}, BODY)
    assert time.monotonic() - began < 3


def test_what_goes_before_the_answer_is_passed_over():
    def early(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")

    with raw_server(early) as url:
        assert quick().post(url, {}, BODY).status == 200


def test_an_endless_body_is_not_read(receiver):
    receiver.reply = lambda _: Reply(headers={"content-length": "999999999"}, body=b"x" * 10**6)
    began = time.monotonic()
    assert webhooks(receiver).post(receiver.url, {}, BODY).is_success
    assert time.monotonic() - began < 3


def test_a_port_where_nobody_listens_is_told_without_its_address(receiver):
    with socket.create_server((HERE, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Undelivered, match="can't be reached") as failed:
        webhooks(receiver).post(f"https://localhost:{port}/", {}, BODY)
    assert HERE not in failed.value.message
