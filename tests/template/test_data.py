"""What is kept: how it is protected, and how long."""

from backburner.domain.batch import WINDOW_MAX_SECONDS
from backburner.ports import Limits
from tests.template.prefixes import BROUGHT, WRITTEN
from tests.template.resolved import TEMPLATE

(BUCKET,) = TEMPLATE.of_type("AWS::S3::Bucket").values()
(TABLE,) = TEMPLATE.of_type("AWS::DynamoDB::Table").values()
DAYS = {
    rule["Prefix"]: rule["ExpirationInDays"]
    for rule in BUCKET["LifecycleConfiguration"]["Rules"]
    if "ExpirationInDays" in rule
}


def test_the_bucket_is_nobody_elses():
    assert set(BUCKET["PublicAccessBlockConfiguration"].values()) == {True}
    assert BUCKET["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    (rule,) = BUCKET["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_the_bucket_is_reached_over_tls_alone():
    (policy,) = TEMPLATE.of_type("AWS::S3::BucketPolicy").values()
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == (
        "Deny",
        "*",
        "s3:*",
    )
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    name = BUCKET["BucketName"]
    assert statement["Resource"] == [name, f"{name}/*"]


def test_whatever_services_write_goes_some_day_and_what_users_bring_stays():
    assert set(DAYS) == set(WRITTEN) - {"files/"}, "reap removes files when they expire"
    assert not set(DAYS) & BROUGHT


def test_objects_outlive_whoever_may_still_read_them():
    day = 86400
    assert DAYS["async/"] * day > WINDOW_MAX_SECONDS + 7 * day
    assert DAYS["batches/"] * day > WINDOW_MAX_SECONDS + Limits().record_seconds


def test_uploads_that_broke_off_are_cleared_away():
    (abort,) = (
        rule["AbortIncompleteMultipartUpload"]
        for rule in BUCKET["LifecycleConfiguration"]["Rules"]
        if "AbortIncompleteMultipartUpload" in rule
    )
    assert abort == {"DaysAfterInitiation": 1}


def test_the_table_is_protected_and_its_old_records_go():
    assert TABLE["DeletionProtectionEnabled"] is True
    assert TABLE["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert TABLE["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}


def test_bucket_and_table_outlive_the_stack():
    kept = {
        resource["Type"]: resource["DeletionPolicy"]
        for resource in TEMPLATE.resources.values()
        if resource.get("UpdateReplacePolicy") == "Retain"
    }
    # A bucket left by a first deployment that failed would stand in the way of the second. The
    # table can't be deleted then, as it is protected; its name is in nobody's way.
    assert kept == {
        "AWS::S3::Bucket": "RetainExceptOnCreate",
        "AWS::S3::BucketPolicy": "RetainExceptOnCreate",
        "AWS::DynamoDB::Table": "Retain",
    }


def test_queues_are_encrypted():
    for queue in TEMPLATE.of_type("AWS::SQS::Queue").values():
        assert queue["SqsManagedSseEnabled"] is True
