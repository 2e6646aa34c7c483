"""Whether the account may have the instances: new accounts often may have none."""

from collections.abc import Iterator

from backburner_local.deployed import Account
from backburner_local.doctor.findings import Finding, Patient, Result

_CHECK = "quota"


def check(account: Account, patient: Patient) -> Iterator[Finding]:
    """Compare the quota of the instance type with what is wanted and what is in use."""
    name = f"{patient.instance_type} for endpoint usage"
    quota = _quota(account, name)
    if quota is None:
        yield Finding(
            _CHECK,
            Result.FAIL,
            f"there is no quota '{name}' in {account.region}",
            "Is it an instance type, and does SageMaker have it in this Region?",
        )
        return
    value, code = quota
    used = _in_use(account, patient.instance_type, but=patient.endpoint)
    left = int(value) - used
    detail = f"{name}: {value:g}, {used} in use elsewhere, {patient.max_instances} wanted"
    if left >= patient.max_instances:
        yield Finding(_CHECK, Result.OK, detail)
        return
    advice = (
        f"Ask for more: `aws service-quotas request-service-quota-increase --service-code sagemaker"
        f" --quota-code {code} --desired-value {used + patient.max_instances}"
        f" --region {account.region}`."
    )
    if left >= 1:
        advice += f" Or deploy with MaxInstances={left}."
    yield Finding(_CHECK, Result.WARN if left >= 1 else Result.FAIL, detail, advice)


def _quota(account: Account, name: str) -> tuple[float, str] | None:
    """Value and code of the quota of that name; its code can't be told from the name."""
    pages = (
        account.clients.other("service-quotas")
        .get_paginator("list_service_quotas")
        .paginate(ServiceCode="sagemaker")
    )
    for page in pages:
        for quota in page["Quotas"]:
            if quota["QuotaName"] == name:
                return quota["Value"], quota["QuotaCode"]
    return None


def _in_use(account: Account, instance_type: str, *, but: str) -> int:
    """Instances of that type of all endpoints but one."""
    sagemaker = account.clients.sagemaker
    total = 0
    for page in sagemaker.get_paginator("list_endpoints").paginate():
        for listed in page["Endpoints"]:
            if listed["EndpointName"] == but:
                continue
            endpoint = sagemaker.describe_endpoint(EndpointName=listed["EndpointName"])
            config = sagemaker.describe_endpoint_config(
                EndpointConfigName=endpoint["EndpointConfigName"]
            )
            types = {v["VariantName"]: v.get("InstanceType") for v in config["ProductionVariants"]}
            total += sum(
                max(v.get("CurrentInstanceCount", 0), v.get("DesiredInstanceCount", 0))
                for v in endpoint.get("ProductionVariants", [])
                if types.get(v["VariantName"]) == instance_type
            )
    return total
