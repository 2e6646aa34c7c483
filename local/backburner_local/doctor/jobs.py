"""Whether models of the catalog could run as jobs of Bedrock, or as transform jobs."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from backburner.adapters.bedrock.room import quotas_of_jobs
from backburner.domain.catalog import Catalog, Jobs, Model, base_model
from backburner.domain.errors import InvalidRequest
from backburner.wire import catalog
from backburner_local.deployed import Account
from backburner_local.doctor.findings import Finding, Patient, Result

_CHECK = "jobs"

#: Parameters of the template by the backends that they switch on.
_PARAMETERS = {"bedrock_batch": "RunBedrockJobs", "sagemaker_transform": "RunTransformJobs"}

_LEAST = "Minimum number of records per batch inference job for {}"
_LEAST_OF = re.compile(_LEAST.format("(.+)"))

_ABSENT = frozenset({"ResourceNotFoundException", "ValidationException", "ValidationError"})

#: Endpoints matter to none of these checks.
_ENDPOINT = catalog.OwnEndpoint(name="", max_instances=1, concurrent_invocations=1)


@dataclass(frozen=True, slots=True)
class _Quota:
    value: float
    code: str


def needs_endpoint(patient: Patient) -> bool:
    """Whether a model of the catalog is behind an endpoint, as far as it can be read."""
    try:
        models = _read(patient)
    except (InvalidRequest, OSError):
        return True
    return any(not place.has_jobs for place in models.each())


def _read(patient: Patient) -> Catalog:
    return catalog.parse(patient.catalog.read_text(encoding="utf-8"), _ENDPOINT)


def check(account: Account, patient: Patient) -> Iterator[Finding]:
    """Check each model that runs as jobs: mistakes show only in the log, when work waits."""
    try:
        models = _read(patient)
    except (InvalidRequest, OSError) as error:
        yield Finding(_CHECK, Result.FAIL, str(error), f"Mend {patient.catalog}.")
        return
    found = list(_placed(models))
    if not found:
        yield Finding(_CHECK, Result.OK, "no model of the catalog runs as jobs")
        return
    for backend in sorted({place.backend for place, _ in found}):
        yield from _check_switch(patient, backend)
    services = {place.backend for place, _ in found}
    bedrock = _quotas(account, "bedrock") if "bedrock_batch" in services else {}
    sagemaker = _quotas(account, "sagemaker") if "sagemaker_transform" in services else {}
    for place, jobs in found:
        faults = list(
            _faults_of_bedrock(account, jobs, bedrock)
            if place.backend == "bedrock_batch"
            else _faults_of_transform(account, place, jobs, sagemaker)
        )
        named = f"{place.name} on {place.backend}"
        for detail, advice in faults:
            yield Finding(_CHECK, Result.FAIL, f"{named}: {detail}", advice)
        if not faults:
            yield Finding(_CHECK, Result.OK, f"{named}, {jobs.model_id}")


def _placed(models: Catalog) -> Iterator[tuple[Model, Jobs]]:
    for model in models.models.values():
        for place in model.places:
            if place.jobs is not None:
                yield place, place.jobs


def _check_switch(patient: Patient, backend: str) -> Iterator[Finding]:
    """Whether the stack may run such jobs at all."""
    name = _PARAMETERS[backend]
    if patient.parameters is not None and patient.parameters.get(name) != "true":
        detail = f"the stack runs no jobs of {backend}, and the catalog has models for it"
        yield Finding(_CHECK, Result.FAIL, detail, f"Deploy with {name}=true.")


def _quotas(account: Account, service: str) -> Mapping[str, _Quota]:
    """Quotas by their names in lower case."""
    pages = account.clients.service_quotas.get_paginator("list_service_quotas")
    return {
        quota["QuotaName"].casefold(): _Quota(quota["Value"], quota.get("QuotaCode", ""))
        for page in pages.paginate(ServiceCode=service)
        for quota in page["Quotas"]
    }


# ---------------------------------------------------------------- Bedrock


def _faults_of_bedrock(
    account: Account, jobs: Jobs, quotas: Mapping[str, _Quota]
) -> Iterator[tuple[str, str]]:
    if not _is_there(account, jobs.model_id):
        yield (
            f"Bedrock has no {jobs.model_id} in {account.region}",
            "See the id, the Region, and that access to the model is given.",
        )
    name = jobs.quota_name
    if name is None:
        return
    found = (quotas.get(quota.casefold()) for quota in quotas_of_jobs(name))
    quota = next((one for one in found if one is not None), None)
    if quota is None:
        yield f"Service Quotas knows no '{name}'", _like(name, quotas)
    elif quota.value < 1:
        yield f"the account's quota of jobs of '{name}' is 0", _ask_for("bedrock", quota, 20)
    least = quotas.get(_LEAST.format(name).casefold())
    if least is not None and least.value > jobs.least_lines:
        advice = f"Set jobs.least_lines = {least.value:g} in the catalog."
        yield f"a job needs {least.value:g} requests, not {jobs.least_lines}", advice


def _is_there(account: Account, model_id: str) -> bool:
    """Whether Bedrock has the model, or the profile; an ARN is believed."""
    if model_id.startswith("arn:"):
        return True
    bedrock = account.clients.bedrock
    try:
        if base_model(model_id) != model_id:
            bedrock.get_inference_profile(inferenceProfileIdentifier=model_id)
        else:
            bedrock.get_foundation_model(modelIdentifier=model_id)
    except ClientError as error:
        if error.response["Error"]["Code"] in _ABSENT:
            return False
        raise
    return True


def _like(name: str, quotas: Mapping[str, _Quota]) -> str:
    """Advice that names the models whose names are most like this one."""
    pattern = re.compile(_LEAST_OF.pattern, re.IGNORECASE)
    known = [match[1] for quota in quotas if (match := pattern.fullmatch(quota))]
    near = difflib.get_close_matches(name.casefold(), known, n=3, cutoff=0.3)
    said = f" Near it: {', '.join(near)}." if near else ""
    return f"Set jobs.quota_name to the model's name in the quotas of Bedrock.{said}"


# ---------------------------------------------------------------- batch transform


def _faults_of_transform(
    account: Account, place: Model, jobs: Jobs, quotas: Mapping[str, _Quota]
) -> Iterator[tuple[str, str]]:
    try:
        account.clients.sagemaker.describe_model(ModelName=jobs.model_id)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _ABSENT:
            raise
        advice = "Make it: docs/howto/run-transform-jobs.md."
        yield f"SageMaker has no model {jobs.model_id} in {account.region}", advice
    if jobs.instance_type is None:
        yield "no instance type is named", "Set jobs.instance_type in the catalog."
        return
    name = f"{jobs.instance_type} for transform job usage"
    quota = quotas.get(name.casefold())
    if quota is None:
        yield f"there is no quota '{name}'", "Is it an instance type of transform jobs here?"
    elif quota.value < jobs.instance_count:
        wanted = jobs.instance_count * min(place.slots, 2)
        yield f"{name}: {quota.value:g}", _ask_for("sagemaker", quota, wanted)


def _ask_for(service: str, quota: Any, wanted: int) -> str:
    return (
        f"Ask for more: `aws service-quotas request-service-quota-increase --service-code {service}"
        f" --quota-code {quota.code} --desired-value {wanted}`."
    )
