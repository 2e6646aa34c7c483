"""From the messages of SageMaker's control plane to an endpoint, and back."""

from __future__ import annotations

from datetime import UTC, datetime

from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.hosting import HostedEndpoint
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.wire import Message

#: SageMaker's sentence for an instance that never answers the ping.
NOT_HEALTHY = (
    "The primary container for production variant {variant} did not pass the ping health check."
    " Please check CloudWatch logs for this endpoint."
)


def stated_arn(knobs: Knobs, kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:{knobs.region}:{knobs.account_id}:{kind}/{name}"


def endpoint_from(name: str, config: Message, model: Message) -> Endpoint:
    """What CreateEndpointConfig and CreateModel said; without the command of its instances."""
    variant = config["ProductionVariants"][0]
    container = model.get("PrimaryContainer") or model["Containers"][0]
    asynchronous = config.get("AsyncInferenceConfig") or {}
    output = asynchronous.get("OutputConfig") or {}
    topics = output.get("NotificationConfig") or {}
    client = asynchronous.get("ClientConfig") or {}
    return Endpoint(
        name=name,
        variant=variant["VariantName"],
        environment=dict(container.get("Environment") or {}),
        initial_instance_count=variant.get("InitialInstanceCount", 1),
        max_concurrent_invocations_per_instance=client.get("MaxConcurrentInvocationsPerInstance"),
        s3_output_path=output.get("S3OutputPath"),
        s3_failure_path=output.get("S3FailurePath"),
        success_topic=topics.get("SuccessTopic"),
        error_topic=topics.get("ErrorTopic"),
        include_inference_response_in=tuple(topics.get("IncludeInferenceResponseIn") or ()),
        is_async=bool(asynchronous),
        config_name=config["EndpointConfigName"],
        model_name=variant.get("ModelName") or "",
        instance_type=variant.get("InstanceType") or "",
        image=container.get("Image") or "",
        startup_timeout_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
    )


def config_message(endpoint: Endpoint) -> Message:
    """What DescribeEndpointConfig tells of an endpoint that was declared in code."""
    return {
        "EndpointConfigName": endpoint.config_name,
        "ProductionVariants": [
            {
                "VariantName": endpoint.variant,
                "ModelName": endpoint.model_name or endpoint.name,
                "InstanceType": endpoint.instance_type,
                "InitialInstanceCount": endpoint.initial_instance_count,
                "InitialVariantWeight": 1.0,
            }
        ],
        **({"AsyncInferenceConfig": async_config(endpoint)} if endpoint.is_async else {}),
    }


def async_config(endpoint: Endpoint) -> Message:
    topics = {
        "SuccessTopic": endpoint.success_topic,
        "ErrorTopic": endpoint.error_topic,
        "IncludeInferenceResponseIn": list(endpoint.include_inference_response_in) or None,
    }
    output = {
        "S3OutputPath": endpoint.s3_output_path,
        "S3FailurePath": endpoint.s3_failure_path,
        "NotificationConfig": _said(topics) or None,
    }
    message: Message = {"OutputConfig": _said(output)}
    if (limit := endpoint.max_concurrent_invocations_per_instance) is not None:
        message["ClientConfig"] = {"MaxConcurrentInvocationsPerInstance": limit}
    return message


def describe_endpoint(hosted: HostedEndpoint, arn: str) -> Message:
    """What DescribeEndpoint tells."""
    endpoint = hosted.endpoint
    created = datetime.fromtimestamp(hosted.created_at, UTC)
    variant: Message = {
        "VariantName": endpoint.variant,
        "CurrentWeight": 1.0,
        "DesiredWeight": 1.0,
        "CurrentInstanceCount": len(hosted.pool.ready),
        "DesiredInstanceCount": hosted.pool.desired,
    }
    if endpoint.image:
        variant["DeployedImages"] = [
            {
                "SpecifiedImage": endpoint.image,
                "ResolvedImage": endpoint.image,
                "ResolutionTime": created,
            }
        ]
    message: Message = {
        "EndpointName": endpoint.name,
        "EndpointArn": arn,
        "EndpointConfigName": endpoint.config_name,
        "ProductionVariants": [variant],
        "EndpointStatus": hosted.status,
        "CreationTime": created,
        "LastModifiedTime": datetime.fromtimestamp(hosted.changed_at, UTC),
    }
    if hosted.status == "Failed":
        message["FailureReason"] = NOT_HEALTHY.format(variant=endpoint.variant)
    if endpoint.is_async:
        message["AsyncInferenceConfig"] = async_config(endpoint)
    return message


def _said(values: Message) -> Message:
    return {key: value for key, value in values.items() if value is not None}
