"""Quotas of batch inference, as Service Quotas names them; what it lists is what is enforced."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backburner_local.emulators.bedrock.knobs import Knobs
from backburner_local.emulators.bedrock.models import (
    FoundationModel,
    ModelDirectory,
    ResolvedModel,
)
from backburner_local.emulators.wire import ApiError, Message, page, required

_GB = 1024**3

#: Most that one page holds.
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Quota:
    """One quota of the account in the Region."""

    name: str
    value: float
    is_adjustable: bool = True

    @property
    def code(self) -> str:
        """Looks like AWS's, and is always the same for a name; the real codes are not known."""
        return f"L-{hashlib.sha256(self.name.encode()).hexdigest()[:8].upper()}"


class Quotas:
    """The quotas of all models, with the values that the knobs give them."""

    def __init__(self, directory: ModelDirectory, knobs: Callable[[], Knobs]) -> None:
        self._directory = directory
        self._knobs = knobs
        self.operations: dict[str, Callable[[Message], Message]] = {
            "ListServiceQuotas": self.list_service_quotas,
            "GetServiceQuota": self.get_service_quota,
        }

    # ---- what is enforced

    def slots(self, model: ResolvedModel) -> int:
        kind = "custom" if model.is_custom else "base"
        default = "slots_per_custom_model" if model.is_custom else "slots_per_model"
        name = _slots_name(kind, model.base)
        return int(self._value(name, getattr(self._knobs(), default)))

    def min_records(self, model: FoundationModel) -> int:
        return int(self._value(_min_name(model), self._knobs().min_records))

    def max_records(self, model: FoundationModel) -> int:
        return int(self._value(_max_name(model), self._knobs().max_records))

    def max_records_per_file(self, model: FoundationModel) -> int:
        return int(self._value(_per_file_name(model), self._knobs().max_records))

    def max_file_bytes(self, model: FoundationModel) -> int:
        return int(self._value(_file_size_name(model), self._knobs().max_file_gb) * _GB)

    def max_job_bytes(self, model: FoundationModel) -> int:
        return int(self._value(_job_size_name(model), self._knobs().max_job_gb) * _GB)

    def _value(self, name: str, default: float) -> float:
        return next(
            (v for n, v in self._knobs().quotas.items() if n.casefold() == name.casefold()), default
        )

    # ---- what is listed

    def all(self) -> list[Quota]:
        """Every quota, as mixed up as AWS lists them: by code."""
        found = [q for model in self._directory.models.values() for q in self._of(model)]
        return sorted(found, key=lambda quota: quota.code)

    def _of(self, model: FoundationModel) -> Iterator[Quota]:
        knobs = self._knobs()
        for name, default, is_adjustable in (
            (_min_name(model), knobs.min_records, False),
            (_max_name(model), knobs.max_records, True),
            (_per_file_name(model), knobs.max_records, True),
            (_file_size_name(model), knobs.max_file_gb, False),
            (_job_size_name(model), knobs.max_job_gb, False),
            (_slots_name("base", model), knobs.slots_per_model, True),
            (_slots_name("custom", model), knobs.slots_per_custom_model, True),
            # Not of batch inference: whoever reads the list meets them, too.
            (f"On-demand model inference requests per minute for {model.display_name}", 1000, True),
        ):
            yield Quota(name, float(self._value(name, default)), is_adjustable)

    def list_service_quotas(self, request: Message) -> Message:
        self._check_service(request)
        listed, token = page(
            [self._told(quota) for quota in self.all()],
            request.get("NextToken"),
            request.get("MaxResults"),
            most=_PAGE,
        )
        return {"Quotas": listed, "NextToken": token}

    def get_service_quota(self, request: Message) -> Message:
        self._check_service(request)
        (code,) = required(request, "QuotaCode")
        for quota in self.all():
            if quota.code == code:
                return {"Quota": self._told(quota)}
        raise ApiError("NoSuchResourceException", f"No such quota: {code}.")

    @staticmethod
    def _check_service(request: Message) -> None:
        (service,) = required(request, "ServiceCode")
        if service != "bedrock":
            raise ApiError("NoSuchResourceException", f"The quotas of {service} are not emulated.")

    def _told(self, quota: Quota) -> Message:
        knobs = self._knobs()
        return {
            "ServiceCode": "bedrock",
            "ServiceName": "Amazon Bedrock",
            "QuotaArn": f"arn:aws:servicequotas:{knobs.region}:{knobs.account_id}"
            f":bedrock/{quota.code}",
            "QuotaCode": quota.code,
            "QuotaName": quota.name,
            "Value": quota.value,
            "Unit": "None",
            "Adjustable": quota.is_adjustable,
            "GlobalQuota": False,
            "QuotaAppliedAtLevel": "ACCOUNT",
        }


def _min_name(model: FoundationModel) -> str:
    return f"Minimum number of records per batch inference job for {model.display_name}"


def _max_name(model: FoundationModel) -> str:
    return f"Records per batch inference job for {model.display_name}"


def _per_file_name(model: FoundationModel) -> str:
    return f"Records per input file per batch inference job for {model.display_name}"


def _file_size_name(model: FoundationModel) -> str:
    return _size_name("Batch inference input file size", model)


def _job_size_name(model: FoundationModel) -> str:
    return _size_name("Batch inference job size", model)


def _size_name(what: str, model: FoundationModel) -> str:
    if model.names_unit_last:
        return f"{what} for {model.display_name} (in GB)"
    return f"{what} (in GB) for {model.display_name}"


def _slots_name(kind: str, model: FoundationModel) -> str:
    return (
        "Sum of in-progress and submitted batch inference jobs"
        f" using a {kind} model for {model.display_name}"
    )
