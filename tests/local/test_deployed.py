"""Working on a stack on AWS by its name. SQS's move task is a stub: moto has none."""

import json

import pytest
import yaml
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    TokenRetrievalError,
)
from botocore.stub import Stubber
from click.testing import CliRunner

from backburner.domain.errors import Unauthenticated
from backburner.ports import QueueName
from backburner.services import keys
from backburner_local import cli, dead_letters, deployed
from backburner_local.deployed import Account, Denied, NotReachable
from backburner_local.options import Options, stack_root
from backburner_local.stack import declaration
from backburner_local.template import _Loader
from backburner_local.world import LocalWorld
from tests.local.aws_stacks import REGION, SENDER, STACK, an_account, bury, deploy


@pytest.fixture
def account(monkeypatch):
    with an_account(monkeypatch) as account:
        yield account


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli.main, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


# ---------------------------------------------------------------- finding it


def test_the_settings_are_those_that_the_functions_have(account):
    deploy(account)
    stack = deployed.find(account, STACK)
    settings = stack.settings()
    assert settings.bucket_name == "backburner-bucket"
    assert settings.public_url == "https://abc123.execute-api.us-east-1.amazonaws.com"
    assert (settings.max_instances, settings.concurrent_invocations) == (3, 4)
    assert (settings.sender_address, settings.drop_tenant) == (SENDER, "dropper")
    names = {queue: stack.queue_url(queue).rsplit("/")[-1] for queue in QueueName}
    assert all(f"{queue.capitalize()}Queue" in name for queue, name in names.items())


def test_the_template_has_the_outputs_and_parameters_that_are_read():
    declared = yaml.load((stack_root() / "template.yaml").read_text(), _Loader)
    assert {*deployed.OUTPUTS.values(), deployed.URL_OUTPUT} <= set(declared["Outputs"])
    read = {*deployed._PARAMETERS.values(), *deployed._NUMBERS.values(), "PublicUrl"}
    assert read <= set(declared["Parameters"])


def test_a_stack_that_is_not_there_is_told_with_those_that_are(account):
    deploy(account, name="prod")
    deploy(account, name="foreign", leave_out=("TableName",))
    with pytest.raises(NotReachable) as caught:
        deployed.find(account, STACK)
    assert str(caught.value) == (
        f"There is no stack {STACK} in {REGION}. Stacks of ours there: prod."
    )


def test_a_stack_without_our_outputs_is_not_ours(account):
    deploy(account, leave_out=("TableName", "PlanQueueUrl"))
    stack = deployed.find(account, STACK)
    assert stack.missing == ["PlanQueueUrl", "TableName"]
    with pytest.raises(NotReachable, match="no output PlanQueueUrl, TableName"):
        stack.settings()


def test_without_a_region_or_a_profile_it_is_said_what_to_give(account, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(NotReachable, match="list-profiles"):
        Account.connect(profile="nope")
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(NotReachable, match="give --region"):
        Account.connect()
    assert Account.connect(region="eu-west-1").region == "eu-west-1"


def test_without_credentials_it_is_said_how_to_sign_in(account, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no AWS credentials" in run("keys", "list", "--stack", STACK, code=4)


ANSWERS = [
    ("ExpiredToken", "", "have expired"),
    ("InvalidClientTokenId", "", "does not accept the credentials"),
    (
        "AccessDenied",
        "User: arn:aws:iam::1:user/x is not authorized to perform: dynamodb:GetItem on resource: y",
        "may not do dynamodb:GetItem;",
    ),
    ("AccessDeniedException", "", "may not do DescribeStacks;"),
    ("Throttling", "Rate exceeded", "AWS refused DescribeStacks: Rate exceeded"),
]


@pytest.mark.parametrize(("code", "message", "told"), ANSWERS)
def test_what_aws_refuses_is_told_with_what_to_do(code, message, told):
    error = {"Error": {"Code": code, "Message": message}}
    with pytest.raises(NotReachable, match=told) as caught, deployed.explained():
        raise ClientError(error, "DescribeStacks")  # type: ignore[arg-type]
    assert isinstance(caught.value, Denied) == code.startswith("AccessDenied")


FAULTS = [
    (NoCredentialsError(), "not usable"),
    (TokenRetrievalError(provider="sso", error_msg="expired"), "sign in again"),
    (EndpointConnectionError(endpoint_url="https://x"), "could not be asked"),
]


@pytest.mark.parametrize(("error", "told"), FAULTS)
def test_what_botocore_raises_is_told_with_what_to_do(error, told):
    with pytest.raises(NotReachable, match=told), deployed.explained():
        raise error


# ---------------------------------------------------------------- keys


def test_a_key_of_a_deployed_stack_opens_its_tenant_until_it_is_revoked(account):
    deploy(account)
    secret = run("keys", "create", "--tenant", "acme", "--stack", STACK).splitlines()[0]
    env = deployed.environment(account, STACK)
    assert keys.authenticate(env, secret).tenant == "acme"
    assert json.loads(run("keys", "list", "--stack", STACK, "--json")) == [
        {"key": secret[:8], "tenant": "acme"}
    ]
    output = run("keys", "revoke", secret[:8], "--stack", STACK, "--region", REGION)
    assert "within 30 s" in output
    with pytest.raises(Unauthenticated):
        keys.authenticate(deployed.environment(account, STACK), secret)


def test_a_region_without_a_stack_is_wrong_use(tmp_path):
    output = run("keys", "list", "--region", REGION, "--data-dir", str(tmp_path), code=2)
    assert "--region and --profile need --stack" in output


# ---------------------------------------------------------------- redrive


def test_dead_letters_of_a_deployed_queue_are_moved_by_sqs(account):
    deploy(account)
    stack = deployed.find(account, STACK)
    arn = bury(account, stack.queue_url(QueueName.PLAN), 2)
    real = account.clients.sqs
    assert dead_letters.dead_letters(account, stack.queue_url(QueueName.PLAN)) == 2
    assert dead_letters.redrive_deployed(account, stack, QueueName.DELIVER) == 0
    asked = []

    def move(params, **_):
        asked.append(params["body"])
        return _Answer(), {"TaskHandle": "x"}

    real.meta.events.register("before-call.sqs.StartMessageMoveTask", move)
    assert dead_letters.redrive_deployed(account, stack, QueueName.PLAN) == 2
    real.meta.events.unregister("before-call.sqs.StartMessageMoveTask", move)
    (body,) = asked
    assert arn in str(body)


class _Answer:
    """What botocore looks at of an HTTP answer."""

    status_code = 200


def test_a_move_that_is_still_running_is_told(account):
    deploy(account)
    stack = deployed.find(account, STACK)
    bury(account, stack.queue_url(QueueName.PLAN), 1)
    url = stack.queue_url(QueueName.PLAN)
    arn = dead_letters.dead_letter_arn(account, url)
    with Stubber(account.clients.sqs) as sqs:
        policy = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn})}
        sqs.add_response("get_queue_attributes", {"Attributes": policy})
        sqs.add_response(
            "get_queue_attributes", {"Attributes": {"ApproximateNumberOfMessages": "1"}}
        )
        sqs.add_client_error(
            "start_message_move_task", "InvalidParameterValue", "There is already a task running."
        )
        with pytest.raises(NotReachable, match="There is already a task running"):
            dead_letters.redrive_deployed(account, stack, QueueName.PLAN)


def test_dead_letters_on_this_machine_are_received_afresh(tmp_path):
    options = Options(data_dir=tmp_path, durable=False)
    world = LocalWorld.open(options, declaration(options))
    world.queue.send(QueueName.PLAN, {"batch_id": "batch_1"})
    while not world.queue.dead_letters(QueueName.PLAN):
        world.queue.receive(QueueName.PLAN, 1, 0.0)
    where = ("--data-dir", str(tmp_path))
    assert run("redrive", "deliver", *where) == "deliver   no dead letters\n"
    assert json.loads(run("redrive", "all", *where, "--json")) == {
        "plan": 1, "dispatch": 0, "finalize": 0, "deliver": 0,
    }  # fmt: skip
    (message,) = world.queue.receive(QueueName.PLAN, 1, 60)
    assert (message.body, message.receives) == ('{"batch_id":"batch_1"}', 1)
    world.close()
