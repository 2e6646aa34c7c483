"""The operations of SageMaker's control plane that asynchronous endpoints need."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backburner_local.emulators.sagemaker.describe import (
    config_message,
    describe_endpoint,
    endpoint_from,
    stated_arn,
)
from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.hosting import HostedEndpoint, Surroundings
from backburner_local.emulators.wire import ApiError, Message, instant, page, required

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


class ControlPlane:
    """Models, endpoint configurations and endpoints; used on one event loop."""

    def __init__(
        self,
        around: Surroundings,
        *,
        instance_command: Sequence[str],
        images: Mapping[str, Sequence[str]],
        on_delete: Callable[[Endpoint], None],
        on_model: Callable[[str], None],
    ) -> None:
        self._around = around
        self._knobs = around.knobs
        self._command, self._images = instance_command, images
        self._on_delete, self._on_model = on_delete, on_model
        self._models: dict[str, Message] = {}
        #: Commands of models that are declared in code.
        self._own_commands: dict[str, Sequence[str]] = {}
        self._configs: dict[str, Message] = {}
        self.endpoints: dict[str, HostedEndpoint] = {}
        self._deleting: set[asyncio.Task[None]] = set()
        self.operations: dict[str, Callable[[Message], Message | None]] = {
            "CreateModel": self.create_model,
            "DescribeModel": lambda request: self._found(self._models, "model", request),
            "DeleteModel": lambda request: self._delete(self._models, "model", request),
            "CreateEndpointConfig": self.create_endpoint_config,
            "DescribeEndpointConfig": lambda request: self._found(
                self._configs, "endpoint-config", request
            ),
            "DeleteEndpointConfig": lambda request: self._delete(
                self._configs, "endpoint-config", request
            ),
            "CreateEndpoint": self.create_endpoint,
            "DescribeEndpoint": self.describe_endpoint,
            "ListEndpoints": self.list_endpoints,
            "UpdateEndpoint": self.update_endpoint,
            "UpdateEndpointWeightsAndCapacities": self.update_capacities,
            "DeleteEndpoint": self.delete_endpoint,
        }

    # ---- in process

    def host(self, endpoint: Endpoint) -> None:
        """Create an endpoint that is declared in code."""
        self._refuse_existing(self.endpoints, "endpoint", endpoint.name)
        if not endpoint.config_name:
            endpoint = dataclasses.replace(endpoint, config_name=endpoint.name)
        if not endpoint.instance_command:
            endpoint = dataclasses.replace(endpoint, instance_command=self._command)
        name = endpoint.config_name
        message = config_message(endpoint)
        self._configs.setdefault(name, self._new("endpoint-config", name, message))
        self._start(endpoint)

    def host_model(self, name: str, command: Sequence[str]) -> None:
        """Create a model that is declared in code; this starts its container."""
        self._own_commands[name] = command
        self.create_model({"ModelName": name, "PrimaryContainer": {"Image": name}})

    def container(self, model_name: str) -> tuple[Message, Sequence[str]]:
        """A model's container, and the command that starts it.

        Raises:
            ApiError: there is no such model, or no command for its image.
        """
        model = self._models.get(model_name)
        if model is None:
            raise self._missing("model", model_name)
        container: Message = model.get("PrimaryContainer") or model["Containers"][0]
        command = self._own_commands.get(model_name)
        return container, command or self._command_of(container.get("Image") or "")

    def capacity(self, endpoint: str, variant: str) -> int:
        hosted = self._hosted(endpoint)
        self._check_variant(hosted, variant)
        return hosted.pool.desired

    def scale(self, endpoint: str, variant: str, capacity: int) -> None:
        hosted = self._hosted(endpoint)
        self._check_variant(hosted, variant)
        self._refuse_in_progress(hosted)
        hosted.scale(capacity)

    async def close(self) -> None:
        """Drain every endpoint."""
        await asyncio.gather(*(hosted.close() for hosted in self.endpoints.values()))
        await asyncio.gather(*self._deleting)

    # ---- models and configurations

    def create_model(self, request: Message) -> Message:
        name = self._new_name(request, "ModelName")
        self._refuse_existing(self._models, "model", name)
        if not request.get("PrimaryContainer") and not request.get("Containers"):
            raise ApiError("ValidationException", "A model needs a container.")
        self._models[name] = self._new("model", name, request)
        self._on_model(name)
        return {"ModelArn": self._arn("model", name)}

    def create_endpoint_config(self, request: Message) -> Message:
        name = self._new_name(request, "EndpointConfigName")
        self._refuse_existing(self._configs, "endpoint-config", name)
        (variants,) = required(request, "ProductionVariants")
        for variant in variants:
            self._check_production_variant(variant)
        self._configs[name] = self._new("endpoint-config", name, request)
        return {"EndpointConfigArn": self._arn("endpoint-config", name)}

    def _check_production_variant(self, variant: Message) -> None:
        required(variant, "VariantName")
        if (count := variant.get("InitialInstanceCount", 1)) < 1:
            raise ApiError(
                "ValidationException",
                f"1 validation error detected: Value '{count}' at 'initialInstanceCount' failed to"
                " satisfy constraint: Member must have value greater than or equal to 1",
            )
        if (model := variant.get("ModelName")) not in self._models:
            raise self._missing("model", str(model))

    def _new(self, kind: str, name: str, request: Message) -> Message:
        member = {"model": "ModelArn", "endpoint-config": "EndpointConfigArn"}[kind]
        kept = {key: value for key, value in request.items() if key != "Tags"}
        return {**kept, member: self._arn(kind, name), "CreationTime": datetime.now(UTC)}

    # ---- endpoints

    def create_endpoint(self, request: Message) -> Message:
        name = self._new_name(request, "EndpointName")
        self._refuse_existing(self.endpoints, "endpoint", name)
        self._start(self._configured(name, request))
        return {"EndpointArn": self._arn("endpoint", name)}

    def update_endpoint(self, request: Message) -> Message:
        hosted = self._named(request)
        self._refuse_in_progress(hosted)
        endpoint = self._configured(hosted.endpoint.name, request)
        desired = endpoint.initial_instance_count
        if request.get("RetainAllVariantProperties"):
            desired = hosted.pool.desired
        hosted.replace(endpoint, desired)
        return {"EndpointArn": self._arn("endpoint", endpoint.name)}

    def update_capacities(self, request: Message) -> Message:
        hosted = self._named(request)
        (wanted,) = required(request, "DesiredWeightsAndCapacities")
        for one in wanted:
            (variant,) = required(one, "VariantName")
            self._check_variant(hosted, variant)
            if one.get("DesiredInstanceCount") is not None:
                self.scale(hosted.endpoint.name, variant, int(one["DesiredInstanceCount"]))
        return {"EndpointArn": self._arn("endpoint", hosted.endpoint.name)}

    def describe_endpoint(self, request: Message) -> Message:
        hosted = self._named(request)
        return describe_endpoint(hosted, self._arn("endpoint", hosted.endpoint.name))

    def list_endpoints(self, request: Message) -> Message:
        order = {"Name": "EndpointName", "Status": "EndpointStatus"}
        key = order.get(request.get("SortBy") or "", "CreationTime")
        found = [
            {name: message[name] for name in _SUMMARY}
            for hosted in self.endpoints.values()
            if _is_listed(hosted, request)
            for message in [describe_endpoint(hosted, self._arn("endpoint", hosted.endpoint.name))]
        ]
        found.sort(key=lambda one: one[key], reverse=request.get("SortOrder") != "Ascending")
        listed, token = page(found, request.get("NextToken"), request.get("MaxResults"), most=100)
        return {"Endpoints": listed, "NextToken": token}

    def delete_endpoint(self, request: Message) -> None:
        hosted = self._named(request)
        if hosted.status == "Creating":
            self._refuse_in_progress(hosted)
        hosted.delete()
        self._on_delete(hosted.endpoint)
        task = asyncio.create_task(self._finish_deleting(hosted))
        self._deleting.add(task)
        task.add_done_callback(self._deleting.discard)

    async def _finish_deleting(self, hosted: HostedEndpoint) -> None:
        await hosted.close()
        self.endpoints.pop(hosted.endpoint.name, None)

    def _start(self, endpoint: Endpoint) -> None:
        hosted = HostedEndpoint(endpoint, self._around)
        hosted.start()  # first: it reads what is in the queue, and callers put more there
        self.endpoints[endpoint.name] = hosted

    def _configured(self, name: str, request: Message) -> Endpoint:
        """The endpoint that a configuration and its model describe."""
        config = self._found(
            self._configs, "endpoint-config", {"EndpointConfigName": request["EndpointConfigName"]}
        )
        model_name = str(config["ProductionVariants"][0].get("ModelName"))
        model = self._models.get(model_name)
        if model is None:
            raise self._missing("model", model_name)
        endpoint = endpoint_from(name, config, model)
        command = self._command_of(endpoint.image)
        return dataclasses.replace(endpoint, instance_command=command)

    def _command_of(self, image: str) -> Sequence[str]:
        command = self._images.get(image, self._command)
        if not command:
            raise ApiError(
                "ValidationException",
                f"The emulator was not told which command stands for image {image}.",
            )
        return command

    # ---- names

    def _new_name(self, request: Message, member: str) -> str:
        (name,) = required(request, member)
        if len(name) > 63 or _NAME.fullmatch(name) is None:
            raise ApiError(
                "ValidationException",
                f"1 validation error detected: Value '{name}' at '{member[0].lower()}{member[1:]}'"
                " failed to satisfy constraint: Member must satisfy regular expression pattern:"
                f" {_NAME.pattern}",
            )
        return str(name)

    def _named(self, request: Message) -> HostedEndpoint:
        (name,) = required(request, "EndpointName")
        return self._hosted(name)

    def _hosted(self, name: str) -> HostedEndpoint:
        if name not in self.endpoints:
            raise self._missing("endpoint", name)
        return self.endpoints[name]

    def _found(self, there: dict[str, Message], kind: str, request: Message) -> Message:
        (name,) = required(request, _MEMBERS[kind])
        if name not in there:
            raise self._missing(kind, name)
        return there[name]

    def _delete(self, there: dict[str, Message], kind: str, request: Message) -> None:
        self._found(there, kind, request)
        del there[request[_MEMBERS[kind]]]

    def _refuse_existing(self, there: Mapping[str, Any], kind: str, name: str) -> None:
        if name in there:
            word = kind.replace("-config", " configuration")
            raise ApiError(
                "ValidationException",
                f'Cannot create already existing {word} "{self._arn(kind, name)}".',
            )

    def _refuse_in_progress(self, hosted: HostedEndpoint) -> None:
        if hosted.status in {"Creating", "Updating", "Deleting"}:
            arn = self._arn("endpoint", hosted.endpoint.name)
            raise ApiError("ValidationException", f'Cannot update in-progress endpoint "{arn}".')

    @staticmethod
    def _check_variant(hosted: HostedEndpoint, variant: str) -> None:
        if variant != hosted.endpoint.variant:
            raise ApiError("ValidationException", f'Could not find variant "{variant}".')

    def _missing(self, kind: str, name: str) -> ApiError:
        word = kind.replace("-config", " configuration")
        return ApiError("ValidationException", f'Could not find {word} "{self._arn(kind, name)}".')

    def _arn(self, kind: str, name: str) -> str:
        return stated_arn(self._knobs, kind, name)


_MEMBERS = {"model": "ModelName", "endpoint-config": "EndpointConfigName"}
_SUMMARY = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")


def _is_listed(hosted: HostedEndpoint, request: Message) -> bool:
    limits = [
        ("CreationTimeAfter", hosted.created_at, 1),
        ("CreationTimeBefore", hosted.created_at, -1),
        ("LastModifiedTimeAfter", hosted.changed_at, 1),
        ("LastModifiedTimeBefore", hosted.changed_at, -1),
    ]
    return (
        (request.get("NameContains") or "") in hosted.endpoint.name
        and request.get("StatusEquals") in (None, hosted.status)
        and all(
            name not in request or sign * (at - instant(request[name]).timestamp()) > 0
            for name, at, sign in limits
        )
    )
