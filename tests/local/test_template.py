"""The template is read as CloudFormation reads it, as far as one machine needs."""

import textwrap
from pathlib import Path

import pytest

from backburner_local import template

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(tmp_path):
    def load(text: str, **parameters: object) -> template.Template:
        path = tmp_path / "template.yaml"
        path.write_text(textwrap.dedent(text))
        return template.load(path, parameters)

    return load


INTRINSICS = """
    Parameters:
      Size: {Type: Number, Default: 3}
      Name: {Type: String, Default: thing}
      Nameless: {Type: String}
    Resources:
      Topic: {Type: AWS::SNS::Topic}
      Bucket:
        Type: AWS::S3::Bucket
        Properties: {BucketName: !Sub "${Name}-${AWS::AccountId}-${AWS::Region}"}
      Plain: {Type: AWS::S3::Bucket}
      Endpoint:
        Type: AWS::SageMaker::Endpoint
        Properties: {EndpointName: !Ref Name}
      Thing:
        Type: Custom::Thing
        Properties:
          Size: !Ref Size
          Nameless: !Ref Nameless
          Topic: !Ref Topic
          TopicLong: {Ref: Topic}
          Bucket: !Ref Bucket
          Plain: !Ref Plain
          Path: !Sub s3://${Bucket}/async/${Size}/
          Endpoint: !GetAtt Endpoint.EndpointName
          EndpointLong: {"Fn::GetAtt": [Endpoint, EndpointName]}
          EndpointPath: !Sub endpoint/${Endpoint.EndpointName}/variant/AllTraffic
          Other: !GetAtt Thing.Arn
          List: [!Ref Size, {Deep: !Ref Name}]
"""


def test_intrinsic_functions_are_resolved(load):
    (thing,) = load(INTRINSICS).of_type("Custom::Thing").values()

    assert thing == {
        "Size": 3,
        "Nameless": "",
        "Topic": "arn:aws:sns:us-east-1:123456789012:Topic",
        "TopicLong": "arn:aws:sns:us-east-1:123456789012:Topic",
        "Bucket": "thing-123456789012-us-east-1",
        "Plain": "Plain",
        "Path": "s3://thing-123456789012-us-east-1/async/3/",
        "Endpoint": "thing",
        "EndpointLong": "thing",
        "EndpointPath": "endpoint/thing/variant/AllTraffic",
        "Other": "Thing",
        "List": [3, {"Deep": "thing"}],
    }


CONDITIONS = """
    Parameters:
      Mode: {Type: String, Default: small}
      Uri: {Type: String, Default: ""}
    Conditions:
      IsLarge: !Equals [!Ref Mode, large]
      IsSmall: !Not [!Condition IsLarge]
      HasUri: !Not [!Equals [!Ref Uri, ""]]
      IsBoth: !And [!Condition IsLarge, !Condition HasUri]
      IsEither: !Or [!Condition IsLarge, !Condition HasUri]
    Mappings:
      Regions: {us-east-1: {Code: east}, eu-west-1: {Code: west}}
    Resources:
      Large: {Type: Custom::Large, Condition: IsLarge}
      Both: {Type: Custom::Both, Condition: IsBoth}
      Either: {Type: Custom::Either, Condition: IsEither}
      Thing:
        Type: Custom::Thing
        Properties:
          Uri: !If [HasUri, !Ref Uri, !Sub "s3://own/${Mode}/"]
          Region: !FindInMap [Regions, !Ref AWS::Region, Code]
          Left: !If [IsSmall, !Ref AWS::NoValue, 1]
          List: [first, !If [HasUri, second, !Ref AWS::NoValue]]
          Folder: !Select [2, !Split ["/", "s3://own/folder/"]]
          Text: !Sub ["${Code}-${Mode}", {Code: !FindInMap [Regions, eu-west-1, Code]}]
          Policy: {Condition: {Bool: {secure: "false"}}}
"""


@pytest.mark.parametrize(
    ("parameters", "kinds", "uri", "items"),
    [
        ({}, set(), "s3://own/small/", ["first"]),
        ({"Mode": "large"}, {"Large", "Either"}, "s3://own/large/", ["first"]),
        ({"Uri": "s3://x/"}, {"Either"}, "s3://x/", ["first", "second"]),
        (
            {"Mode": "large", "Uri": "s3://x/"},
            {"Large", "Both", "Either"},
            "s3://x/",
            ["first", "second"],
        ),
    ],
)
def test_conditions_decide_what_there_is(load, parameters, kinds, uri, items):
    loaded = load(CONDITIONS, **parameters)
    assert set(loaded.resources) == kinds | {"Thing"}
    (thing,) = loaded.of_type("Custom::Thing").values()
    assert (thing["Uri"], thing["List"]) == (uri, items)
    assert ("Left" in thing) == ("Mode" in parameters)


def test_maps_and_texts_are_resolved(load):
    (thing,) = load(CONDITIONS).of_type("Custom::Thing").values()
    assert thing["Region"] == "east"
    assert thing["Folder"] == "own"
    assert thing["Text"] == "west-small"
    assert thing["Policy"] == {"Condition": {"Bool": {"secure": "false"}}}


def test_parameters_replace_their_defaults(load):
    loaded = load(INTRINSICS, Size=7, Name="other")
    (thing,) = loaded.of_type("Custom::Thing").values()
    assert thing["Size"] == 7
    assert thing["Endpoint"] == "other"


def test_a_reference_to_nothing_is_an_error(load):
    with pytest.raises(KeyError, match="Missing"):
        load("Resources: {Thing: {Type: Custom::Thing, Properties: {A: !Ref Missing}}}")


FUNCTIONS = """
    Globals:
      Function: {Timeout: 20, Handler: app.handler}
    Resources:
      WorkQueue:
        Type: AWS::SQS::Queue
        Properties:
          VisibilityTimeout: 70
          RedrivePolicy: {maxReceiveCount: 4, deadLetterTargetArn: !GetAtt Dead.Arn}
      Dead: {Type: AWS::SQS::Queue}
      WorkFunction:
        Type: AWS::Serverless::Function
        Properties:
          CodeUri: functions/work/
          Timeout: 50
          Events:
            Queue: {Type: SQS, Properties: {Queue: !GetAtt WorkQueue.Arn, BatchSize: 5}}
            Tick: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 minute)}}
      IdleFunction:
        Type: AWS::Serverless::Function
        Properties: {CodeUri: functions/idle/}
"""


def test_functions_have_their_triggers_and_the_globals(load):
    work, idle = load(FUNCTIONS).functions

    assert (work.name, work.folder, work.handler) == ("Work", "functions/work", "app.handler")
    assert work.timeout_seconds == 50
    assert [trigger.kind for trigger in work.triggers] == ["SQS", "ScheduleV2"]
    assert work.triggers[0].properties == {"Queue": "WorkQueue", "BatchSize": 5}
    assert idle.timeout_seconds == 20
    assert idle.triggers == ()


def test_only_queues_that_are_read_have_rules(load):
    queues = load(FUNCTIONS).queues
    assert queues == {"WorkQueue": template.QueueConfig(visibility_seconds=70, max_receives=4)}


def test_the_projects_own_template_leaves_nothing_unresolved():
    loaded = template.load(ROOT / "template.yaml", {"CreateEndpoint": "true", "MaxInstances": 7})

    (target,) = loaded.of_type("AWS::ApplicationAutoScaling::ScalableTarget").values()
    assert target["MaxCapacity"] == 7
    assert target["ResourceId"] == "endpoint/backburner-mistral/variant/AllTraffic"
    for kind in (
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::CloudWatch::Alarm",
        "AWS::SageMaker::Endpoint",
        "AWS::S3::Bucket",
    ):
        for properties in loaded.of_type(kind).values():
            assert "Fn::" not in str(properties)
            assert "${" not in str(properties)
