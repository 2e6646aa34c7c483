"""What the template and the adapter of Bedrock's jobs must agree on."""

from fnmatch import fnmatchcase

import pytest

from backburner.adapters.bedrock.keys import Place
from backburner.adapters.job_names import JOB_PREFIX, job_name
from backburner.domain.shard import AttemptRef
from backburner_local.template import ACCOUNT
from tests.template.expand import ROOT, expanded
from tests.template.resolved import TEMPLATE, listed, statements

PLACE = Place(AttemptRef(tenant="a", batch_id="batch_1", shard_id="00001-2", attempt=1), "converse")
(BUCKET,) = TEMPLATE.of_type("AWS::S3::Bucket").values()
OBJECTS = f"arn:aws:s3:::{BUCKET['BucketName']}/"


def may(action: str, key: str) -> bool:
    """Whether jobs may do this with an object of the bucket."""
    return any(
        action in listed(one["Action"]) and fnmatchcase(OBJECTS + key, resource)
        for one in statements("BedrockJobsRole")
        for resource in listed(one["Resource"])
    )


def test_jobs_read_what_they_are_asked_and_write_what_they_answer():
    assert may("s3:GetObject", PLACE.input_key)
    assert may("s3:PutObject", f"{PLACE.output_prefix}abcdefghij12/00001-2-a1.jsonl.out")


@pytest.mark.parametrize(
    "key", ["files/a/file_1", "batches/a/batch_1/inputs/00001.jsonl", "async/output/a/batch_1/x"]
)
def test_jobs_reach_no_other_object(key):
    assert not may("s3:GetObject", key)
    assert not may("s3:PutObject", key)


def test_only_bedrock_itself_may_take_the_role_and_only_for_jobs_of_the_account():
    role = TEMPLATE.of_type("AWS::IAM::Role")["BedrockJobsRole"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "bedrock.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}


def test_the_ends_of_our_jobs_are_heard_by_their_names():
    pattern = expanded()["Resources"]["OnJobFunctionBedrockJob"]["Properties"]["EventPattern"]
    assert pattern["detail"]["batchJobName"] == [{"prefix": JOB_PREFIX}]
    assert job_name("s3://bucket/any").startswith(JOB_PREFIX)


def test_without_the_parameter_there_is_no_role_and_nobody_may_start_a_job():
    resource = expanded()["Resources"]["BedrockJobsRole"]
    assert resource["Condition"] == "RunsBedrockJobs"
    assert expanded()["Parameters"]["RunBedrockJobs"]["Default"] == "false"


def test_functions_have_botocore_s_descriptions_of_what_they_call():
    makefile = (ROOT / "layers/dependencies/Makefile").read_text(encoding="utf-8")
    (services,) = (line for line in makefile.splitlines() if line.startswith("SERVICES = "))
    assert {"bedrock", "service-quotas"} <= set(services.split())
