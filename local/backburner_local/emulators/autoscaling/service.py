"""The operations of Application Auto Scaling, and what its policies do when alarms call."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from backburner_local.emulators.autoscaling import decide
from backburner_local.emulators.autoscaling.tracking import tracking_alarms
from backburner_local.emulators.cloudwatch.service import Alarm, CloudWatch
from backburner_local.emulators.wire import ApiError, Message, page, required

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_RESOURCE = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
_ROLE = (
    "arn:aws:iam::{account}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com"
    "/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)


class Scalable(Protocol):
    """The side of SageMaker that is scaled."""

    def capacity(self, endpoint: str, variant: str) -> int:
        """Desired instances; an ApiError when there is no such variant."""

    def scale(self, endpoint: str, variant: str, capacity: int) -> None:
        """Ask for this many; an ApiError when that cannot be now."""


@dataclass(slots=True)
class Target:
    """A registered scalable target, with its policies by name."""

    message: Message
    policies: dict[str, Message] = field(default_factory=dict)
    #: When the last scaling ended its cooldown, for scaling in (real seconds since 1970).
    cools_until: float = 0
    #: Capacity before the last scale-out, while that one cools down.
    base: tuple[int, float] | None = None

    @property
    def resource(self) -> str:
        return str(self.message["ResourceId"])

    @property
    def variant(self) -> tuple[str, str]:
        match = _RESOURCE.fullmatch(self.resource)
        return (match[1], match[2]) if match else ("", "")

    def bound(self, capacity: int) -> int:
        return decide.bounded(capacity, self.message["MinCapacity"], self.message["MaxCapacity"])


@dataclass(frozen=True, slots=True)
class Wish:
    """What one policy wants of its target."""

    capacity: int
    cooldown_seconds: float
    cause: str


class AutoScaling:
    """Scalable targets, policies and activities; used on one event loop."""

    def __init__(
        self,
        scalable: Scalable,
        cloudwatch: CloudWatch,
        *,
        region: str,
        account_id: str,
        time_scale: float,
    ) -> None:
        self._scalable = scalable
        self._cloudwatch = cloudwatch
        self._region, self._account = region, account_id
        self._time_scale = time_scale
        self.targets: dict[str, Target] = {}
        self._activities: list[Message] = []
        self._triggered: dict[str, list[tuple[Message, Alarm]]] = {}
        self.operations: dict[str, Callable[[Message], Message]] = {
            "RegisterScalableTarget": self.register_scalable_target,
            "DescribeScalableTargets": self.describe_scalable_targets,
            "DeregisterScalableTarget": self.deregister_scalable_target,
            "PutScalingPolicy": self.put_scaling_policy,
            "DescribeScalingPolicies": self.describe_scaling_policies,
            "DeleteScalingPolicy": self.delete_scaling_policy,
            "DescribeScalingActivities": self.describe_scaling_activities,
        }

    # ---- targets

    def register_scalable_target(self, request: Message) -> Message:
        resource = self._resource(request)
        known = self.targets.get(resource)
        if known is None:
            required_capacity = [request.get("MinCapacity"), request.get("MaxCapacity")]
            if None in required_capacity:
                raise ApiError(
                    "ValidationException", "MinCapacity and MaxCapacity must both be specified."
                )
        message = dict(known.message) if known else self._new_target(request)
        for name in ("MinCapacity", "MaxCapacity", "RoleARN"):
            if request.get(name) is not None:
                message[name] = request[name]
        suspended = request.get("SuspendedState") or {}
        message["SuspendedState"] = {**message["SuspendedState"], **suspended}
        if not 0 <= message["MinCapacity"] <= message["MaxCapacity"]:
            raise ApiError(
                "ValidationException",
                "Maximum capacity cannot be less than minimum capacity, nor either be negative.",
            )
        if known is None:
            match = _RESOURCE.fullmatch(resource)
            if match is None:
                raise ApiError("ValidationException", f"Unsupported resource: {resource}.")
            self._scalable.capacity(match[1], match[2])
            self.targets[resource] = Target(message)
        else:
            known.message = message
        self._enforce_bounds(self.targets[resource])
        return {"ScalableTargetARN": message["ScalableTargetARN"]}

    def describe_scalable_targets(self, request: Message) -> Message:
        wanted = request.get("ResourceIds")
        found = [
            target.message
            for target in self.targets.values()
            if not wanted or target.resource in wanted
        ]
        return self._page(request, "ScalableTargets", found)

    def deregister_scalable_target(self, request: Message) -> Message:
        resource = self._resource(request)
        if resource not in self.targets:
            raise ApiError(
                "ObjectNotFoundException",
                f"No scalable target found for service namespace: sagemaker, resource ID: "
                f"{resource}, scalable dimension: {DIMENSION}",
            )
        self.forget(resource)
        return {}

    def forget(self, resource: str) -> None:
        """Drop a target with its policies and their alarms, if there is one."""
        target = self.targets.pop(resource, None)
        for policy in target.policies.values() if target else []:
            self._drop_alarms(policy)

    def _new_target(self, request: Message) -> Message:
        prefix = f"arn:aws:application-autoscaling:{self._region}:{self._account}"
        return {
            "ServiceNamespace": "sagemaker",
            "ResourceId": request["ResourceId"],
            "ScalableDimension": DIMENSION,
            "RoleARN": _ROLE.format(account=self._account),
            "CreationTime": datetime.now(UTC),
            "SuspendedState": {
                "DynamicScalingInSuspended": False,
                "DynamicScalingOutSuspended": False,
                "ScheduledScalingSuspended": False,
            },
            "ScalableTargetARN": f"{prefix}:scalable-target/{uuid.uuid4().hex}",
        }

    # ---- policies

    def put_scaling_policy(self, request: Message) -> Message:
        (name,) = required(request, "PolicyName")
        target = self._target(request)
        known = target.policies.get(name, {})
        kind = request.get("PolicyType") or known.get("PolicyType") or "StepScaling"
        member = f"{kind}PolicyConfiguration"
        if kind not in {"StepScaling", "TargetTrackingScaling"}:
            raise ApiError("ValidationException", f"{kind} is not supported for sagemaker.")
        if not request.get(member):
            raise ApiError("ValidationException", f"{member} is required for {kind}.")
        self._drop_alarms(known)
        policy = {
            "PolicyARN": known.get("PolicyARN") or self._policy_arn(target.resource, name),
            "PolicyName": name,
            "ServiceNamespace": "sagemaker",
            "ResourceId": target.resource,
            "ScalableDimension": DIMENSION,
            "PolicyType": kind,
            member: request[member],
            "CreationTime": known.get("CreationTime") or datetime.now(UTC),
            "Alarms": [],
        }
        if kind == "TargetTrackingScaling":
            policy["Alarms"] = self._put_alarms(policy)
        target.policies[name] = policy
        return {"PolicyARN": policy["PolicyARN"], "Alarms": policy["Alarms"]}

    def describe_scaling_policies(self, request: Message) -> Message:
        names, resource = request.get("PolicyNames"), request.get("ResourceId")
        found = [
            policy
            for target in self.targets.values()
            for policy in target.policies.values()
            if (not names or policy["PolicyName"] in names) and resource in (None, target.resource)
        ]
        return self._page(request, "ScalingPolicies", found)

    def delete_scaling_policy(self, request: Message) -> Message:
        (name,) = required(request, "PolicyName")
        target = self._target(request)
        policy = target.policies.pop(name, None)
        if policy is None:
            raise ApiError("ObjectNotFoundException", f"No scaling policy found named {name}.")
        self._drop_alarms(policy)
        return {}

    def describe_scaling_activities(self, request: Message) -> Message:
        resource = request.get("ResourceId")
        found = [one for one in self._activities if resource in (None, one["ResourceId"])]
        return self._page(request, "ScalingActivities", found[::-1])

    def _put_alarms(self, policy: Message) -> list[Message]:
        listed = []
        for definition in tracking_alarms(policy):
            self._cloudwatch.put_metric_alarm(definition)
            alarm = self._cloudwatch.alarms[definition["AlarmName"]]
            listed.append({"AlarmName": alarm.name, "AlarmARN": alarm.arn})
        return listed

    def _drop_alarms(self, policy: Message) -> None:
        for one in policy.get("Alarms") or []:
            self._cloudwatch.alarms.pop(one["AlarmName"], None)

    def _policy_arn(self, resource: str, name: str) -> str:
        return (
            f"arn:aws:autoscaling:{self._region}:{self._account}:scalingPolicy:{uuid.uuid4()}"
            f":resource/sagemaker/{resource}:policyName/{name}"
        )

    # ---- scaling

    def trigger(self, policy_arn: str, alarm: Alarm) -> bool:
        """Note that an alarm called a policy, for `act`; False when there is no such policy."""
        for target in self.targets.values():
            for policy in target.policies.values():
                if policy["PolicyARN"] == policy_arn:
                    self._triggered.setdefault(target.resource, []).append((policy, alarm))
                    return True
        return False

    def act(self, now: float) -> None:
        """Scale every target as its triggered policies want: the largest capacity wins."""
        triggered, self._triggered = self._triggered, {}
        for target in list(self.targets.values()):
            try:
                capacity = self._scalable.capacity(*target.variant)
            except ApiError:
                continue
            found = [
                wish
                for policy, alarm in triggered.get(target.resource, [])
                if (wish := self._wish(target, policy, alarm, capacity, now)) is not None
            ]
            if found:
                self._fulfil(target, max(found, key=lambda one: one.capacity), capacity, now)
            else:
                self._enforce_bounds(target)

    def _wish(
        self, target: Target, policy: Message, alarm: Alarm, capacity: int, now: float
    ) -> Wish | None:
        is_upward = alarm.definition["ComparisonOperator"].startswith("Greater")
        threshold = float(alarm.definition["Threshold"])
        value = threshold if alarm.value is None else alarm.value
        cause = f"monitor alarm {alarm.name} in state {alarm.state} triggered policy "
        cause += policy["PolicyName"]
        if policy["PolicyType"] == "TargetTrackingScaling":
            config = policy["TargetTrackingScalingPolicyConfiguration"]
            wanted = decide.tracked(capacity, value, config["TargetValue"], is_upward=is_upward)
            default = config.get("ScaleOutCooldown" if is_upward else "ScaleInCooldown")
            return Wish(target.bound(wanted), 300 if default is None else default, cause)
        config = policy["StepScalingPolicyConfiguration"]
        adjustment = decide.step(
            config.get("StepAdjustments") or [], value - threshold, is_upward=is_upward
        )
        if adjustment is None:
            return None
        base = capacity
        if target.base is not None and now < target.base[1] and adjustment > 0:
            base = min(capacity, target.base[0])  # what was added still counts as on its way
        kind = config.get("AdjustmentType") or "ChangeInCapacity"
        least = int(config.get("MinAdjustmentMagnitude") or 1)
        wanted = decide.adjusted(kind, base, adjustment, least)
        if adjustment > 0 and kind != "ExactCapacity":
            wanted = max(wanted, capacity)
        default = config.get("Cooldown")
        return Wish(target.bound(wanted), 300 if default is None else default, cause)

    def _fulfil(self, target: Target, wish: Wish, capacity: int, now: float) -> None:
        is_inward = wish.capacity < capacity
        if wish.capacity == capacity or (is_inward and now < target.cools_until):
            return
        suspended = target.message["SuspendedState"]
        name = "DynamicScalingInSuspended" if is_inward else "DynamicScalingOutSuspended"
        if suspended.get(name):
            return
        if self._scale(target, wish.capacity, wish.cause):
            until = now + wish.cooldown_seconds * self._time_scale
            target.cools_until = until
            target.base = None if is_inward else (capacity, until)

    def _enforce_bounds(self, target: Target) -> None:
        """Scale to a minimum above, or a maximum below, the present capacity; without any alarm."""
        capacity = self._scalable.capacity(*target.variant)
        wanted = target.bound(capacity)
        if wanted > capacity:
            self._scale(target, wanted, "minimum capacity was set to " + str(wanted))
        elif wanted < capacity:
            self._scale(target, wanted, "maximum capacity was set to " + str(wanted))

    def _scale(self, target: Target, capacity: int, cause: str) -> bool:
        now = datetime.now(UTC)
        activity = {
            "ActivityId": str(uuid.uuid4()),
            "ServiceNamespace": "sagemaker",
            "ResourceId": target.resource,
            "ScalableDimension": DIMENSION,
            "Description": f"Setting desired instance count to {capacity}.",
            "Cause": cause,
            "StartTime": now,
            "EndTime": now,
            "StatusCode": "Successful",
            "StatusMessage": f"Successfully set desired instance count to {capacity}."
            " Change successfully fulfilled by sagemaker.",
        }
        try:
            self._scalable.scale(*target.variant, capacity)
        except ApiError as error:
            activity["StatusCode"] = "Failed"
            activity["StatusMessage"] = f"Failed to set desired instance count: {error.message}"
        self._note(activity)
        return activity["StatusCode"] == "Successful"

    def _note(self, activity: Message) -> None:
        """Keep it; a failure that repeats the one before is kept once."""
        last = self._activities[-1] if self._activities else {}
        same = ("ResourceId", "Description", "StatusCode", "StatusMessage")
        if activity["StatusCode"] == "Failed" and all(
            last.get(key) == activity[key] for key in same
        ):
            return
        self._activities.append(activity)
        del self._activities[:-1000]

    # ---- requests

    @staticmethod
    def _resource(request: Message) -> str:
        namespace, resource, dimension = required(
            request, "ServiceNamespace", "ResourceId", "ScalableDimension"
        )
        if namespace != "sagemaker" or dimension != DIMENSION:
            raise ApiError(
                "ValidationException",
                f"Unsupported service namespace, resource type or scalable dimension: "
                f"{namespace}, {dimension}",
            )
        return str(resource)

    def _target(self, request: Message) -> Target:
        resource = self._resource(request)
        if resource not in self.targets:
            raise ApiError(
                "ObjectNotFoundException",
                "No scalable target registered for service namespace: sagemaker, "
                f"resource ID: {resource}, scalable dimension: {DIMENSION}",
            )
        return self.targets[resource]

    @staticmethod
    def _page(request: Message, name: str, found: list[Any]) -> Message:
        (namespace,) = required(request, "ServiceNamespace")
        if namespace != "sagemaker":
            found = []
        items, token = page(found, request.get("NextToken"), request.get("MaxResults"), most=50)
        return {name: items, "NextToken": token}
