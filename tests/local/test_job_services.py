"""The stack starts Bedrock's emulator for those who need it, and tells functions of its jobs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backburner import bootstrap
from backburner.domain.catalog import Catalog
from backburner.domain.shard import AttemptRef
from backburner_local import job_services
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.local.stacks import wait_until

CATALOG = """
[models.own]
backend = "sagemaker_async"
context_window = 1024
routes = ["/v1/chat/completions"]

[models.mistral-large]
backend = "bedrock_batch"
context_window = 128000
routes = ["/v1/chat/completions"]
jobs = { model_id = "mistral.mistral-large-2407-v1:0" }
"""


class Heard:
    """Stands for the backend: hears which jobs ended."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def attempt_of(self, job: str) -> AttemptRef | None:
        self.jobs.append(job)
        return None


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    root: Path = tmp_path_factory.mktemp("stack")
    catalog = root / "catalog.toml"
    catalog.write_text(CATALOG)
    options = Options(
        data_dir=root / "data",
        port=0,
        engine="null",
        catalog=catalog,
        durable=False,
        bedrock_knobs={"min_records": 1},
    )
    with Stack(options) as stack:
        yield stack


@pytest.fixture
def heard(stack):
    """What the functions hear, instead of the backend."""
    heard = Heard()
    bootstrap.install(replace(stack.env, backends={"bedrock_batch": heard}))
    yield heard
    bootstrap.install(stack.env)


def request(stack: Stack, name: str) -> dict[str, Any]:
    assert stack.bedrock is not None
    bucket = stack.world.bucket_folder.name
    model_input = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
    record = json.dumps({"recordId": "R1", "modelInput": model_input}).encode()
    stack.env.blobs.put(f"jobs/in/{name}.jsonl", record)
    return {
        "jobName": name,
        "roleArn": "arn:aws:iam::123456789012:role/r",
        "modelId": "mistral.mistral-large-2407-v1:0",
        "modelInvocationType": "Converse",
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"s3://{bucket}/jobs/in/{name}.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{bucket}/jobs/out/"}},
    }


def test_the_end_of_our_jobs_reaches_the_function_and_that_of_others_does_not(stack, heard):
    arns = [
        stack.bedrock.call("bedrock", "CreateModelInvocationJob", request(stack, name))["jobArn"]
        for name in ("of-others", "backburner-1")
    ]
    wait_until(lambda: heard.jobs, "the word of a job")
    wait_until(lambda: stack.bedrock.status()[arns[0][-12:]]["status"] == "Completed")
    assert heard.jobs == [arns[1]]
    (line,) = stack.env.blobs.get(f"jobs/out/{arns[1][-12:]}/backburner-1.jsonl.out").split(b"\n")[
        :-1
    ]
    output = json.loads(line)["modelOutput"]["output"]
    assert output["message"]["content"] == [{"text": "hello"}]


def test_a_stack_without_models_of_bedrock_starts_nothing_for_them(tmp_path):
    options = Options(data_dir=tmp_path, port=0, engine="null", durable=False)
    with Stack(options) as plain:
        assert plain.bedrock is None
        assert not (tmp_path / "bedrock").exists()


def test_jobs_of_the_last_run_go_on_although_their_model_left_the_catalog(tmp_path):
    without = Catalog()
    assert not job_services.needs_bedrock(without, tmp_path)
    jobs = tmp_path / job_services.BEDROCK / "jobs"
    jobs.mkdir(parents=True)
    (jobs / "abcdefghijkl.json").write_bytes(b"{}")
    assert job_services.needs_bedrock(without, tmp_path)
    job_services.drop_jobs(tmp_path)
    assert not job_services.needs_bedrock(without, tmp_path)
