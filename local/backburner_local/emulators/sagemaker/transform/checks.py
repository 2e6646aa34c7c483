"""What CreateTransformJob and its kin refuse at once: their model, and combinations.

The constraints are those of AWS's service model, and of the API reference.
"""

from __future__ import annotations

from backburner_local.emulators.sagemaker.transform import paths
from backburner_local.emulators.sagemaker.transform.rules import (
    Entries,
    Flag,
    Items,
    Structure,
    Text,
    Whole,
    check,
)
from backburner_local.emulators.wire import ApiError, Message

#: Most megabytes that all payloads of an instance may have at once.
MAX_MEGABYTES = 100
DEFAULT_MEGABYTES = 6

#: Media types whose records can be filtered and joined.
JOINED_TYPES = frozenset({"text/csv", "application/json", "application/jsonlines"})

JOB_NAME = Text(
    1,
    63,
    "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    safe_pattern="[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?",
)
_MODEL_NAME = Text(0, 63, r"[a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?")
_S3_URI = Text(0, 1024, "(https|s3)://([^/]+)/?(.*)")
_KMS_KEY = Text(0, 2048, "[a-zA-Z0-9:/_-]*")
_MEDIA_TYPE = Text(0, 256, ".*")
_EXPERIMENT = Text(
    1,
    120,
    "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,119}",
    safe_pattern="[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?",
)
#: `\p{L}` and its kin, which `re` does not know: letters, digits, spaces and some signs.
_TAG_TEXT = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"
_SAFE_TAG_TEXT = r"[\w\s.:/=+\-@]*"
TAGS = Items(
    Structure(
        {
            "Key": Text(1, 128, _TAG_TEXT, safe_pattern=_SAFE_TAG_TEXT),
            "Value": Text(0, 256, _TAG_TEXT, safe_pattern=_SAFE_TAG_TEXT),
        },
        required=("Key", "Value"),
    ),
    0,
    50,
)
STATUSES = ("InProgress", "Completed", "Failed", "Stopping", "Stopped")

CREATE = Structure(
    {
        "TransformJobName": JOB_NAME,
        "ModelName": _MODEL_NAME,
        "MaxConcurrentTransforms": Whole(0),
        "ModelClientConfig": Structure(
            {"InvocationsTimeoutInSeconds": Whole(1, 3600), "InvocationsMaxRetries": Whole(0, 3)}
        ),
        "MaxPayloadInMB": Whole(0),
        "BatchStrategy": Text(enum=("MultiRecord", "SingleRecord")),
        "Environment": Entries(
            Text(0, 1024, "[a-zA-Z_][a-zA-Z0-9_]{0,1023}"), Text(0, 10240), most=16
        ),
        "TransformInput": Structure(
            {
                "DataSource": Structure(
                    {
                        "S3DataSource": Structure(
                            {
                                "S3DataType": Text(
                                    enum=(
                                        "ManifestFile",
                                        "S3Prefix",
                                        "AugmentedManifestFile",
                                        "Converse",
                                    )
                                ),
                                "S3Uri": _S3_URI,
                            },
                            required=("S3DataType", "S3Uri"),
                        )
                    },
                    required=("S3DataSource",),
                ),
                "ContentType": _MEDIA_TYPE,
                "CompressionType": Text(enum=("None", "Gzip")),
                "SplitType": Text(enum=("None", "Line", "RecordIO", "TFRecord")),
            },
            required=("DataSource",),
        ),
        "TransformOutput": Structure(
            {
                "S3OutputPath": _S3_URI,
                "Accept": _MEDIA_TYPE,
                "AssembleWith": Text(enum=("None", "Line")),
                "KmsKeyId": _KMS_KEY,
            },
            required=("S3OutputPath",),
        ),
        "DataCaptureConfig": Structure(
            {"DestinationS3Uri": _S3_URI, "KmsKeyId": _KMS_KEY, "GenerateInferenceId": Flag()},
            required=("DestinationS3Uri",),
        ),
        "TransformResources": Structure(
            {
                # A superset of AWS's long list of types.
                "InstanceType": Text(pattern=r"ml\.[a-z0-9-]+\.[a-z0-9-]+"),
                "InstanceCount": Whole(1, 100),
                "VolumeKmsKeyId": _KMS_KEY,
                "TransformAmiVersion": Text(1, 63, "[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*"),
            },
            required=("InstanceType", "InstanceCount"),
        ),
        "DataProcessing": Structure(
            {
                "InputFilter": Text(0, 63),
                "OutputFilter": Text(0, 63),
                "JoinSource": Text(enum=("Input", "None")),
            }
        ),
        "Tags": TAGS,
        "ExperimentConfig": Structure(
            {
                "ExperimentName": _EXPERIMENT,
                "TrialName": _EXPERIMENT,
                "TrialComponentDisplayName": _EXPERIMENT,
                "RunName": _EXPERIMENT,
            }
        ),
    },
    required=(
        "TransformJobName",
        "ModelName",
        "TransformInput",
        "TransformOutput",
        "TransformResources",
    ),
)
NAMED = Structure({"TransformJobName": JOB_NAME}, required=("TransformJobName",))
LIST = Structure(
    {
        "NameContains": Text(0, 63, r"[a-zA-Z0-9\-]+"),
        "StatusEquals": Text(enum=STATUSES),
        "SortBy": Text(enum=("Name", "CreationTime", "Status")),
        "SortOrder": Text(enum=("Ascending", "Descending")),
        "NextToken": Text(0, 8192, ".*"),
        "MaxResults": Whole(1, 100),
    }
)


def check_create(request: Message) -> None:
    """The same for CreateTransformJob, with what no model says."""
    check(request, CREATE)
    for complaint in (_too_many_megabytes, _no_split, _bad_filter, _bad_join, _not_emulated):
        if (text := complaint(request)) is not None:
            raise ApiError("ValidationException", text)


# ---- combinations


def _too_many_megabytes(request: Message) -> str | None:
    megabytes = request.get("MaxPayloadInMB", DEFAULT_MEGABYTES)
    if megabytes > MAX_MEGABYTES:
        return f"MaxPayloadInMB can not be more than {MAX_MEGABYTES}."
    at_once = request.get("MaxConcurrentTransforms", 0)
    if at_once * megabytes > MAX_MEGABYTES:
        return (
            "The product of MaxConcurrentTransforms and MaxPayloadInMB can not be more than"
            f" {MAX_MEGABYTES}: it is {at_once} * {megabytes}."
        )
    return None


def _no_split(request: Message) -> str | None:
    is_whole = request["TransformInput"].get("SplitType", "None") == "None"
    if is_whole and request.get("BatchStrategy") == "MultiRecord":
        return (
            "To enable the batch strategy MultiRecord, set SplitType to Line, RecordIO or TFRecord."
        )
    return None


def _bad_filter(request: Message) -> str | None:
    for member in ("InputFilter", "OutputFilter"):
        text = (request.get("DataProcessing") or {}).get(member)
        if text:
            try:
                paths.parse(text)
            except paths.BadPath as error:
                return f"{member} is not valid: {error}"
    return None


def _bad_join(request: Message) -> str | None:
    processing = request.get("DataProcessing") or {}
    is_joined = processing.get("JoinSource") == "Input"
    if not is_joined and not processing.get("InputFilter") and not processing.get("OutputFilter"):
        return None
    source, target = request["TransformInput"], request["TransformOutput"]
    if media_type(source.get("ContentType")) not in JOINED_TYPES:
        return f"DataProcessing needs a ContentType of {', '.join(sorted(JOINED_TYPES))}."
    if is_joined and media_type(source.get("ContentType")) != media_type(target.get("Accept")):
        return "To join input and output, ContentType and Accept must be the same."
    if is_joined and source.get("SplitType", "None") != target.get("AssembleWith", "None"):
        return "To join input and output, SplitType and AssembleWith must be the same."
    return None


def _not_emulated(request: Message) -> str | None:
    source = request["TransformInput"]
    asked = (
        source["DataSource"]["S3DataSource"]["S3DataType"],
        source.get("SplitType", "None"),
        "DataCaptureConfig" if request.get("DataCaptureConfig") else "",
    )
    for one in asked:
        if one in {
            "AugmentedManifestFile",
            "Converse",
            "RecordIO",
            "TFRecord",
            "DataCaptureConfig",
        }:
            return f"{one} is not emulated."
    return None


def media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()
