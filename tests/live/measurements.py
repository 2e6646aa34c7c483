"""How each question is settled: calls to an endpoint, and what comes of them."""

import base64
import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from tests.live.site import FREE, LIMITED, POOLS, Site

#: Seconds after which a notification that has not come will not come.
_PATIENCE = 120.0
#: CloudWatch may show a data point as much later.
_METRIC_DELAY = 120.0

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer to one question, and what it was read from."""

    question: str
    value: Any
    evidence: dict[str, Any] = field(default_factory=dict)


Measurement = Callable[[Site], Iterator[Finding]]


def plain_invocation(site: Site) -> Iterator[Finding]:
    answer = site.invoke(LIMITED, {"say": "plain"})
    (notice,) = _heard(site, answer)
    evidence = {"answer": _said(answer), "notification": notice}
    yield Finding(
        question="default-output-key",
        value=answer["InferenceId"] in answer["OutputLocation"],
        evidence=evidence,
    )
    location = notice["requestParameters"].get("inputLocation")
    yield Finding(question="inline-input-location", value=location or "absent")
    yield Finding(question="success-response-body", value=_members(notice))


def named_output(site: Site) -> Iterator[Finding]:
    names = {"S3OutputPathExtension": "tenant/batch", "Filename": "named.out"}
    first = site.invoke(LIMITED, {"say": "first"}, **names)
    _heard(site, first)
    location = first["OutputLocation"]
    before = _content(site, location)
    shape = (
        location.replace(site.output_path, "<S3OutputPath>")
        .replace(names["S3OutputPathExtension"], "<extension>")
        .replace(names["Filename"], "<filename>")
    )
    yield Finding(
        question="named-output-key",
        value=shape if before.get("said") == "first" else f"{shape}, which is not there",
        evidence={"answer": _said(first)},
    )
    second = site.invoke(LIMITED, {"say": "second"}, **names)
    _heard(site, second)
    yield Finding(
        question="named-output-overwritten",
        value=_content(site, location).get("said") == "second",
        evidence={"answer": _said(second)},
    )


def failing_invocation(site: Site) -> Iterator[Finding]:
    named = site.invoke(LIMITED, {"say": "no", "status": 500}, Filename="named.out")
    unnamed = site.invoke(LIMITED, {"say": "no", "status": 500})
    _heard(site, named)
    (notice,) = _heard(site, unnamed)
    failures = {one: each.get("FailureLocation") for one, each in _both(named, unnamed)}
    yield Finding(
        question="failure-key",
        value="filename" if "named" in _base(failures["named"]) else "uuid",
        evidence=failures,
    )
    suffix = re.fullmatch(rf"{_UUID}(.*)", _base(failures["unnamed"]))
    yield Finding(question="failure-key-suffix", value=suffix[1] if suffix else failures["unnamed"])
    inner = notice.get("responseParameters") or {}
    place = "response_parameters" if "failureLocation" in inner else "absent"
    yield Finding(
        question="failure-location-in",
        value="top_level" if "failureLocation" in notice else place,
        evidence={"notification": notice},
    )
    yield Finding(question="error-response-body", value=_members(notice))
    body = site.read(str(failures["unnamed"]))
    yield Finding(
        question="failure-object",
        value=body is not None and b'"said": "no"' in body,
        evidence={"body": (body or b"").decode(errors="replace")[:500]},
    )


def timed_out(site: Site) -> Iterator[Finding]:
    # Seconds of the API are not scaled by us; an emulator scales them itself.
    answer = site.invoke(LIMITED, {"sleep": 30}, InvocationTimeoutSeconds=5)
    heard = site.listen(answer["InferenceId"], _PATIENCE)
    told = [one for one in heard if one["invocationStatus"] == "Failed"]
    yield Finding(question="timed-out-told", value=bool(told), evidence={"notifications": heard})


def same_inference_id(site: Site) -> Iterator[Finding]:
    name = f"twice-{uuid.uuid4()}"
    for _ in range(2):
        site.invoke(LIMITED, {"say": "twice"}, InferenceId=name)
    heard = site.listen(name, 60, count=3)
    yield Finding(question="same-inference-id", value=len(heard), evidence={"notifications": heard})


def expired(site: Site) -> Iterator[Finding]:
    site.invoke(LIMITED, {"sleep": 150})
    answer = site.invoke(LIMITED, {"say": "late"}, RequestTTLSeconds=60)
    heard = site.listen(answer["InferenceId"], 150 + _PATIENCE)
    evidence = {"notifications": heard, "output": site.read(answer["OutputLocation"]) is not None}
    yield Finding(
        question="expired-told",
        value=any(one["invocationStatus"] == "Failed" for one in heard),
        evidence=evidence,
    )


def backlog_in_flight(site: Site) -> Iterator[Finding]:
    site.pause(90)  # the minutes that are looked at begin with an empty queue
    began = site.now()
    answer = site.invoke(LIMITED, {"sleep": 240})
    site.listen(answer["InferenceId"], 240 + _PATIENCE)
    ended = site.now()
    site.pause(_METRIC_DELAY)
    values = site.metric(LIMITED, "ApproximateBacklogSize", since=began + 60, until=ended - 60)
    yield Finding(
        question="backlog-in-flight",
        value=max(values, default=0) >= 1 if values else "no data points",
        evidence={"values": values, "seconds": round(ended - began)},
    )


def processed_metric(site: Site) -> Iterator[Finding]:
    found = site.cloudwatch.list_metrics(
        Namespace="AWS/SageMaker",
        Dimensions=[{"Name": "EndpointName", "Value": site.endpoint(LIMITED)}],
    )["Metrics"]
    names = sorted({one["MetricName"] for one in found})
    spelt = [name for name in names if name.startswith("InvocationsProces")]
    yield Finding(
        question="processed-metric",
        value=spelt[0] if len(spelt) == 1 else spelt,
        evidence={"all": names},
    )


def capacity(site: Site) -> Iterator[Finding]:
    """From 1 to 0 during a call, and back; one loss of an instance settles four questions."""
    tests = site.hear(5)
    running = site.invoke(LIMITED, {"sleep": 300})
    site.pause(20)
    try:
        to_zero = site.scale_to(LIMITED, 0)
    except ClientError as error:
        yield Finding(question="capacity-by-hand", value=False, evidence={"error": str(error)})
        return
    at_zero = site.now()
    waiting = site.invoke(LIMITED, {"say": "at zero"})
    tests_after = site.hear(60)
    yield Finding(
        question="test-on-scaling",
        value=tests_after > tests,
        evidence={"before": tests, "after": tests_after},
    )
    site.pause(240)
    until = site.now()
    site.pause(_METRIC_DELAY)
    values = site.metric(
        LIMITED, "ApproximateBacklogSizePerInstance", since=at_zero + 90, until=until
    )
    yield Finding(
        question="backlog-per-instance-at-zero",
        value="backlog" if max(values, default=0) >= 1 else "absent",
        evidence={"values": values},
    )
    from_zero = site.scale_to(LIMITED, 1)
    yield Finding(
        question="capacity-by-hand",
        value=True,
        evidence={"seconds to 0": round(to_zero), "seconds from 0 to 1": round(from_zero)},
    )
    site.listen(waiting["InferenceId"], 300 + _PATIENCE)
    heard = site.listen(running["InferenceId"], 300 + _PATIENCE)
    statuses = [one["invocationStatus"] for one in heard]
    fate = {"Completed": "redeliver", "Failed": "fail"}
    yield Finding(
        question="instance-loss",
        value=fate.get(statuses[0], statuses[0]) if statuses else "lose",
        evidence={"notifications": heard},
    )


def default_concurrency(site: Site) -> Iterator[Finding]:
    site.wait_for(FREE)
    answers = [site.invoke(FREE, {"sleep": 10}) for _ in range(32)]
    for answer in answers:
        _heard(site, answer, within=10 * len(answers) + _PATIENCE)
    peaks = [_content(site, answer["OutputLocation"]).get("peak", 0) for answer in answers]
    yield Finding(
        question="default-concurrency", value=max(peaks), evidence={"calls": len(answers)}
    )


def instance_pools(site: Site) -> Iterator[Finding]:
    name = site.endpoint(POOLS)
    variant = {
        "InitialInstanceCount": 1,
        "InstancePools": [
            {"InstanceType": "ml.m5.large", "Priority": 1},
            {"InstanceType": "ml.m5.xlarge", "Priority": 2},
        ],
    }
    try:
        site.create_config(name, variant)
    except ClientError as error:
        yield Finding(question="instance-pools", value="refused", evidence={"error": str(error)})
        return
    site.sagemaker.delete_endpoint_config(EndpointConfigName=name)
    yield Finding(question="instance-pools", value="accepted")


def deleted_with_backlog(site: Site) -> Iterator[Finding]:
    site.invoke(LIMITED, {"sleep": 120})
    waiting = site.invoke(LIMITED, {"say": "behind"})
    site.pause(10)
    site.sagemaker.delete_endpoint(EndpointName=site.endpoint(LIMITED))
    heard = site.listen(waiting["InferenceId"], 180)
    yield Finding(
        question="deleted-with-backlog", value=bool(heard), evidence={"notifications": heard}
    )


#: In this order: the last one deletes the endpoint that the others use.
MEASUREMENTS: list[Measurement] = [
    plain_invocation,
    named_output,
    failing_invocation,
    timed_out,
    same_inference_id,
    default_concurrency,
    instance_pools,
    expired,
    backlog_in_flight,
    processed_metric,
    capacity,
    deleted_with_backlog,
]


def _heard(
    site: Site, answer: dict[str, Any], *, within: float = _PATIENCE
) -> list[dict[str, Any]]:
    heard = site.listen(answer["InferenceId"], within)
    if not heard:
        raise TimeoutError(f"No notification within {within:.0f} s.")
    return heard[:1]


def _said(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: text for name, text in answer.items() if name != "ResponseMetadata"}


def _both(named: dict[str, Any], unnamed: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("named", named), ("unnamed", unnamed)]


def _base(location: str | None) -> str:
    return (location or "").rpartition("/")[2]


def _content(site: Site, location: str) -> dict[str, Any]:
    body = site.read(location)
    content: dict[str, Any] = json.loads(body) if body else {}
    return content


def _members(notice: dict[str, Any]) -> list[str] | str:
    """The members of `responseBody`, if its content is what the container said."""
    body = notice.get("responseBody")
    if body is None:
        return "absent"
    content = body.get("content", "")
    if body.get("encoding") == "BASE64":
        content = base64.b64decode(content).decode()
    return sorted(body) if '"said"' in content else f"{sorted(body)}, with other content"
