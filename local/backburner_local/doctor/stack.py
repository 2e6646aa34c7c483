"""How a deployed stack does."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from botocore.exceptions import ClientError

from backburner.ports import QueueName
from backburner_local import dead_letters, deployed
from backburner_local.deployed import Account, Deployed
from backburner_local.doctor.findings import Finding, Result

#: Time within which report_backlog, which runs every minute, must have been heard.
_HEARD = timedelta(minutes=10)


def find(account: Account, name: str, found: list[Deployed]) -> Iterator[Finding]:
    """Look the stack up, and keep it in `found`."""
    stack = deployed.find(account, name)
    found.append(stack)
    if stack.missing:
        advice = "Deploy the current template; is it a stack of ours at all?"
        detail = f"{stack.status}, without the outputs {', '.join(stack.missing)}"
        yield Finding("stack", Result.FAIL, detail, advice)
    elif "ROLLBACK" in stack.status or stack.status.endswith("_FAILED"):
        advice = "See the stack's events in the CloudFormation console for the first failure."
        yield Finding("stack", Result.FAIL, stack.status, advice)
    elif stack.status.endswith("_IN_PROGRESS"):
        yield Finding("stack", Result.WARN, stack.status, "Look again when it is complete.")
    else:
        yield Finding("stack", Result.OK, f"{stack.status}, {stack.outputs['ApiUrl']}")


def check_endpoint(account: Account, stack: Deployed) -> Iterator[Finding]:
    """The endpoint's status, and how many instances it has."""
    name = stack.outputs["EndpointName"]
    try:
        endpoint = account.clients.sagemaker.describe_endpoint(EndpointName=name)
    except ClientError as error:
        if "Could not find" not in error.response["Error"].get("Message", ""):
            raise
        advice = "Deploy with CreateEndpoint=true, or create an endpoint of that name."
        yield Finding("endpoint", Result.FAIL, f"there is no endpoint {name}", advice)
        return
    counts = [
        (v.get("CurrentInstanceCount", 0), v.get("DesiredInstanceCount", 0))
        for v in endpoint.get("ProductionVariants", [])
    ]
    status = endpoint["EndpointStatus"]
    current, wanted = sum(c for c, _ in counts), sum(w for _, w in counts)
    detail = f"{name} is {status}: {current} of {wanted} wanted instances"
    if status == "InService":
        yield Finding("endpoint", Result.OK, detail)
    elif status in ("Creating", "Updating", "SystemUpdating", "RollingBack"):
        yield Finding("endpoint", Result.WARN, detail, "Work waits until it is in service.")
    else:
        reason = endpoint.get("FailureReason", "its logs are in /aws/sagemaker/Endpoints/")
        yield Finding("endpoint", Result.FAIL, detail, f"It says: {reason}")


def check_dead_letters(account: Account, stack: Deployed) -> Iterator[Finding]:
    """Messages that their functions gave up."""
    depths = {q: dead_letters.dead_letters(account, stack.queue_url(q)) for q in QueueName}
    dead = {queue: depth for queue, depth in depths.items() if depth}
    if not dead:
        yield Finding("dead letters", Result.OK, "none")
    for queue, depth in dead.items():
        advice = (
            f"See why in the logs of the {queue} function, then"
            f" `backburner redrive {queue} --stack {stack.name}`."
        )
        yield Finding("dead letters", Result.WARN, f"{queue}: about {depth}", advice)


def check_backlog(account: Account, stack: Deployed) -> Iterator[Finding]:
    """The backlog that the alarms scale by, as it was last reported."""
    now = datetime.now(UTC)
    points = account.clients.other("cloudwatch").get_metric_statistics(
        Namespace="Backburner",
        MetricName="OutstandingRequests",
        Dimensions=[{"Name": "EndpointName", "Value": stack.outputs["EndpointName"]}],
        StartTime=now - _HEARD,
        EndTime=now + timedelta(minutes=1),  # the minute that has begun counts, too
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    if points:
        last = max(points, key=lambda point: point["Timestamp"])
        yield Finding("backlog", Result.OK, f"{last['Maximum']:.0f} requests outstanding")
        return
    minutes = int(_HEARD.total_seconds() // 60)
    advice = "See the logs of the report_backlog function: without it nothing is scaled."
    yield Finding("backlog", Result.FAIL, f"not reported for {minutes} minutes", advice)


def check_alarms(account: Account, stack: Deployed) -> Iterator[Finding]:
    """Alarms of the stack, which have its name; those that only scale are no reason to worry."""
    pages = (
        account.clients.other("cloudwatch")
        .get_paginator("describe_alarms")
        .paginate(AlarmNamePrefix=f"{stack.name}-", AlarmTypes=["MetricAlarm"])
    )
    alarms = [alarm for page in pages for alarm in page["MetricAlarms"]]
    telling = [a for a in alarms if not _scales(a.get("AlarmActions", []))]
    ringing = [alarm for alarm in telling if alarm["StateValue"] == "ALARM"]
    for alarm in ringing:
        detail = f"{alarm['AlarmName']}: {alarm.get('StateReason') or 'in alarm'}"
        yield Finding("alarms", Result.WARN, detail, alarm.get("AlarmDescription", ""))
    if not ringing:
        detail = f"none rings ({len(telling)} that tell, {len(alarms) - len(telling)} that scale)"
        yield Finding("alarms", Result.OK, detail)


def _scales(actions: list[str]) -> bool:
    return bool(actions) and all(":scalingPolicy:" in action for action in actions)
