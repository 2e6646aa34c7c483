"""SageMaker's runtime, by hand: it takes what botocore would send, and answers as AWS does."""

import io
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSResponse

from backburner.domain.shard import AttemptRef


@dataclass(eq=False)
class Invocation:
    """One invocation that the endpoint took."""

    ref: AttemptRef
    #: As it was when it was taken.
    body: bytes
    #: Whether it came in an object, and not with the call.
    is_object: bool
    output_key: str
    failure_key: str
    is_told: bool = False


@dataclass
class Endpoint:
    """Plays SageMaker's runtime: takes what botocore would send, and answers as AWS does."""

    bucket: str
    #: Reads an object.
    read: Callable[[str], bytes]
    invocations: list[Invocation] = field(default_factory=list)

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        sent = {name.lower(): _text(value) for name, value in request.headers.items()}
        prefix = "x-amzn-sagemaker-"
        name = f"{sent[prefix + 's3outputpathextension']}/{sent[prefix + 'filename']}"
        ref = AttemptRef.parse(sent[prefix + "inference-id"])
        assert ref is not None
        location = sent.get(prefix + "inputlocation", "")
        key = location.removeprefix(f"s3://{self.bucket}/")
        made = Invocation(
            ref=ref,
            body=self.read(key) if key else bytes(request.body),
            is_object=bool(key),
            output_key=f"async/output/{name}",
            failure_key=f"async/failure/{uuid.uuid4()}-error.out",
        )
        self.invocations.append(made)
        headers = {
            "X-Amzn-SageMaker-OutputLocation": f"s3://{self.bucket}/{made.output_key}",
            "X-Amzn-SageMaker-FailureLocation": f"s3://{self.bucket}/{made.failure_key}",
            "Content-Type": "application/json",
        }
        body = json.dumps({"InferenceId": str(ref)}).encode()
        return AWSResponse(request.url, 202, headers, _Raw(body))  # type: ignore[arg-type]


class _Raw(io.BytesIO):
    """What urllib3 would hand to botocore."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        while chunk := self.read(65536):
            yield chunk


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
