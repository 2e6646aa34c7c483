"""What each function may do is what it does: no call is refused, and nothing else is allowed.

Scenarios take every path of every function on the adapters of AWS; the calls that they make are
held to the statements of the template.
"""

import ast
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from backburner import adapters
from tests.aws import (
    paths_api,
    paths_bundles,
    paths_drop,
    paths_end,
    paths_jobs,
    paths_messages,
    paths_transform,
    paths_uploads,
    paths_webhooks,
    paths_work,
)
from tests.aws.account import BUS, SENDER
from tests.aws.policies import judge
from tests.aws.recorder import Call
from tests.aws.scenarios import SCENARIOS
from tests.aws.stack import Stack
from tests.aws.world import an_aws_world

#: Importing them makes the scenarios known.
PATHS = (
    paths_api,
    paths_drop,
    paths_messages,
    paths_uploads,
    paths_webhooks,
    paths_work,
    paths_jobs,
    paths_bundles,
    paths_transform,
    paths_end,
)

ADAPTERS = Path(adapters.__file__).parent
SERVICES = (
    "bedrock",
    "dynamodb",
    "events",
    "s3",
    "sagemaker",
    "sagemaker-runtime",
    "service-quotas",
    "sesv2",
    "sns",
    "sqs",
)

#: A minute of work; `make e2e-aws` looks at roles anyway.
pytestmark = pytest.mark.e2e_aws

STACK = Stack(
    CreateEndpoint="true",
    SenderAddress=SENDER,
    EventBus=BUS,
    RunBedrockJobs="true",
    RunTransformJobs="true",
)
FUNCTIONS, NAMES = STACK.functions(), STACK.logical_ids()


@pytest.fixture(scope="module")
def calls() -> dict[str, list[Call]]:
    """Calls of all scenarios, by function."""
    found: dict[str, list[Call]] = defaultdict(list)
    for scenario in SCENARIOS:
        with an_aws_world(**scenario.options) as world:
            try:
                scenario.run(world)
            except Exception as error:
                raise AssertionError(f"{scenario.name} took another path") from error
            assert world.recorder.is_all_done, f"{scenario.name}: a fault did not happen"
            for call in world.recorder.calls:
                found[call.function].append(call)
    return found


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_may_do_what_it_does_and_nothing_else(function, calls):
    verdict = judge(function, calls[function.name], NAMES)
    assert verdict, f"\n{verdict}"


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_has_no_policy_but_its_own(function):
    assert not function.managed_policies


def test_every_call_that_the_adapters_can_make_was_made(calls):
    """By functions, or by an operator: only he writes a single item, or removes one."""
    made = {xform_name(call.operation) for some in calls.values() for call in some}
    assert {name for name in made if "_" in name} == adapter_calls()


def adapter_calls() -> set[str]:
    """Operations that the adapters name, as methods of clients or for their helpers.

    Those of one word, such as `publish`, are left out: anything may be called so.
    """
    model = botocore.session.get_session().get_service_model
    known = {
        xform_name(operation)
        for service in SERVICES
        for operation in model(service).operation_names
    }
    named = {
        name
        for path in ADAPTERS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (getattr(node, "attr", None), getattr(node, "value", None))
        if isinstance(name, str) and "_" in name
    }
    return named & known


def test_a_missing_and_a_superfluous_action_are_named():
    bucket = f"arn:aws:s3:::{STACK.name('Bucket')}"
    statement = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": f"{bucket}/a/*"}
    function = replace(FUNCTIONS["plan"], statements=(statement,))
    call = Call("plan", "s3", "PutObject", {"Bucket": STACK.name("Bucket"), "Key": "b/c"})
    said = str(judge(function, [call], NAMES))
    assert "- {Effect: Allow, Action: s3:PutObject, Resource: !Sub ${Bucket.Arn}/b/*}" in said
    assert "superfluous: s3:GetObject on !Sub ${Bucket.Arn}/a/*" in said
