"""One accepted invocation, and the checks a call of InvokeEndpointAsync must pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backburner_local import names
from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.wire import ApiError

MAX_BODY_BYTES = 128_000
DEFAULT_TTL_SECONDS = 21_600
DEFAULT_TIMEOUT_SECONDS = 900

_PREFIX = "X-Amzn-SageMaker-"
_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What must be known to run one invocation, now or after a restart."""

    #: Position in the queue's database; unique.
    id: int
    endpoint: str
    inference_id: str
    #: Seconds since 1970.
    accepted_at: float
    ttl_seconds: int
    timeout_seconds: int
    #: None for an inline body, which the queue keeps.
    input_location: str | None = None
    content_type: str | None = None
    accept: str | None = None
    custom_attributes: str | None = None
    output_location: str | None = None
    failure_location: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One header of the request: its member's name and the constraints on its value."""

    header: str
    member: str
    pattern: re.Pattern[str] | None = None
    most: int | None = None
    least: int | None = None
    is_number: bool = False
    #: Tells what the pattern cannot.
    refuses: Callable[[str], bool] | None = None

    def complaints(self, value: str) -> list[str]:
        """What is wrong with a value, in the words of AWS's validation."""
        return self._number(value) if self.is_number else self._text(value)

    def _number(self, value: str) -> list[str]:
        if _NUMBER.fullmatch(value) is None:
            return [self._complaint(value, "Member must be a number")]
        number, found = int(value), []
        if self.most is not None and number > self.most:
            rule = f"Member must have value less than or equal to {self.most}"
            found.append(self._complaint(value, rule))
        if self.least is not None and number < self.least:
            rule = f"Member must have value greater than or equal to {self.least}"
            found.append(self._complaint(value, rule))
        return found

    def _text(self, value: str) -> list[str]:
        found = []
        if self.most is not None and len(value) > self.most:
            rule = f"Member must have length less than or equal to {self.most}"
            found.append(self._complaint(value, rule))
        if self.least is not None and len(value) < self.least:
            rule = f"Member must have length greater than or equal to {self.least}"
            found.append(self._complaint(value, rule))
        if self.pattern is not None and self.pattern.search(value) is None:
            rule = f"Member must satisfy regular expression pattern: {self.pattern.pattern}"
            found.append(self._complaint(value, rule))
        if self.refuses is not None and self.refuses(value):
            found.append(self._complaint(value, "Member must not contain . or .. as a path part"))
        return found

    def _complaint(self, value: str, rule: str) -> str:
        return f"Value '{value}' at '{self.member}' failed to satisfy constraint: {rule}"


def _climbs(value: str) -> bool:
    """Our safety rule: an extension never leaves the output path. What AWS does is unknown."""
    return any(part in {".", ".."} for part in value.split("/"))


_ASCII = re.compile(r"\A[\x00-\x7f]*\Z")
_ENDPOINT = Rule("", "endpointName", re.compile(r"\A[a-zA-Z0-9](-*[a-zA-Z0-9])*\Z"), 63)
_RULES = {
    "content_type": Rule("Content-Type", "contentType", _ASCII, 1024),
    "accept": Rule("Accept", "accept", _ASCII, 1024),
    "custom_attributes": Rule("Custom-Attributes", "customAttributes", _ASCII, 1024),
    "inference_id": Rule("Inference-Id", "inferenceId", re.compile(r"\A[!-~][ -~]*\Z"), 64, 1),
    "input_location": Rule(
        "InputLocation", "inputLocation", re.compile(r"^(https|s3)://([^/]+)/?(.*)$"), 1024, 1
    ),
    "extension": Rule(
        "S3OutputPathExtension",
        "s3OutputPathExtension",
        re.compile(r"\A(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+\Z"),
        512,
        1,
        refuses=_climbs,
    ),
    "filename": Rule(
        "Filename",
        "filename",
        re.compile(r"\A(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9\-_.]*\Z"),
        32,
        1,
    ),
    "ttl": Rule("RequestTTLSeconds", "requestTTLSeconds", None, 21_600, 60, is_number=True),
    "timeout": Rule(
        "InvocationTimeoutSeconds", "invocationTimeoutSeconds", None, 3_600, 1, is_number=True
    ),
}
_HEADERS = [(name, _PREFIX + rule.header, rule) for name, rule in _RULES.items()]


def check(endpoint_name: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """The request's members by name.

    Raises:
        ApiError: a ValidationError that lists everything that is wrong.
    """
    values: dict[str, str] = {}
    found = _ENDPOINT.complaints(endpoint_name)
    for name, header, rule in _HEADERS:
        value = headers.get(header)
        if value is not None:
            found += rule.complaints(value)
            values[name] = value
    if len(body) > MAX_BODY_BYTES:
        found.append(
            "Value at 'body' failed to satisfy constraint: "
            f"Member must have length less than or equal to {MAX_BODY_BYTES}"
        )
    if found:
        noun = "error" if len(found) == 1 else "errors"
        details = "; ".join(found)
        raise ApiError("ValidationError", f"{len(found)} validation {noun} detected: {details}")
    if bool(body) == ("input_location" in values):
        which = "both of them" if body else "none"
        raise ApiError(
            "ValidationError", f"Exactly one of InputLocation and Body is required, got {which}."
        )
    return values


def accept(
    values: Mapping[str, str], endpoint: Endpoint, knobs: Knobs, *, number: int, now: float
) -> Invocation:
    """The invocation a checked request becomes; its object names are fresh and random."""
    stem = str(names.new())
    return Invocation(
        id=number,
        endpoint=endpoint.name,
        inference_id=values.get("inference_id") or str(names.new()),
        accepted_at=now,
        ttl_seconds=int(values.get("ttl", DEFAULT_TTL_SECONDS)),
        timeout_seconds=int(values.get("timeout", DEFAULT_TIMEOUT_SECONDS)),
        input_location=values.get("input_location"),
        content_type=values.get("content_type"),
        accept=values.get("accept"),
        custom_attributes=values.get("custom_attributes"),
        output_location=_output(values, endpoint, stem),
        failure_location=_failure(values, endpoint, knobs, stem),
    )


def _output(values: Mapping[str, str], endpoint: Endpoint, stem: str) -> str | None:
    if not endpoint.s3_output_path:
        return None
    return _join(
        endpoint.s3_output_path,
        values.get("extension", ""),
        values.get("filename", f"{stem}.out"),
    )


def _failure(values: Mapping[str, str], endpoint: Endpoint, knobs: Knobs, stem: str) -> str | None:
    if not endpoint.s3_failure_path:
        return None
    if knobs.failure_key == "filename":
        stem = values.get("filename", stem)
    return _join(endpoint.s3_failure_path, "", stem + knobs.failure_key_suffix)


def _join(*parts: str) -> str:
    first, *rest = parts
    trimmed = [part.strip("/") for part in rest]
    return "/".join([first.rstrip("/"), *(part for part in trimmed if part)])
