"""Set the emulated endpoint up as the template declares it: model, notifications, scaling."""

from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.server import SageMakerEmulator
from backburner_local.template import Template


def create_endpoints(emulator: SageMakerEmulator, template: Template, command: list[str]) -> None:
    """Create the template's endpoints; here they start with no instance."""
    configs = template.of_type("AWS::SageMaker::EndpointConfig")
    for properties in template.of_type("AWS::SageMaker::Endpoint").values():
        config = configs[properties["EndpointConfigName"]]
        variant = config["ProductionVariants"][0]
        async_config = config["AsyncInferenceConfig"]
        output = async_config["OutputConfig"]
        notified = output["NotificationConfig"]
        emulator.create_endpoint(
            Endpoint(
                name=properties["EndpointName"],
                instance_command=command,
                variant=variant["VariantName"],
                initial_instance_count=0,
                max_concurrent_invocations_per_instance=int(
                    async_config["ClientConfig"]["MaxConcurrentInvocationsPerInstance"]
                ),
                s3_output_path=output["S3OutputPath"],
                s3_failure_path=output["S3FailurePath"],
                success_topic=notified["SuccessTopic"],
                error_topic=notified["ErrorTopic"],
                include_inference_response_in=notified.get("IncludeInferenceResponseIn", ()),
                config_name=properties["EndpointConfigName"],
                instance_type=variant["InstanceType"],
            )
        )


def create_scaling(emulator: SageMakerEmulator, template: Template) -> None:
    """Register the scalable targets of the template, their policies, and the alarms that act."""
    targets = template.of_type("AWS::ApplicationAutoScaling::ScalableTarget")
    for target in targets.values():
        emulator.call(
            "application-autoscaling",
            "RegisterScalableTarget",
            {
                **_identity(target),
                "MinCapacity": int(target["MinCapacity"]),
                "MaxCapacity": int(target["MaxCapacity"]),
            },
        )
    arns: dict[str, str] = {}
    policies = template.of_type("AWS::ApplicationAutoScaling::ScalingPolicy")
    for name, policy in policies.items():
        request = {k: v for k, v in policy.items() if k != "ScalingTargetId"}
        request |= _identity(targets[policy["ScalingTargetId"]])
        answer = emulator.call("application-autoscaling", "PutScalingPolicy", request)
        arns[name] = (answer or {})["PolicyARN"]
    for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items():
        actions = [arns[action] for action in alarm.get("AlarmActions", ()) if action in arns]
        if not actions:  # it tells a person of what happens on AWS
            continue
        endpoint = next(d["Value"] for d in alarm["Dimensions"] if d["Name"] == "EndpointName")
        request = {**alarm, "AlarmName": f"{name}-{endpoint}", "AlarmActions": actions}
        emulator.call("cloudwatch", "PutMetricAlarm", request)


def _identity(target: dict[str, str] | object) -> dict[str, str]:
    assert isinstance(target, dict)
    return {name: target[name] for name in ("ServiceNamespace", "ScalableDimension", "ResourceId")}
