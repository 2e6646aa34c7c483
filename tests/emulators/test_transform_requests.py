"""What CreateTransformJob refuses, and what its filters mean."""

import copy
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backburner_local.emulators.sagemaker.transform import paths
from backburner_local.emulators.sagemaker.transform.checks import check_create
from backburner_local.emulators.sagemaker.transform.records import BadRecord, Handling
from backburner_local.emulators.wire import ApiError
from tests.emulators.botocore_shapes import members_in, request_problems, violations
from tests.emulators.transforming import TransformStage

#: Has every member that the model has.
FULL: dict[str, Any] = {
    "TransformJobName": "job",
    "ModelName": "model",
    "MaxConcurrentTransforms": 4,
    "ModelClientConfig": {"InvocationsTimeoutInSeconds": 3600, "InvocationsMaxRetries": 3},
    "MaxPayloadInMB": 6,
    "BatchStrategy": "SingleRecord",
    "Environment": {"K": "V"},
    "TransformInput": {
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}},
        "ContentType": "application/json",
        "CompressionType": "None",
        "SplitType": "Line",
    },
    "TransformOutput": {
        "S3OutputPath": "s3://bucket/out/",
        "Accept": "application/json",
        "AssembleWith": "Line",
        "KmsKeyId": "alias/x",
    },
    "DataCaptureConfig": {
        "DestinationS3Uri": "s3://bucket/captured/",
        "KmsKeyId": "alias/x",
        "GenerateInferenceId": True,
    },
    "TransformResources": {
        "InstanceType": "ml.g5.2xlarge",
        "InstanceCount": 1,
        "VolumeKmsKeyId": "alias/x",
        "TransformAmiVersion": "al2-ami-sagemaker-batch-gpu-535",
    },
    "DataProcessing": {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"},
    "Tags": [{"Key": "k", "Value": "v"}],
    "ExperimentConfig": {
        "ExperimentName": "e",
        "TrialName": "t",
        "TrialComponentDisplayName": "c",
        "RunName": "r",
    },
}
PLAIN = {name: value for name, value in FULL.items() if name != "DataCaptureConfig"}
VIOLATIONS = list(violations("sagemaker", "CreateTransformJob", FULL))


def changed(**members: Any) -> dict[str, Any]:
    """A good request with some members changed; those of parts by their dotted names."""
    request = copy.deepcopy(PLAIN)
    for path, value in members.items():
        *parents, last = path.split("__")
        place = request
        for parent in parents:
            place = place[parent]
        place[last] = value
    return request


def test_a_good_request_is_good_by_its_model_and_ours():
    assert request_problems("sagemaker", "CreateTransformJob", FULL) == []
    assert {"TransformInput.SplitType", "Tags[].Key"} <= members_in(FULL)
    check_create(PLAIN)


@pytest.mark.parametrize(
    "request_", [v for _, v in VIOLATIONS], ids=[what for what, _ in VIOLATIONS]
)
def test_what_the_model_forbids_is_refused(request_):
    with pytest.raises(ApiError, match=r"validation errors? detected: ") as caught:
        check_create(request_)
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"MaxPayloadInMB": 101, "MaxConcurrentTransforms": 0}, "more than 100"),
        ({"MaxPayloadInMB": 26}, r"4 \* 26"),
        ({"TransformInput__SplitType": "None", "BatchStrategy": "MultiRecord"}, "batch strategy"),
        ({"DataProcessing__InputFilter": "$..a"}, "InputFilter is not valid"),
        ({"DataProcessing__OutputFilter": "a"}, "begins with"),
        ({"TransformInput__ContentType": "image/png"}, "needs a ContentType"),
        (
            {"DataProcessing__JoinSource": "Input", "TransformOutput__Accept": "text/csv"},
            "Accept must be the same",
        ),
        (
            {"DataProcessing__JoinSource": "Input", "TransformOutput__AssembleWith": "None"},
            "AssembleWith must be the same",
        ),
        ({"TransformInput__SplitType": "RecordIO"}, "RecordIO is not emulated"),
        ({"TransformInput__DataSource__S3DataSource__S3DataType": "Converse"}, "not emulated"),
        ({"DataCaptureConfig": FULL["DataCaptureConfig"]}, "DataCaptureConfig is not emulated"),
        ({"Environment": {f"k{n}": "v" for n in range(17)}}, "less than or equal to 16"),
        ({"Environment": {"1": "v"}}, "regular expression"),
        ({"MaxPayloadInMB": "6"}, "wrong type"),
    ],
)
def test_what_the_documentation_forbids_is_refused(members, complaint):
    with pytest.raises(ApiError, match=complaint):
        check_create(changed(**members))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    stage = TransformStage(tmp_path_factory.mktemp("requests")).start()
    stage.make_model()
    yield stage
    stage.stop()


@pytest.mark.parametrize(
    ("operation", "members", "complaint"),
    [
        ("describe_transform_job", {"TransformJobName": "no"}, "Could not find requested job"),
        ("stop_transform_job", {"TransformJobName": "no"}, "Could not find job to update"),
        ("describe_transform_job", {"TransformJobName": "bad_name"}, "regular expression"),
        ("list_transform_jobs", {"NameContains": "_"}, "regular expression"),
        ("list_tags", {"ResourceArn": "arn:aws:sagemaker:us-east-1:1:transform-job/no"}, "no tags"),
        ("create_transform_job", changed(ModelName="other"), 'Could not find model "arn'),
        ("create_transform_job", changed(), 'No S3 objects found under S3 URL "s3://bucket/in/"'),
        (
            "create_transform_job",
            changed(TransformInput__DataSource__S3DataSource__S3DataType="ManifestFile"),
            "The manifest can't be used",
        ),
    ],
)
def test_bad_calls_are_validation_exceptions(shared, operation, members, complaint):
    with pytest.raises(ClientError, match=complaint) as caught:
        getattr(shared.sagemaker, operation)(**members)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


RECORD = {"a": 1, "b-c": {"d": [1, 2, 3, 4]}, "e": ["x", "y"]}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", RECORD),
        ("$.a", 1),
        ("$['a']", 1),
        ('$["a"]', 1),
        ("$['a','e']", {"a": 1, "e": ["x", "y"]}),
        ("$.b-c.d[1]", 2),
        ("$.b-c.d[-1]", 4),
        ("$.b-c.d[0,2]", [1, 3]),
        ("$.b-c.d[1:3]", [2, 3]),
        ("$.b-c.d[:-1]", [1, 2, 3]),
        ("$.e[*]", ["x", "y"]),
        ("$.b-c.*", [[1, 2, 3, 4]]),
    ],
)
def test_a_path_selects(path, found):
    assert paths.select(paths.parse(path), RECORD) == found


@pytest.mark.parametrize("path", ["", "a", "$a", "$..a", "$[", "$[?(@.a)]", "$[a]", "$.", "$[1;2]"])
def test_other_paths_are_refused(path):
    with pytest.raises(paths.BadPath):
        paths.parse(path)


@pytest.mark.parametrize("path", ["$.no", "$.a.b", "$.e[2]", "$.a[0]", "$[0]", "$.a[*]"])
def test_a_record_may_lack_what_a_path_asks_for(path):
    with pytest.raises(paths.NotThere):
        paths.select(paths.parse(path), RECORD)


def handling(**changes: Any) -> Handling:
    values: dict[str, Any] = {
        "is_split": True,
        "is_many": True,
        "payload_bytes": 1000,
        "adds_newlines": True,
        "content_type": "text/csv",
        "input_filter": paths.parse("$"),
        "output_filter": paths.parse("$"),
        "is_joined": True,
    }
    return Handling(**{**values, **changes})


def test_columns_are_filtered_and_joined():
    rules = handling(input_filter=paths.parse("$[1:]"), output_filter=paths.parse("$[0,-1]"))
    (payload,) = rules.payloads(b'id1,1,"a,b"\nid2,3,4\n')
    assert payload.body == b'1,"a,b"\n3,4'
    assert rules.answered(payload, b"0.5\n0.7\n") == b"id1,0.5\nid2,0.7\n"


def test_an_input_that_is_no_object_is_joined_beside_its_answer():
    rules = handling(content_type="application/json", is_many=False)
    (payload,) = rules.payloads(b"[1]")
    assert rules.answered(payload, b"{}") == b'{"SageMakerInput":[1],"SageMakerOutput":{}}\n'


@pytest.mark.parametrize(
    ("answer", "complaint"), [(b"1", "1 answers came for 2 records"), (b"{\n{", "can't be read")]
)
def test_answers_that_fit_no_record_are_no_use(answer, complaint):
    rules = handling(content_type="application/jsonlines")
    (payload,) = rules.payloads(b"1\n2")
    with pytest.raises(BadRecord, match=complaint):
        rules.answered(payload, answer)


def test_a_record_without_what_the_filter_wants_is_bad():
    rules = handling(content_type="application/json", input_filter=paths.parse("$.body"))
    with pytest.raises(BadRecord, match="body"):
        list(rules.payloads(b'{"other":1}'))
