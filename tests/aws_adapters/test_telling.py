"""SES, SNS and embedded metrics: what only these adapters have to get right."""

import io
import json
import math
import threading
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from backburner.adapters.emf import EmfMetrics
from backburner.adapters.ses import SesMailer
from backburner.adapters.sns import SnsEvents
from backburner.domain.errors import InvalidRequest
from backburner.ports import Mail
from tests.contract.on_moto import moto_clients
from tests.contract.on_telling import (
    SENDER,
    read_emf,
    sent_by_ses,
    ses_mailer,
    subscribed_queue,
)

MAIL = Mail(to="ada@example.com", subject="s", text="naïve text\n", message_id="evt_1")


@pytest.fixture
def clients():
    with moto_clients() as clients:
        yield clients


# ---------------------------------------------------------------- SES


def test_without_a_sender_no_mail_is_sent_or_tried_again(clients):
    with pytest.raises(InvalidRequest, match="Mails are off"):
        SesMailer(clients, "").send(MAIL)
    assert sent_by_ses() == []


def test_a_mail_travels_in_seven_bits_and_short_lines(tmp_path):
    with ses_mailer(tmp_path) as world:
        world.mailer.send(replace(MAIL, subject="Fertig: naïve 😀", text="ü" * 3000))
        (raw,) = world.arrived()
        assert raw.isascii()
        assert max(map(len, raw.split(b"\r\n"))) <= 998  # RFC 5322, 2.1.1
        assert raw.count(b"\n") == raw.count(b"\r\n")


def test_a_sender_that_moto_does_not_know_is_refused(clients):
    with pytest.raises(InvalidRequest, match="SES refused"):
        SesMailer(clients, "stranger@example.com").send(MAIL)


REFUSED = [
    ("MessageRejected", "Transaction failed: Illegal header 'x'."),
    ("BadRequestException", "Missing final '@domain'"),
    ("InvalidParameterValue", "Missing domain"),
]
#: What passes, or what the operator mends.
LATER = [
    ("MessageRejected", "Email address is not verified. The following identities failed: x"),
    ("TooManyRequestsException", "Maximum sending rate exceeded."),
    ("LimitExceededException", "Daily message quota exceeded."),
    ("SendingPausedException", "Sending is paused."),
    ("AccountSuspendedException", "The account is suspended."),
    ("MailFromDomainNotVerifiedException", "The MAIL FROM domain is not verified."),
    ("NotFoundException", "The configuration set is gone."),
    ("AccessDeniedException", "Not authorized to perform `ses:SendRawEmail'."),
    ("InternalFailure", ""),
]


@pytest.mark.parametrize(("code", "message"), REFUSED)
def test_a_mail_that_ses_will_never_take_is_an_invalid_request(clients, code, message):
    with Stubber(clients.sesv2) as ses:
        ses.add_client_error("send_email", code, message, http_status_code=400)
        with pytest.raises(InvalidRequest, match="SES refused the mail: "):
            SesMailer(clients, SENDER).send(MAIL)


@pytest.mark.parametrize(("code", "message"), LATER)
def test_whatever_may_pass_is_tried_again(clients, code, message):
    with Stubber(clients.sesv2) as ses:
        ses.add_client_error("send_email", code, message, http_status_code=400)
        with pytest.raises(ClientError):
            SesMailer(clients, SENDER).send(MAIL)


@pytest.mark.parametrize(("name", "named"), [("of-mails", "of-mails"), ("", None)])
def test_ses_is_told_the_configuration_set_that_there_is(clients, name, named):
    clients.sesv2.create_email_identity(EmailIdentity=SENDER)
    asked = []

    def note(params: dict[str, object], **_: object) -> None:
        asked.append(params.get("ConfigurationSetName"))

    clients.sesv2.meta.events.register("provide-client-params.sesv2.SendEmail", note)
    SesMailer(clients, SENDER, name).send(MAIL)
    assert asked == [named]


# ---------------------------------------------------------------- SNS


def test_subscribers_see_the_attributes_that_have_a_value(clients):
    topic = clients.sns.create_topic(Name="events")["TopicArn"]
    queue = subscribed_queue(clients, topic, "all")
    event = {"id": "evt_1", "data": {"name": "naïve 😀"}}
    SnsEvents(clients, topic).publish(event, {"type": "batch.completed", "model": ""})
    (message,) = clients.sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])[
        "Messages"
    ]
    assert json.loads(message["Body"]) == event
    attributes = message["MessageAttributes"].items()
    seen = {name: (value["DataType"], value["StringValue"]) for name, value in attributes}
    assert seen == {"type": ("String", "batch.completed")}


def test_an_event_for_a_topic_that_is_gone_is_an_error(clients):
    with pytest.raises(ClientError, match="NotFound"):
        SnsEvents(clients, "arn:aws:sns:us-east-1:123456789012:gone").publish({"id": "x"}, {})


# ---------------------------------------------------------------- embedded metrics


def test_values_that_are_no_number_are_left_out_with_their_names():
    out = io.StringIO()
    metrics = EmfMetrics(out)
    metrics.publish({"A": math.nan, "B": math.inf, "C": -math.inf, "D": 2}, {"Pool": "p"})
    assert read_emf(out.getvalue()) == [("D", {"Pool": "p"}, 2)]
    metrics.publish({"A": math.nan}, {})
    metrics.publish({}, {"Pool": "p"})
    assert len(out.getvalue().splitlines()) == 1


def test_a_dimension_without_a_value_is_left_out_and_a_long_one_is_cut():
    out = io.StringIO()
    EmfMetrics(out).publish({"A": 1}, {"Pool": "", "Tenant": "x" * 2000})
    assert read_emf(out.getvalue()) == [("A", {"Tenant": "x" * 1024}, 1)]


def test_more_metrics_than_a_line_may_have_are_several_lines():
    out = io.StringIO()
    EmfMetrics(out).publish({f"M{n}": n for n in range(250)}, {"Pool": "p"})
    assert len(out.getvalue().splitlines()) == 3
    assert read_emf(out.getvalue()) == [(f"M{n}", {"Pool": "p"}, n) for n in range(250)]


def test_lines_of_several_threads_do_not_mix(capsys):
    def publish() -> None:
        for number in range(50):
            EmfMetrics().publish({"A": number}, {"Pool": "p"})

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_emf(capsys.readouterr().out)) == 200
