"""What Service Quotas lists is what holds; names are AWS's, with their traps."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulators import botocore_shapes as shapes
from tests.emulators.bedrock.stage import MISTRAL, Stage

LEAST = "Minimum number of records per batch inference job for Mistral Large 2 (24.07)"
MOST = "Records per batch inference job for Mistral Large 2 (24.07)"
SLOTS = (
    "Sum of in-progress and submitted batch inference jobs using a base model"
    " for Mistral Large 2 (24.07)"
)


def listed(stage: Stage) -> dict[str, Any]:
    pages = stage.client("service-quotas").get_paginator("list_service_quotas")
    return {
        quota["QuotaName"]: quota
        for page in pages.paginate(ServiceCode="bedrock")
        for quota in page["Quotas"]
    }


def test_all_pages_together_have_the_quotas_of_every_model(shared):
    quotas = listed(shared)
    assert len(quotas) > 100
    assert {name: quotas[name]["Value"] for name in (LEAST, MOST, SLOTS)} == {
        LEAST: 1.0,  # the knob of these tests
        MOST: 50_000.0,
        SLOTS: 20.0,
    }
    assert quotas["Batch inference input file size (in GB) for Nova Lite V1"]["Value"] == 1.0
    assert quotas["Batch inference job size for Titan Text Embeddings V2 (in GB)"]["Value"] == 5.0
    assert not quotas[LEAST]["Adjustable"]
    assert quotas[SLOTS]["Adjustable"]


def test_a_page_has_as_many_as_are_asked_for_and_the_shape_of_the_model(shared):
    client = shared.client("service-quotas")
    page = client.list_service_quotas(ServiceCode="bedrock", MaxResults=7)
    assert len(page["Quotas"]) == 7
    assert shapes.response_problems("service-quotas", "ListServiceQuotas", page) == []
    found = client.list_service_quotas(ServiceCode="bedrock", NextToken=page["NextToken"])
    assert found["Quotas"][0] not in page["Quotas"]


def test_one_quota_can_be_asked_for_by_its_code(shared):
    quota = listed(shared)[SLOTS]
    client = shared.client("service-quotas")
    told = client.get_service_quota(ServiceCode="bedrock", QuotaCode=quota["QuotaCode"])
    assert told["Quota"] == quota
    assert shapes.response_problems("service-quotas", "GetServiceQuota", told) == []


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("list_service_quotas", {"ServiceCode": "lambda"}),
        ("get_service_quota", {"ServiceCode": "bedrock", "QuotaCode": "L-00000000"}),
    ],
)
def test_what_is_not_there_is_told(shared, operation, members):
    with pytest.raises(ClientError) as caught:
        getattr(shared.client("service-quotas"), operation)(**members)
    assert caught.value.response["Error"]["Code"] == "NoSuchResourceException"


def test_a_quota_that_was_raised_holds(stage):
    stage.start(slots_per_model=1, scheduled_seconds=60, quotas={SLOTS: 2})
    assert listed(stage)[SLOTS]["Value"] == 2
    stage.create()
    stage.create()
    with pytest.raises(ClientError, match="ServiceQuotaExceededException"):
        stage.create(modelId=MISTRAL)
    stage.emulator.turn(quotas={SLOTS: 3})
    stage.create()
