"""Bedrock's jobs, by hand: takes what botocore would send, and answers as AWS does.

What AWS answers in detail is the emulator's to know (`tests/contract/test_bedrock.py`); here the
test says what becomes of a job.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.awsrequest import AWSResponse

from backburner_local.template import ACCOUNT, REGION
from tests.aws.endpoint import _Raw

LARGE = "mistral.mistral-large-2407-v1:0"

#: The moment in which botocore would make the request that stops a transform job.
STOP = "before-call.sagemaker.StopTransformJob"

#: Ids of models by the catalog's names: one of each kind of id.
JOB_MODELS = {
    "large": LARGE,
    "profile": "us.anthropic.claude-3-haiku-20240307-v1:0",
    "own-profile": f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/abc123",
    "custom": f"arn:aws:bedrock:{REGION}:{ACCOUNT}:custom-model/{LARGE}/abcdefghij12",
}


@dataclass
class Jobs:
    """Plays Bedrock's control plane, and Service Quotas."""

    bucket: str
    read: Callable[[str], bytes]
    write: Callable[[str, bytes], object]
    jobs: list[dict[str, Any]] = field(default_factory=list)
    #: Message with which the next job is refused.
    refusal: str = ""

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        url = urlsplit(request.url)
        parts = [unquote(part) for part in url.path.split("/")[1:]]
        body = json.loads(request.body or b"{}") if request.method == "POST" else {}
        if url.netloc.startswith("servicequotas"):
            return _answered(request, 200, {"Quotas": []})
        if parts == ["model-invocation-job"] and self.refusal:
            said, self.refusal = self.refusal, ""
            return _answered(request, 400, {"message": said}, "ValidationException")
        if parts == ["model-invocation-job"]:
            return _answered(request, 200, {"jobArn": self._create(body)["jobArn"]})
        if parts == ["model-invocation-jobs"]:
            return _answered(request, 200, {"invocationJobSummaries": self._listed(url.query)})
        job = next(one for one in self.jobs if one["jobArn"] == parts[1])
        if parts[-1] == "stop":
            job["status"] = "Stopping"
            return _answered(request, 200, {})
        return _answered(request, 200, job)

    def end(self, job: dict[str, Any], status: str = "Completed", *, but_for: int = 0) -> None:
        """Answer the job's records, but for so many of the last."""
        key = job["inputDataConfig"]["s3InputDataConfig"]["s3Uri"].removeprefix(
            f"s3://{self.bucket}/"
        )
        said = {
            "output": {"message": {"role": "assistant", "content": [{"text": "a word " * 9}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
        }
        records = [json.loads(line) for line in self.read(key).splitlines()]
        del records[len(records) - but_for :]
        output = b"".join(
            json.dumps({"recordId": one["recordId"], "modelOutput": said}).encode() + b"\n"
            for one in records
        )
        prefix = job["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
        folder = f"{prefix.removeprefix(f's3://{self.bucket}/')}{job['jobArn'].rpartition('/')[2]}"
        self.write(f"{folder}/{key.rpartition('/')[2]}.out", output)
        self.write(f"{folder}/manifest.json.out", b'{"totalRecordCount":1}')
        job["status"] = status

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        job_id = f"job{len(self.jobs):09d}"
        arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job/{job_id}"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.jobs.append(body | {"jobArn": arn, "status": "InProgress", "submitTime": now})
        return self.jobs[-1]

    def _listed(self, query: str) -> list[dict[str, Any]]:
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        return [
            job
            for job in self.jobs
            if asked.get("nameContains", "") in job["jobName"]
            and asked.get("statusEquals") in (None, job["status"])
        ]


def ended(job: dict[str, Any]) -> dict[str, Any]:
    """EventBridge's word of a job that ended."""
    return {
        "source": "aws.bedrock",
        "detail-type": "Batch Inference Job State Change",
        "detail": {"batchJobArn": job["jobArn"], "status": job["status"]},
    }


def _answered(request: Any, status: int, body: Any, error: str = "") -> AWSResponse:
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": error}
    return AWSResponse(request.url, status, headers, _Raw(json.dumps(body).encode()))  # type: ignore[arg-type]


def answer_stop(**_: Any) -> tuple[AWSResponse, dict[str, Any]]:
    """Takes the stop of a transform job: moto, which answers everything else, has no such call."""
    empty: Any = {}
    return AWSResponse("", 200, empty, None), {"ResponseMetadata": {"HTTPStatusCode": 200}}
