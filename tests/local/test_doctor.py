"""The doctor, over moto; where moto has no such call, its answer is given by hand.

By hand: Service Quotas of SageMaker, SES's GetAccount, and that an address is verified.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from backburner.ports import QueueName
from backburner_local import cli, deployed
from backburner_local.deployed import NotReachable
from backburner_local.doctor import Finding, Patient, Result, examine, jobs, machine, model
from backburner_local.doctor.findings import INSTANCE_TYPE, MAX_INSTANCES
from backburner_local.template import _Loader
from tests.local.aws_stacks import ENDPOINT, SENDER, STACK, an_account, bury, deploy

ROOT = Path(__file__).parents[2]
BUCKET = "models-of-ours"
MODEL = f"s3://{BUCKET}/mistral/"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/vllm:server"

#: One that moto knows.
GPU = "ml.g4dn.2xlarge"

PATIENT = Patient(
    instance_type=GPU, max_instances=2, sender=SENDER, model_uri=MODEL, image_uri=IMAGE
)

#: Answers that are given by hand: which client's, and to what.
BY_HAND: list[tuple[Any, str]] = []


@pytest.fixture
def account(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # no SAM CLI: it takes its time
    monkeypatch.chdir(tmp_path)
    with an_account(monkeypatch) as account:
        give_quota(account, 4)
        answer(account, "sesv2", "GetAccount", {"ProductionAccessEnabled": True})
        yield account
        for events, event in BY_HAND:
            events.unregister(event, unique_id=event)
        BY_HAND.clear()


@pytest.fixture
def healthy(account):
    """An account in which all is ready."""
    account.clients.s3.create_bucket(Bucket=BUCKET)
    for name in ("config.json", "model.safetensors", "model.py", "tokenizer.json"):
        account.clients.s3.put_object(Bucket=BUCKET, Key=f"mistral/{name}", Body=b"x")
    ecr = account.clients.other("ecr")
    ecr.create_repository(repositoryName="vllm")
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": {}, "layers": []}
    ecr.put_image(repositoryName="vllm", imageTag="server", imageManifest=json.dumps(manifest))
    account.clients.other("iam").create_role(
        RoleName="AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
        AssumeRolePolicyDocument="{}",
    )
    answer(account, "sesv2", "GetEmailIdentity", {"VerifiedForSendingStatus": True})
    return account


@dataclass
class Answered:
    """What botocore looks at of an HTTP answer."""

    status_code: int


def answer(account, service: str, operation: str, response) -> None:
    """Have the account answer so, as of now."""
    _answer(account, service, operation, 200, dict(response))


def refuse(account, service: str, operation: str, code: str, message: str = "") -> None:
    """Have the account refuse that, as of now."""
    error = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {}}
    _answer(account, service, operation, 400, error)


def _answer(account, service: str, operation: str, status: int, parsed) -> None:
    """As botocore's Stubber does it, but for one operation of the client."""
    meta = account.clients.other(service).meta
    event = f"before-call.{meta.service_model.service_id.hyphenize()}.{operation}"
    meta.events.unregister(event, unique_id=event)
    BY_HAND.append((meta.events, event))
    meta.events.register_first(event, lambda **_: (Answered(status), parsed), unique_id=event)


def give_quota(account, value: float, instance_type: str = GPU) -> None:
    quotas = [
        {"QuotaName": "ml.p5.48xlarge for endpoint usage", "Value": 0.0, "QuotaCode": "L-0"},
        {"QuotaName": f"{instance_type} for transform job usage", "Value": 9.0, "QuotaCode": "L-1"},
        {"QuotaName": f"{instance_type} for endpoint usage", "Value": value, "QuotaCode": "L-2"},
    ]
    answer(account, "service-quotas", "ListServiceQuotas", {"Quotas": quotas})


def an_endpoint(account, name: str = ENDPOINT, *, instances: int = 1) -> None:
    sagemaker = account.clients.sagemaker
    role = "arn:aws:iam::123456789012:role/model"
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": name,
        "InstanceType": GPU,
        "InitialInstanceCount": instances,
        "InitialVariantWeight": 1.0,
    }
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=role)
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


def look(account, patient: Patient = PATIENT) -> list[Finding]:
    return list(examine(patient, lambda: account))


def about(findings: list[Finding], check: str) -> list[Finding]:
    return [finding for finding in findings if finding.check == check]


# ---------------------------------------------------------------- before deploying


def test_an_account_that_is_ready_has_nothing_wrong(healthy):
    findings = look(healthy)
    wrong = [f for f in findings if f.result is not Result.OK and f.check != "SAM CLI"]
    assert wrong == []
    checks = {"credentials", "quota", "model", "image", "scaling role", "mail", "jobs"}
    assert checks <= {finding.check for finding in findings}
    (who,) = about(findings, "credentials")
    assert who.detail.startswith("account 123456789012, as arn:aws:")
    assert who.detail.endswith("in us-east-1")


QUOTAS = [(4, 0, Result.OK), (4, 2, Result.OK), (4, 3, Result.WARN), (4, 4, Result.FAIL)]


@pytest.mark.parametrize(("value", "used", "result"), [*QUOTAS, (0, 0, Result.FAIL)])
def test_a_quota_is_judged_by_what_is_in_use_already(healthy, value, used, result):
    give_quota(healthy, value)
    if used:
        an_endpoint(healthy, "other", instances=used)
    (finding,) = about(look(healthy), "quota")
    assert finding.result is result
    assert f": {value}, {used} in use elsewhere, 2 wanted" in finding.detail
    if result is not Result.OK:
        assert f"--quota-code L-2 --desired-value {used + 2}" in finding.advice
    assert ("MaxInstances=1" in finding.advice) == (result is Result.WARN)


def test_an_instance_type_without_a_quota_fails(healthy):
    (finding,) = about(look(healthy, replace(PATIENT, instance_type="ml.x.large")), "quota")
    assert finding.result is Result.FAIL
    assert "no quota 'ml.x.large for endpoint usage'" in finding.detail


FAULTS = [
    ("config.json", None, "neither config.json nor params.json"),
    ("model.safetensors", None, "no weights"),
    ("model.safetensors", b"", "weights without content"),
    ("model.py", None, "no model.py"),
    ("", b"", "folder objects ('')"),
    ("openvino/", b"", "folder objects ('openvino/')"),
]


@pytest.mark.parametrize(("name", "body", "told"), FAULTS)
def test_an_artifact_that_would_not_load_fails(healthy, name, body, told):
    if body is None:
        healthy.clients.s3.delete_object(Bucket=BUCKET, Key=f"mistral/{name}")
    else:
        healthy.clients.s3.put_object(Bucket=BUCKET, Key=f"mistral/{name}", Body=body)
    (finding,) = about(look(healthy), "model")
    assert finding.result is Result.FAIL
    assert told in finding.detail
    assert finding.advice


LOCATIONS = [
    (f"s3://{BUCKET}/mistral", "is not s3://BUCKET/PREFIX/"),
    (f"s3://{BUCKET}/other/", "holds nothing"),
    ("https://example.com/", "is not s3://BUCKET/PREFIX/"),
    ("s3://nobodys-bucket/mistral/", "AWS refused HeadBucket"),
]


@pytest.mark.parametrize(("uri", "told"), LOCATIONS)
def test_an_artifact_that_is_not_there_fails(healthy, uri, told):
    (finding,) = about(look(healthy, replace(PATIENT, model_uri=uri)), "model")
    assert finding.result is Result.FAIL
    assert told in finding.detail


def test_an_artifact_in_another_region_fails(healthy):
    healthy.clients.s3.create_bucket(
        Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    findings = about(look(healthy, replace(PATIENT, model_uri="s3://far-away/m/")), "model")
    assert findings[0].result is Result.FAIL
    assert "is in eu-west-1" in findings[0].detail


IMAGES = [
    (IMAGE.replace("server", "other"), Result.FAIL, "there is no"),
    (IMAGE.replace("vllm", "other"), Result.FAIL, "there is no"),
    (IMAGE.replace("us-east-1", "eu-west-1"), Result.FAIL, "is in eu-west-1"),
    ("public.ecr.aws/x/vllm:server", Result.FAIL, "no image of private ECR"),
]


@pytest.mark.parametrize(("uri", "result", "told"), IMAGES)
def test_an_image_that_can_not_be_pulled_fails(healthy, uri, result, told):
    (finding,) = about(look(healthy, replace(PATIENT, image_uri=uri)), "image")
    assert finding.result is result
    assert told in finding.detail


def test_an_image_that_may_not_be_looked_at_is_a_warning(healthy):
    refuse(healthy, "ecr", "BatchGetImage", "AccessDeniedException")
    (finding,) = about(look(healthy), "image")
    assert finding.result is Result.WARN


def test_the_image_of_each_region_is_the_one_that_the_template_takes():
    text = (ROOT / "template.yaml").read_text()
    accounts = yaml.load(text, _Loader)["Mappings"]["Containers"]
    for region, entry in accounts.items():
        host, _, name = model.vllm_image(region).partition("/")
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        assert host == f"{entry['Account']}.dkr.ecr.{region}.{domain}"
        assert f"/{name}\n" in text


def test_a_sender_that_is_not_verified_fails_and_the_sandbox_is_a_warning(account):
    answer(account, "sesv2", "GetAccount", {"ProductionAccessEnabled": False})
    unknown, sandbox = about(look(account), "mail")
    assert (unknown.result, sandbox.result) == (Result.FAIL, Result.WARN)
    assert f"create-email-identity --email-identity {SENDER}" in unknown.advice
    assert "sandbox" in sandbox.detail
    account.clients.sesv2.create_email_identity(EmailIdentity=SENDER)
    waiting, *_ = about(look(account), "mail")
    assert (waiting.result, waiting.detail) == (Result.FAIL, f"{SENDER} is not verified yet")


@pytest.mark.parametrize(("status", "warned"), [("SUCCESS", 0), ("PENDING", 1), ("NOT_STARTED", 1)])
def test_mails_that_nobody_signs_are_a_warning(healthy, status, warned):
    signing = {"VerifiedForSendingStatus": True, "DkimAttributes": {"Status": status}}
    answer(healthy, "sesv2", "GetEmailIdentity", signing)
    found = [one for one in about(look(healthy), "mail") if "DKIM" in one.detail]
    assert [one.result for one in found] == [Result.WARN] * warned


def test_paused_sending_fails(healthy):
    answer(healthy, "sesv2", "GetAccount", {"SendingEnabled": False})
    assert about(look(healthy), "mail")[-1].result is Result.FAIL


def test_what_is_not_named_is_not_checked(healthy):
    patient = replace(PATIENT, sender="", model_uri="")
    findings = look(healthy, patient)
    assert [f.result for f in findings if f.check in ("mail", "model")] == [Result.SKIP] * 2


def test_the_scaling_role_is_only_a_warning_before_the_first_deployment(account):
    (finding,) = about(look(account), "scaling role")
    assert finding.result is Result.WARN
    assert "create-service-linked-role" in finding.advice


def test_what_may_not_be_looked_at_is_a_warning_that_names_the_action(healthy):
    denied = "User: x is not authorized to perform: servicequotas:ListServiceQuotas on resource: y"
    refuse(healthy, "service-quotas", "ListServiceQuotas", "AccessDeniedException", denied)
    findings = look(healthy)
    (finding,) = about(findings, "quota")
    assert finding.result is Result.WARN
    assert "servicequotas:ListServiceQuotas" in finding.advice
    assert about(findings, "model")[0].result is Result.OK


# ---------------------------------------------------------------- models that run as jobs

LARGE = "mistral.mistral-large-2407-v1:0"
JOBS_CATALOG = """
[models.large]
backend = "bedrock_batch"
context_window = 32768
routes = ["/v1/chat/completions"]
jobs = { model_id = "mistral.mistral-large-2407-v1:0", quota_name = "Mistral Large 2 (24.07)" }

[models.own]
backend = "sagemaker_transform"
context_window = 8192
routes = ["/v1/chat/completions"]
jobs = { model_id = "own-v1", instance_type = "ml.g4dn.2xlarge", instance_count = 2 }
"""
IN_PROGRESS = "Sum of in-progress and submitted batch inference jobs using a base model for {}"
LEAST = "Minimum number of records per batch inference job for {}"


@pytest.fixture
def with_jobs(account, tmp_path):
    """An account that is ready for jobs, and says what is found wrong with a catalog."""
    quotas = {
        IN_PROGRESS.format("Mistral Large 2 (24.07)"): 20.0,
        LEAST.format("Mistral Large 2 (24.07)"): 100.0,
        f"{GPU} for transform job usage": 2.0,
    }
    give_quotas(account, quotas)
    answer(account, "bedrock", "GetFoundationModel", {"modelDetails": {}})
    answer(account, "bedrock", "GetInferenceProfile", {})
    answer(account, "sagemaker", "DescribeModel", {})

    def found(text: str = JOBS_CATALOG, **changes: Any) -> list[Finding]:
        path = tmp_path / "catalog.toml"
        path.write_text(text, encoding="utf-8")
        return list(jobs.check(account, replace(PATIENT, catalog=path, **changes)))

    return found


def give_quotas(account, values: dict[str, float]) -> None:
    quotas = [
        {"QuotaName": name, "Value": value, "QuotaCode": f"L-{number}"}
        for number, (name, value) in enumerate(values.items())
    ]
    answer(account, "service-quotas", "ListServiceQuotas", {"Quotas": quotas})


def failures(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.result is Result.FAIL]


@pytest.mark.parametrize("runs", ["true", "false"])
def test_a_stack_that_runs_no_jobs_is_told_of_models_that_need_them(with_jobs, runs):
    parameters = {"RunBedrockJobs": runs, "RunTransformJobs": runs}
    found = with_jobs(parameters=parameters)
    assert [one.result for one in found if "large" in one.detail] == [Result.OK]
    assert [one.result for one in found if "own" in one.detail] == [Result.OK]
    advice = [one.advice for one in failures(found)]
    wanted = ["Deploy with RunBedrockJobs=true.", "Deploy with RunTransformJobs=true."]
    assert advice == ([] if runs == "true" else wanted)


@pytest.mark.parametrize(
    ("model_id", "operation"),
    [
        (LARGE, "GetFoundationModel"),
        ("zai.glm-4.7", "GetFoundationModel"),
        (f"us.{LARGE}", "GetInferenceProfile"),
    ],
)
def test_a_model_that_bedrock_does_not_have_is_named(account, with_jobs, model_id, operation):
    refuse(account, "bedrock", operation, "ResourceNotFoundException")
    (found,) = failures(with_jobs(JOBS_CATALOG.replace(LARGE, model_id)))
    assert f"Bedrock has no {model_id} in us-east-1" in found.detail


def test_a_profile_of_ones_own_is_believed(account, with_jobs):
    refuse(account, "bedrock", "GetFoundationModel", "ResourceNotFoundException")
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    assert not failures(with_jobs(JOBS_CATALOG.replace(LARGE, arn)))


def test_a_misspelt_quota_is_told_with_the_names_near_it(with_jobs):
    (found,) = failures(with_jobs(JOBS_CATALOG.replace("Large 2 (24.07)", "Large 2407")))
    assert "Service Quotas knows no 'Mistral Large 2407'" in found.detail
    assert "Near it: mistral large 2 (24.07)." in found.advice


@pytest.mark.parametrize(
    ("name", "value", "says", "helps"),
    [
        (IN_PROGRESS, 0.0, "quota of jobs of 'Mistral Large 2 (24.07)' is 0", "--quota-code L-0"),
        (LEAST, 1000.0, "needs 1000 requests, not 100", "jobs.least_lines = 1000"),
    ],
)
def test_a_quota_that_lets_no_job_run_is_told(account, with_jobs, name, value, says, helps):
    model = "Mistral Large 2 (24.07)"
    quotas = {IN_PROGRESS.format(model): 20.0, LEAST.format(model): 100.0}
    quotas |= {name.format(model): value, f"{GPU} for transform job usage": 2.0}
    give_quotas(account, quotas)
    (found,) = failures(with_jobs())
    assert says in found.detail
    assert helps in found.advice


def test_a_transform_job_needs_its_model_and_its_instances(account, with_jobs):
    refuse(account, "sagemaker", "DescribeModel", "ValidationException", "Could not find model")
    give_quotas(account, {f"{GPU} for transform job usage": 1.0})
    text = JOBS_CATALOG.replace('quota_name = "Mistral Large 2 (24.07)"', "least_lines = 100")
    model, quota = failures(with_jobs(text))
    assert "no model own-v1" in model.detail
    assert f"{GPU} for transform job usage: 1" in quota.detail
    assert "--desired-value 4" in quota.advice
    give_quotas(account, {})
    assert "there is no quota" in failures(with_jobs(text))[1].detail
    none = text.replace(f'instance_type = "{GPU}", ', "")
    assert "no instance type" in failures(with_jobs(none))[1].detail


def test_a_stack_without_an_endpoint_needs_nothing_for_one(account, with_jobs, tmp_path):
    with_jobs()  # writes the catalog
    deploy(account)
    found = look(account, replace(PATIENT, catalog=tmp_path / "catalog.toml", stack=STACK))
    skipped = {one.check for one in found if one.result is Result.SKIP}
    assert skipped >= {"quota", "model", "image", "scaling role", "endpoint"}
    assert {one.result for one in about(found, "dead letters")} == {Result.OK}


def test_a_catalog_that_can_not_be_read_is_told(with_jobs):
    (found,) = with_jobs(JOBS_CATALOG.replace("model_id", "model"))
    assert found.result is Result.FAIL
    assert "lacks 'jobs.model_id'" in found.detail


# ---------------------------------------------------------------- a stack


def test_a_stack_that_works_has_nothing_wrong(healthy):
    deploy(healthy)
    an_endpoint(healthy, instances=4)
    report(healthy, 12)
    findings = look(healthy, replace(PATIENT, max_instances=0, stack=STACK))
    assert [f for f in findings if f.result is not Result.OK and f.check != "SAM CLI"] == []
    assert about(findings, "stack")[0].detail.startswith("CREATE_COMPLETE, https://")
    assert "InService: 4 of 4" in about(findings, "endpoint")[0].detail
    assert about(findings, "backlog")[0].detail == "12 requests outstanding"
    assert about(findings, "alarms")[0].detail == "none rings (1 that tell, 1 that scale)"
    assert ": 4, 0 in use elsewhere, 3 wanted" in about(findings, "quota")[0].detail


def report(account, outstanding: int) -> None:
    account.clients.other("cloudwatch").put_metric_data(
        Namespace="Backburner",
        MetricData=[
            {
                "MetricName": "OutstandingRequests",
                "Dimensions": [{"Name": "EndpointName", "Value": ENDPOINT}],
                "Value": outstanding,
                "Timestamp": datetime.now(UTC),
            }
        ],
    )


def test_a_stack_that_is_in_trouble_is_told_with_what_to_do(healthy):
    deploy(healthy)
    url = deployed.find(healthy, STACK).queue_url(QueueName.DELIVER)
    bury(healthy, url, 2)
    cloudwatch = healthy.clients.other("cloudwatch")
    for name in ("WorkAlarm", "FailedAlarm"):
        cloudwatch.set_alarm_state(
            AlarmName=f"{STACK}-{name}-X1", StateValue="ALARM", StateReason="too much"
        )
    findings = look(healthy, replace(PATIENT, stack=STACK))
    (letters,) = about(findings, "dead letters")
    assert (letters.result, letters.detail) == (Result.WARN, "deliver: about 2")
    assert f"backburner redrive deliver --stack {STACK}" in letters.advice
    (alarm,) = about(findings, "alarms")
    assert (alarm.result, alarm.detail) == (Result.WARN, f"{STACK}-FailedAlarm-X1: too much")
    assert about(findings, "backlog")[0].result is Result.FAIL
    assert about(findings, "endpoint")[0].detail == f"there is no endpoint {ENDPOINT}"


def test_what_the_stack_was_deployed_with_is_checked(healthy):
    deploy(healthy)
    patient = replace(PATIENT, sender="", stack=STACK)
    assert about(look(healthy, patient), "mail")[0].detail == f"{SENDER} may send"


@pytest.mark.parametrize(("creates", "uri"), [("true", MODEL), ("false", "")])
def test_the_model_of_a_stack_is_its_own_where_it_made_the_endpoint(creates, uri):
    stack = deployed.Deployed(
        name=STACK,
        status="CREATE_COMPLETE",
        outputs={"ModelLocation": MODEL},
        parameters={"CreateEndpoint": creates, "InstanceType": GPU},
    )
    patient = Patient().of_stack(stack).with_defaults()
    assert (patient.model_uri, patient.instance_type) == (uri, GPU)
    assert Patient(model_uri="s3://x/y/").of_stack(stack).model_uri == "s3://x/y/"


def test_a_stack_that_is_not_there_fails_and_the_rest_is_checked(healthy):
    findings = look(healthy, replace(PATIENT, stack=STACK))
    assert about(findings, "stack")[0].result is Result.FAIL
    assert about(findings, "alarms")[0].result is Result.SKIP
    assert about(findings, "quota")[0].result is Result.OK


def test_a_stack_without_our_outputs_fails(healthy):
    deploy(healthy, leave_out=("PlanQueueUrl",))
    findings = look(healthy, replace(PATIENT, stack=STACK))
    assert "without the outputs PlanQueueUrl" in about(findings, "stack")[0].detail
    assert about(findings, "dead letters")[0].result is Result.SKIP


# ---------------------------------------------------------------- the command


def test_without_credentials_one_thing_fails_and_the_rest_is_skipped():
    def connect():
        raise NotReachable("There are no AWS credentials.")

    findings = list(examine(replace(PATIENT, stack=STACK), connect))
    assert [f.check for f in findings if f.result is Result.FAIL] == ["credentials"]
    skipped = [f.check for f in findings if f.result is Result.SKIP]
    assert skipped[0] == "quota"
    assert skipped[-1] == "alarms"


def test_the_command_on_a_machine_without_aws_ends_soon_and_says_why(tmp_path):
    none = str(tmp_path / "none")
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env = kept | {
        "AWS_CONFIG_FILE": none,
        "AWS_SHARED_CREDENTIALS_FILE": none,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = subprocess.run(
        [sys.executable, "-m", "backburner_local.cli", "doctor", "--json"],
        env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    fails = [one for one in answer["findings"] if one["result"] == "fail"]
    assert [one["check"] for one in fails] == ["credentials"]
    assert "no AWS credentials" in fails[0]["detail"]


def test_the_command_shows_each_finding_with_its_advice(account, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for service in ("SERVICE_QUOTAS", "SESV2"):  # what moto can't answer, nobody does
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", "http://127.0.0.1:9")
    shown = CliRunner().invoke(cli.main, ["doctor", "--sender", SENDER])
    assert shown.exit_code == 1, shown.output
    assert "✓ credentials" in shown.output
    assert "✗ quota        AWS could not be asked" in shown.output
    assert "! scaling role not there yet" in shown.output
    assert "create-service-linked-role" in shown.output
    assert "- model        no artifact is named" in shown.output
    assert shown.output.splitlines()[-1].startswith("3 failures, 2 warnings")
    assert max(map(len, shown.output.splitlines())) <= 80


def test_the_defaults_are_the_templates():
    parameters = yaml.load((ROOT / "template.yaml").read_text(), _Loader)["Parameters"]
    assert parameters["InstanceType"]["Default"] == INSTANCE_TYPE
    assert parameters["MaxInstances"]["Default"] == MAX_INSTANCES


def a_sam(folder: Path, script: str) -> None:
    (folder / "sam").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "sam").chmod(0o755)


SAMS = [
    ("echo 'SAM CLI, version 1.170.0'", Result.OK, "1.170.0"),
    ("exit 3", Result.WARN, "does not run"),
]


@pytest.mark.parametrize(("script", "result", "told"), SAMS)
def test_the_sam_cli_is_found_and_run(account, tmp_path, script, result, told):
    a_sam(tmp_path, script)
    (finding,) = about(list(machine.check()), "SAM CLI")
    assert finding.result is result
    assert told in finding.detail


def test_without_a_sam_cli_it_is_said_how_to_get_it(account):
    (finding,) = about(list(machine.check()), "SAM CLI")
    assert (finding.result, finding.detail) == (Result.WARN, "not found")
    assert "aws-sam-cli" in finding.advice


@pytest.mark.parametrize(
    ("older", "newer"), [("1.44.5", "1.44.10"), ("1.9", "1.44"), ("1.44", "2")]
)
def test_versions_are_compared_by_their_numbers(older, newer):
    assert machine._numbers(older) < machine._numbers(newer)
