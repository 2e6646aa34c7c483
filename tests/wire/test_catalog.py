"""The catalog as its operator writes it: models on one backend, or on several."""

import pytest

from backburner.domain.catalog import Preference
from backburner.domain.errors import InvalidRequest
from backburner.wire.catalog import OwnEndpoint, parse

OWN = OwnEndpoint(name="backburner-own", max_instances=2, concurrent_invocations=4)

BOTH = """
[models.large]
context_window = 32768
routes = ["/v1/chat/completions"]
prefer = "soonest"
price = { input = 2.0, output = 6.0 }

[[models.large.backends]]
backend = "sagemaker_async"
when = { to_lines = 5000 }

[[models.large.backends]]
backend = "bedrock_batch"
jobs = { model_id = "mistral.mistral-large-2407-v1:0", quota_name = "Mistral Large 2 (24.07)" }
when = { from_lines = 1000, from_window = "24h" }
price = { input = 1.0, output = 3.0 }
shard = { lines = 10_000 }
"""


def test_a_model_on_two_backends_has_its_settings_on_both_and_each_its_own():
    model = parse(BOTH, OWN).models["large"]
    (other,) = model.others
    assert (model.backend, model.endpoint, model.slots) == ("sagemaker_async", "backburner-own", 8)
    assert (model.when.to_lines, model.prefer) == (5000, Preference.SOONEST)
    assert (other.backend, other.endpoint, other.context_window) == ("bedrock_batch", "", 32768)
    assert other.jobs is not None
    assert (other.jobs.least_lines, other.jobs.quota_name) == (100, "Mistral Large 2 (24.07)")
    assert (other.when.from_lines, other.when.from_seconds) == (1000, 86400)
    assert (model.input_price, other.input_price) == (2.0, 1.0)
    assert (other.cut.lines, other.cut.bytes) == (10_000, 32_000_000)


def test_every_pool_is_found_and_tells_its_model():
    catalog = parse(BOTH, OWN)
    pools = [place.pool for place in catalog.each()]
    assert pools == ["sagemaker_async:large", "bedrock_batch:mistral.mistral-large-2407-v1:0"]
    for pool in pools:
        assert catalog.of_pool(pool) == catalog.running("large", pool)
    assert catalog.running("large", "another") == catalog.models["large"]
    assert catalog.running("another", pools[0]) is None


def of_bedrock(name: str, model_id: str, *, slots: int = 1000, quota: str = "") -> str:
    quota = f', quota_name = "{quota}"' if quota else ""
    return (
        f'[models.{name}]\nbackend = "bedrock_batch"\ncontext_window = 9\nslots = {slots}\n'
        f'routes = ["/v1/chat/completions"]\njobs = {{ model_id = "{model_id}"{quota} }}\n'
    )


@pytest.mark.parametrize(
    "other",
    [
        "vendor.m-v1:0",
        "us.vendor.m-v1:0",
        "global.vendor.m-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/vendor.m-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.vendor.m-v1:0",
    ],
)
def test_two_names_of_one_model_of_bedrock_share_its_slots(other):
    catalog = parse(of_bedrock("a", "vendor.m-v1:0") + of_bedrock("b", other), OWN)
    assert catalog.models["a"].pool == catalog.models["b"].pool == "bedrock_batch:vendor.m-v1:0"
    assert len(list(catalog.each())) == 1
    second = catalog.running("b", catalog.models["b"].pool)
    assert second == catalog.models["b"]
    assert second.jobs is not None
    assert second.jobs.model_id == other


def test_names_of_one_model_have_the_fewest_slots_and_the_quota_that_any_of_them_has():
    one = of_bedrock("a", "vendor.m-v1:0", slots=5)
    two = of_bedrock("b", "us.vendor.m-v1:0", slots=3, quota="M")
    for text in (one + two, two + one):
        models = parse(text, OWN).models.values()
        assert {model.slots for model in models} == {3}
        assert {model.jobs.quota_name for model in models if model.jobs is not None} == {"M"}


def test_one_model_of_bedrock_has_no_two_quotas():
    one, two = of_bedrock("a", "m", quota="M"), of_bedrock("b", "us.x.m", quota="X")
    assert parse(one + two, OWN).models.keys() == {"a", "b"}
    two = of_bedrock("b", "m", quota="X")
    with pytest.raises(InvalidRequest, match=r"'a' and 'b' .* two 'jobs.quota_name'"):
        parse(one + two, OWN)


@pytest.mark.parametrize(
    ("window", "given", "tokens"),
    [(32_768, "", 1024), (512, "", 512), (32_768, "answer_tokens = 4000", 4000), (9, "", 9)],
)
def test_an_answer_is_as_long_as_the_catalog_says_and_its_window_allows(window, given, tokens):
    text = of_bedrock("a", "m").replace("context_window = 9", f"context_window = {window}\n{given}")
    assert parse(text, OWN).models["a"].answer_tokens == tokens


def test_a_job_for_embeddings_is_small_enough_for_its_result_to_be_read():
    jobs = 'backend = "bedrock_batch"\njobs = { model_id = "m", format = "titan" }\n'
    text = f'[models.a]\ncontext_window = 9\nroutes = ["/v1/embeddings"]\n{jobs}'
    assert parse(text, OWN).models["a"].cut.lines == 2000


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('model_id = "mistral.mistral-large-2407-v1:0", ', "", "lacks 'jobs.model_id'"),
        ("quota_name", "quota", "unknown 'jobs.quota'"),
        ("from_lines", "lines", "unknown 'when.lines'"),
        ("context_window", "answer_tokens = 0\ncontext_window", "'answer_tokens' of model"),
        ('"24h"', '"soon"', "'when.from_window' of model"),
        ('"soonest"', '"best"', "must be one of cheapest, soonest, first"),
        ('backend = "bedrock_batch"', 'backend = "sagemaker_async"', "two backends of one pool"),
        ('backend = "bedrock_batch"', "", "lacks 'backend'"),
        ("quota_name = ", 'format = "morse", quota_name = ', "is none of anthropic, cohere"),
        ("quota_name = ", 'format = "titan", quota_name = ', "needs the route '/v1/embeddings'"),
        ("quota_name = ", "timeout_seconds = 3600, quota_name = ", "must be from 86400 to 604800"),
    ],
)
def test_what_is_wrong_with_a_backend_is_named(before, after, says):
    with pytest.raises(InvalidRequest, match=says):
        parse(BOTH.replace(before, after), OWN)
