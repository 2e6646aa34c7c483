"""Which objects a job reads, and where the output of each goes."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from backburner_local.emulators.objects import Objects, ObjectUnavailable, split_location
from backburner_local.emulators.wire import ApiError, Message


@dataclass(frozen=True, slots=True)
class Input:
    """An object to be transformed."""

    bucket: str
    key: str
    #: Where its output goes, relative to the job's S3OutputPath.
    output_name: str


def find(objects: Objects, source: Message, *, region: str) -> list[Input]:
    """The objects of a data source, sorted by key.

    Raises:
        ApiError: there are none, or the manifest can't be used.
    """
    location = source["S3Uri"]
    bucket, key = split_location(location)
    if source["S3DataType"] == "ManifestFile":
        found = _of_manifest(objects, bucket, key)
    else:
        names = _named(objects, bucket, key)
        found = [Input(bucket, one, f"{_relative(one, key)}.out") for one in names]
    if not found:
        raise ApiError(
            "ValidationException",
            f'No S3 objects found under S3 URL "{location}" given in input data source. Please'
            f" ensure that the bucket exists in the selected region ({region}), that objects exist"
            " under that S3 prefix, and that the role has"
            f' "s3:ListBucket" permissions on bucket "{bucket}".',
        )
    return found


def _named(objects: Objects, bucket: str, prefix: str) -> list[str]:
    try:
        return [key for key in objects.keys(bucket, prefix) if not key.endswith("/")]
    except ObjectUnavailable as error:
        raise ApiError("ValidationException", f"The input can't be listed: {error}") from error


def _relative(key: str, prefix: str) -> str:
    """The key below the prefix; a prefix that ends within a name leaves the whole name."""
    if prefix and not prefix.endswith("/") and key != prefix and key[len(prefix)] == "/":
        prefix += "/"
    return key[len(prefix.rpartition("/")[0]) :].lstrip("/")


def _of_manifest(objects: Objects, bucket: str, key: str) -> list[Input]:
    """`[{"prefix": "s3://bucket/some/"}, "relative/path", …]`."""
    try:
        prefix, *names = msgspec.json.decode(
            objects.get(bucket, key), type=list[dict[str, str] | str]
        )
        if not isinstance(prefix, dict):
            raise ValueError("its first item is no prefix")
        there, below = split_location(prefix["prefix"])
        listed = sorted(msgspec.convert(names, list[str]))
    except (ObjectUnavailable, ValueError, KeyError) as error:
        raise ApiError("ValidationException", f"The manifest can't be used: {error}") from error
    return [Input(there, below + name, f"{name}.out") for name in listed]


def output_of(one: Input, output_path: str) -> tuple[str, str]:
    """Bucket and key of an object's output."""
    bucket, prefix = split_location(output_path)
    return bucket, f"{prefix.rstrip('/')}/{one.output_name}".lstrip("/")
